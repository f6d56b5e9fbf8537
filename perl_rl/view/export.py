"""Writes the pages to a folder, for someone without the run: ``index.html`` opens in a browser.

The app itself makes them. It remembers what each page links to, and that is followed until there
is nothing new; links are relative, so the folder can lie anywhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx

from perl_rl.counting import counting
from perl_rl.view.app import create_app
from perl_rl.view.index import Selection
from perl_rl.view.links import Exported, Links
from perl_rl.view.runs import Run
from shared.errors import UserError
from shared.files import make_folder

DEFAULT_LIMIT = 100
"""Groups of each run, the newest: a group of 12 responses is 13 pages."""


def export(
    runs: Sequence[Path], out: Path, selection: Selection, say: Callable[[str], None] = print
) -> int:
    """Write the pages of these runs to `out`, and say how many there are.

    Raises:
        UserError: when a folder holds no run, none has a group of the step, or `out` is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: is there already and not empty; name a new folder for --export")
    make_folder(out, "--export")
    found = Exported()
    app = create_app(runs, exported=found, selection=selection)
    groups = sum(run.groups.read().table.num_rows for run in app.state.runs)
    if selection.step is not None and not groups:
        raise UserError(f"--step: no group of step {selection.step} is recorded; name another step")
    pages, files = asyncio.run(_written(httpx.ASGITransport(app), app.state.runs, found, out))
    say(f"view: {pages} pages and {files} images and other files: open {out / 'index.html'}")
    return 0


async def _written(
    transport: httpx.ASGITransport, runs: Sequence[Run], found: Exported, out: Path
) -> tuple[int, int]:
    links = Links("/", found)
    for address in ("/", *(one for run in runs for one in (run.path, f"{run.path}/groups"))):
        links.page(address)
    done: set[str] = set()
    files = 0
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with counting("pages", None) as advance:
            while left := [one for one in found.pages if one not in done]:
                for address in left:
                    answer = await client.get(address)
                    _write(out / found.pages[address], answer.content)
                    done.add(address)
                    advance()
        for address, name in found.files.items():
            answer = await client.get(address)
            # An image that is not kept any more: its page says so.
            if answer.status_code == httpx.codes.OK:
                _write(out / name, answer.content)
                files += 1
    return len(done), files


def _write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
