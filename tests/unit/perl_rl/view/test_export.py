"""``perl-rl view --export``: pages that need no server."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import unquote

import pytest

from perl_rl.cli.main import main
from tests.group_records import write_run
from tests.hostile_records import write_hostile_run

LINK = re.compile(r'(?:href|src)="([^"]*)"')


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    write_run(folder, steps=2)
    return folder


@pytest.mark.slow
def test_every_link_of_every_page_leads_to_a_file(run: Path, tmp_path: Path) -> None:
    write_hostile_run(run)
    out = tmp_path / "out"
    assert main(["view", str(run), "--export", str(out)]) == 0
    pages = list(out.rglob("*.html"))
    assert len(pages) > 80
    for page in pages:
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            if link.startswith("#"):
                continue
            target = page.parent / unquote(unescape(link))
            assert target.resolve().is_relative_to(out) and target.is_file(), f"{page}: {link}"


def test_a_selection_is_written(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert main(["view", str(run), "--export", str(out), "--step", "2", "--limit", "2"]) == 0
    groups = sorted(file.stem for file in (out / "runs/0/groups").glob("*.html"))
    assert len(groups) == 2
    assert [file.stem for file in (out / "runs/0/steps").glob("*.html")] == ["2"]
    assert "<form" not in (out / "runs/0/groups.html").read_text()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["{run}", "--export", "{run}"], "not empty; name a new folder for --export"),
        (["{run}", "--export", "/proc/a/b"], "--export /proc/a/b: cannot write there"),
        (["{run}", "--limit", "3"], "--limit: says what --export writes"),
        (["{run}", "--export", "{new}", "--step", "9"], "no group of step 9 is recorded"),
        (["{empty}"], "holds no run (none of config.yaml, "),
        (["{new}"], "no such folder"),
        (["{run}", "--token-env", "NOT_SET_ANYWHERE"], "NOT_SET_ANYWHERE"),
    ],
)
def test_what_cannot_be_done_gets_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], line: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"run": run, "new": tmp_path / "new", "empty": tmp_path / "empty"}
    assert main(["view", *(one.format(**places) for one in options)]) == 2
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == 1
