"""The first change in CONTRIBUTING.md works as written; the hooks check what ``make lint`` does."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import ROOT

TIMEOUT_S = 120.0
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

BLOCK = r":\n\n   ```\w*\n(.*?)\n   ```\n"
NEW_FILE = re.compile(rf"New file `([\w./]+)`{BLOCK}", re.DOTALL)
LINES = re.compile(rf"`([\w./]+)`, below (the row of )?`+([^\n]+?)`+{BLOCK}", re.DOTALL)
TEST = re.compile(r"\.venv/bin/python -m (pytest .* -k clock)")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the change touches, and what its test needs."""
    skipped = shutil.ignore_patterns("__pycache__", "start_model", "integration")
    for folder in ("docs", "perl_rl", "services", "shared", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add_lines(checkout: Path, step: re.Match[str]) -> None:
    """Add a block below the one line that the page names."""
    name, row, anchor, block = step.groups()
    file = checkout / name
    lines = file.read_text(encoding="utf-8").split("\n")
    sought = f"| `{anchor}` |" if row else anchor
    [place] = [number for number, line in enumerate(lines) if sought in line]
    lines[place + 1 : place + 1] = outdented(block)
    file.write_text("\n".join(lines), encoding="utf-8")


def outdented(block: str) -> list[str]:
    """The lines of a block that stands in a list."""
    return [line.removeprefix("   ") for line in block.split("\n")]


def run(checkout: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.mark.slow
def test_the_first_change_is_red_and_then_green(checkout: Path) -> None:
    first, *others = LINES.finditer(PAGE)
    test = shlex.split(TEST.search(PAGE)[1])
    add_lines(checkout, first)
    red = run(checkout, *test)
    assert red.returncode == 1 and "KeyError: 'clock'" in red.stdout, red.stdout

    for step in others:
        add_lines(checkout, step)
    [(name, block)] = NEW_FILE.findall(PAGE)
    (checkout / name).write_text("\n".join([*outdented(block), ""]), encoding="utf-8")
    changed = {first[1], name, *(step[1] for step in others)}
    assert len(changed) == 5, "test, name, reader, table, page"
    code = sorted(file for file in changed if file.endswith(".py"))
    for words in (["ruff", "format", *code], ["ruff", "check", *code], ["mypy", *code], test):
        done = run(checkout, *words)
        assert done.returncode == 0, done.stdout


def test_the_hooks_are_make_lint() -> None:
    recipe = re.search(
        r"^lint: setup\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    [local] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local", "hooks that are fetched have versions of their own"
    assert [hook["entry"] for hook in local["hooks"]] == commands
    assert all(hook["always_run"] and not hook["pass_filenames"] for hook in local["hooks"])
