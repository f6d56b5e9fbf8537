"""The configuration of runs as flat keys, and where runs differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shared.errors import UserError

FILES = ("config.yaml", "trainer-config.yaml")
"""Where `launch`, or a trainer that was started by itself, writes the configuration of its run.
Secrets are in files beside these, which are not read."""

MISSING = "–"
"""In place of a key that a run does not have."""

_ALWAYS_OTHER = ("run", "redis.url", "trainer.port", "view.port")
"""Keys that the launcher chooses anew for each run."""


@dataclass(frozen=True)
class Setting:
    """One key, with its value in each run."""

    key: str
    values: tuple[str, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs do not agree on it."""
        return len(set(self.values)) > 1


def read_settings(run_dir: Path) -> dict[str, str]:
    """The run's configuration, ``section.key`` to value; empty before it is written.

    Raises:
        UserError: when the file cannot be read.
    """
    file = next((run_dir / name for name in FILES if (run_dir / name).is_file()), None)
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return flatten(content) if isinstance(content, dict) else {}
    except RecursionError:
        reason = "nested too deeply"
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
    raise UserError(f"{file}: cannot be read as a configuration ({reason})")


def flatten(content: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """``section.key`` to value; an element of a list has its number as key, from 0."""
    found: dict[str, str] = {}
    for name, value in content.items():
        key = f"{above}{name}"
        if isinstance(value, list) and any(isinstance(one, dict | list) for one in value):
            value = {str(place): one for place, one in enumerate(value)}
        if isinstance(value, dict) and value:
            found |= flatten(value, f"{key}.")
        else:
            found[key] = in_words(value)
    return found


def in_words(value: object) -> str:
    """A value as it would stand in the YAML file, in one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(in_words, value))
    return str(value)


def side_by_side(several: Sequence[Mapping[str, str]]) -> list[Setting]:
    """Every key of these runs, in the order of the first run that has it."""
    keys = dict.fromkeys(key for one in several for key in one)
    return [Setting(key, tuple(one.get(key, MISSING) for one in several)) for key in keys]


def differences(several: Sequence[Mapping[str, str]]) -> list[Setting]:
    """The keys on which the runs differ, without those that each run has of its own."""
    found = side_by_side(several)
    return [one for one in found if one.differs and one.key not in _ALWAYS_OTHER]


def sections(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """The keys by the section of the configuration that they are in."""
    found: dict[str, list[Setting]] = {}
    for one in settings:
        head, _, rest = one.key.partition(".")
        found.setdefault(head if rest else "run", []).append(one)
    return found
