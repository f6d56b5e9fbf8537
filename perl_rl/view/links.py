"""Links between the pages: relative, so that they hold behind a proxy's prefix and in an export.

In an export each page is a file, ``/runs/0/groups`` being ``runs/0/groups.html``, and the links
that were made are remembered: following them finds all pages.
"""

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlencode, urlsplit

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 100
_KEPT = "page"
"""The only part of a query that an export has pages for."""


@dataclass
class Exported:
    """What an export's pages link to."""

    pages: dict[str, str] = field(default_factory=dict)
    """Address to file name, in the order in which they were linked."""
    files: dict[str, str] = field(default_factory=dict)
    """The same for what is no page: style sheets, scripts, pictures."""


class Links:
    """Makes the links of one page.

    Args:
        path: the page's own address, percent-encoded.
        exported: collects the links of an export; None when the pages are served.
    """

    def __init__(self, path: str, exported: Exported | None) -> None:
        name = path if exported is None else page_file(path)
        self._up = "../" * (name.strip("/").count("/")) or "./"
        self._exported = exported

    def page(self, path: str, **query: object) -> str:
        """The link to a page.

        Args:
            path: as the routes spell it, each part percent-encoded (see `part`).
            query: its filters; None is left out. In an export only ``page`` is kept.
        """
        given = {key: value for key, value in query.items() if value not in (None, "")}
        if self._exported is None:
            return self._up + path.lstrip("/") + (f"?{urlencode(given)}" if given else "")
        kept = {_KEPT: given[_KEPT]} if given.get(_KEPT, 1) != 1 else {}
        address = path + (f"?{urlencode(kept)}" if kept else "")
        return self._up + self._exported.pages.setdefault(address, page_file(address))

    def file(self, path: str) -> str:
        """The link to a file that is no page, such as ``/static/style.css``."""
        if self._exported is not None:
            self._exported.files.setdefault(path, path.lstrip("/"))
        return self._up + path.lstrip("/")


def part(text: str) -> str:
    """A name as one part of an address."""
    return quote(text, safe="")


def page_file(address: str) -> str:
    """The file of a page in an export, relative to its folder."""
    split = urlsplit(address)
    parts = [_file_part(unquote(one)) for one in split.path.strip("/").split("/")]
    query = f"-{_file_part(split.query)}" if split.query else ""
    return ("/".join(parts) if parts != [""] else "index") + query + ".html"


def _file_part(text: str) -> str:
    """A name that every file system takes; different texts have different names."""
    safe = _UNSAFE.sub("_", text)
    if safe == text and len(text) <= _LONGEST and not text.startswith("."):
        return text
    return f"{safe[:40].lstrip('.')}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
