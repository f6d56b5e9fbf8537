"""For the tests of the set-up."""

import shutil
from pathlib import Path

import pytest

from tests.paths import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all files that the set-up reads, without an environment."""
    root = tmp_path / "checkout"
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root
