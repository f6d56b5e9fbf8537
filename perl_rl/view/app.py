"""The pages as an app: ``create_app([folder, ...])``. It only reads, and fetches nothing."""

import hmac
from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as HttpError

from perl_rl.view.access import COOKIE, LOGIN, Access, cookie_value, given_token
from perl_rl.view.index import Selection
from perl_rl.view.links import Exported
from perl_rl.view.pages import (
    compare,
    evaluation,
    group,
    groups,
    home,
    images,
    results,
    run,
    sample,
)
from perl_rl.view.render import page
from perl_rl.view.results import is_result, open_results
from perl_rl.view.runs import open_runs
from shared.problems import in_words
from shared.service.limits import BodyLimit

_STATIC = Path(__file__).with_name("static")
_MAX_BODY = 4096


def create_app(
    runs: Sequence[Path],
    token: str | None = None,
    *,
    names: Sequence[str] = (),
    exported: Exported | None = None,
    selection: Selection | None = None,
) -> FastAPI:
    """The app that shows these runs.

    Args:
        runs: their folders, in the order in which they are listed, and result files of
            ``perl-rl eval`` (``*.json``).
        token: who has it may see the pages; None: everyone who reaches them.
        names: host names under which it is served without a token, besides this machine's.
        exported: collects the links, for pages that are written to files.
        selection: which groups are shown; None: all.

    Raises:
        UserError: when a folder holds no run, or a result is not there.
    """
    app = FastAPI(title="perl-rl view", openapi_url=None)
    app.state.runs = open_runs([one for one in runs if not is_result(one)], selection)
    app.state.results = open_results([one for one in runs if is_result(one)])
    app.state.token = token
    app.state.exported = exported
    app.add_middleware(BodyLimit, max_bytes=_MAX_BODY, setting="the login form")
    app.add_middleware(Access, token=token, names=tuple(names))
    app.add_exception_handler(HttpError, _refusal)
    app.add_exception_handler(RequestValidationError, _misread)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    for pages in (home, run, compare, evaluation, results, groups, group, sample, images):
        app.include_router(pages.router)
    _add_login(app, token)
    return app


def _add_login(app: FastAPI, token: str | None) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(LOGIN)
    async def login_form(request: Request) -> HTMLResponse:
        return page(request, "login.html", wrong=False)

    @app.post(LOGIN)
    async def login(request: Request) -> Response:
        given = await given_token(request)
        if token is None or not hmac.compare_digest(given.encode(), token.encode()):
            return page(request, "login.html", status=401, wrong=True)
        answer = RedirectResponse("./", status_code=303)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, cookie_value(token), httponly=True, samesite="strict", secure=secure
        )
        return answer


async def _refusal(request: Request, error: Exception) -> Response:
    assert isinstance(error, HttpError)
    return page(request, "error.html", status=error.status_code, message=str(error.detail))


async def _misread(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    problem = HTTPException(400, f"This address cannot be read: {field}: {in_words(first)}.")
    return await _refusal(request, problem)
