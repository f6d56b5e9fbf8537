"""The dependency audit that needs no network: requirements are exact, and locked is installed."""

import re
from importlib import metadata
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

FOLDER = Path(__file__).parents[2] / "requirements"
PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?==([^\s;]+)")


def pins(file: Path) -> dict[str, str]:
    found = {}
    for line in file.read_text().splitlines():
        words = line.partition("#")[0].strip()
        if words and not words.startswith("-"):
            pin = PIN.match(words)
            assert pin, f"{file.name}: '{words}' is not pinned to one version (name==version)"
            found[canonicalize_name(pin[1])] = pin[3]
    return found


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.name)
def test_every_requirement_is_exact(file: Path) -> None:
    assert pins(file)


def test_what_is_installed_is_what_was_locked() -> None:
    locked = pins(FOLDER / "cpu.lock")
    installed = {canonicalize_name(one.name): one.version for one in metadata.distributions()}
    other = {
        name: (version, installed[name])
        for name, version in locked.items()
        if name in installed and installed[name] != version
    }
    assert other == {}, "run 'make setup', or 'make lock' after changing a requirement"
