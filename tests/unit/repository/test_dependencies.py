"""The dependency audit that needs no network: requirements are exact, what is locked is installed,
and none of it has an advisory that was looked at."""

import re
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

FOLDER = ROOT / "requirements"
PIN = re.compile(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?==([^\s;]+)")


def pins(file: Path) -> dict[str, str]:
    found = {}
    for line in file.read_text().splitlines():
        words = line.partition("#")[0].strip()
        if words and not words.startswith("-"):
            pin = PIN.match(words)
            assert pin, f"{file.name}: '{words}' is not pinned to one version (name==version)"
            name = canonicalize_name(pin[1])
            assert name not in found, f"{file.name}: '{name}' is listed twice"
            found[name] = pin[3]
    return found


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.txt")), ids=lambda file: file.name)
def test_every_requirement_is_exact(file: Path) -> None:
    assert pins(file)


def test_what_is_installed_is_what_was_locked() -> None:
    locked = pins(FOLDER / "cpu.lock")
    # Of this folder alone: setuptools adds one with copies of its own to the search path.
    there = metadata.distributions(path=[sysconfig.get_path("purelib")])
    installed = {canonicalize_name(one.name): one.version for one in there}
    other = {
        name: (version, installed[name])
        for name, version in locked.items()
        if name in installed and installed[name] != version
    }
    assert other == {}, "run 'make setup', or 'make lock' after changing a requirement"


def advisories() -> list[tuple[Requirement, str]]:
    """Affected versions, and the name of the advisory."""
    found = []
    for line in (FOLDER / "advisories.list").read_text().splitlines():
        words, _, name = line.partition("#")
        if words.strip():
            affected = Requirement(words.strip())
            assert affected.specifier, f"'{line}' names no versions"
            assert re.fullmatch(r" (CVE-\d{4}-\d+|GHSA(-\w{4}){3}|PYSEC-\d{4}-\d+)", name), line
            found.append((affected, name.strip()))
    return found


def affected(versions: dict[str, str]) -> list[str]:
    return [
        f"{one.name}=={version}: {name}, affected: {one.specifier}"
        for one, name in advisories()
        if (version := versions.get(canonicalize_name(one.name))) and version in one.specifier
    ]


def test_an_affected_version_is_named_with_its_advisory() -> None:
    found = affected({"pillow": "11.2.1", "h11": "0.16.0", "vllm": "0.8.4"})
    assert found == [
        "pillow==11.2.1: CVE-2025-48379, affected: <11.3.0,>=11.2.0",
        "vllm==0.8.4: CVE-2025-47277, affected: <0.8.5,>=0.6.5",
    ]


@pytest.mark.parametrize(
    "file", ["cpu.lock", "gpu.lock", "cpu.txt", "gpu.txt", "common.txt", "deepspeed.txt", "dev.txt"]
)
def test_nothing_that_is_locked_is_affected(file: str) -> None:
    versions = pins(FOLDER / file)
    assert versions and affected(versions) == []


def test_the_advisories_are_about_what_is_used() -> None:
    used = {name for file in (*FOLDER.glob("*.txt"), FOLDER / "cpu.lock") for name in pins(file)}
    assert {canonicalize_name(one.name) for one, _ in advisories()} <= used
    assert len(advisories()) > 20
