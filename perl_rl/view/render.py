"""Templates to pages.

Texts come from models and data: all are escaped, and hidden characters are spelled out.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from perl_rl.view import texts
from perl_rl.view.filters import HIGH_MISMATCH
from perl_rl.view.links import Links, part
from perl_rl.view.runs import Run

_FOLDER = Path(__file__).with_name("templates")


def _seen(value: object) -> object:
    return texts.shown(value) if isinstance(value, str) else value


_templates = Environment(
    loader=FileSystemLoader(_FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    # Markup is what the templates made, or a value that a form must give back as it is (``| e``).
    finalize=lambda value: value if isinstance(value, Markup) else _seen(value),
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["high_mismatch"] = HIGH_MISMATCH
_templates.filters.update(
    part=part,
    add_one=lambda number: number + 1,
    figure=texts.figure,
    signed=texts.signed,
    percent=texts.percent,
    count=texts.count,
    moment=texts.moment,
    plain=texts.plain,
)

Crumb = tuple[str, str | None]
"""A step of the way to a page: its title, and its address; None for the page itself."""


def page(
    request: Request,
    template: str,
    run: Run | None = None,
    status: int = 200,
    **values: Any,
) -> HTMLResponse:
    """A page.

    Args:
        template: its file in ``templates/``; it extends ``base.html``.
        run: the run that it shows.
        values: for the template. All templates also have ``links`` (`Links`), ``runs``,
            ``run``, ``exported`` (whether this page is for an export) and ``here`` (its address).
    """
    path = request.scope["raw_path"].decode("ascii").partition("?")[0]
    query = request.url.query
    exported = request.app.state.exported
    here = path if exported is None or not query else f"{path}?{query}"
    text = _templates.get_template(template).render(
        links=Links(here, exported),
        runs=request.app.state.runs,
        run=run,
        exported=exported is not None,
        locked=request.app.state.token is not None,
        here=path,
        **values,
    )
    return HTMLResponse(text, status_code=status)


def add_filters(filters: dict[str, Any]) -> None:
    """Give the templates more filters; a page's module does it when it is imported."""
    _templates.filters.update(filters)


def notes(found: Iterable[str]) -> list[str]:
    """The lines about what could not be read, each once, in their order."""
    return list(dict.fromkeys(found))
