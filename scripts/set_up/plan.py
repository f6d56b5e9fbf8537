"""What one set-up makes, where, and the stamp that a finished one leaves."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

COMPILE = "compile"
"""Instead of the name of a flash-attn wheel."""
SHIM_SOURCE = Path("scripts/torchvision_shim.py")


class SetupError(Exception):
    """What is wrong and how to fix it, in one line."""


@dataclass(frozen=True)
class Plan:
    """What one set-up makes, and where."""

    root: Path
    profile: str  # "cpu" or "gpu"
    flash_attn: str | None = None
    """`COMPILE`, a wheel's path or address, or None for a set-up without it."""

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.venv / "setup.log"

    @property
    def stamp(self) -> Path:
        return self.venv / "setup.json"

    @property
    def site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.venv / "lib" / version / "site-packages"

    def requirements(self, name: str) -> Path:
        return self.root / "requirements" / name

    def key(self) -> str:
        """Digest of everything the environment is made from; while it is equal, nothing is done."""
        import tomllib

        digest = hashlib.sha256()
        scripts = self.root / "scripts"
        sources = sorted((self.root / "requirements").iterdir())
        sources += [scripts / "setup_env.py", *sorted((scripts / "set_up").glob("*.py"))]
        for source in [*sources, self.root / SHIM_SOURCE]:
            digest.update(source.name.encode() + source.read_bytes())
        project = tomllib.loads((self.root / "pyproject.toml").read_text())
        # The same file holds settings of linters and tests, which install nothing.
        installed = [project["build-system"], project["project"], project["tool"]["setuptools"]]
        digest.update(json.dumps(installed, sort_keys=True).encode())
        made_for = (sys.version, str(self.venv), self.profile, self.flash_attn)
        digest.update(repr(made_for).encode())
        return digest.hexdigest()


def read_stamp(root: Path) -> dict[str, object]:
    """The last set-up's record; empty when it does not exist or cannot be read."""
    try:
        stamp = json.loads((root / ".venv" / "setup.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(plan: Plan, key: str | None) -> None:
    """Record a set-up: a finished one with the key it started from, one under way with `None`."""
    record = {
        "key": key,
        "profile": plan.profile,
        "flash_attn": plan.flash_attn,
        "python": platform.python_version(),
    }
    partial = plan.stamp.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(plan.stamp)
