"""Writes docs/configuration.md from the classes in shared/config/: ``make docs``."""

import sys
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from shared.config import Config, Section
from shared.config.reference import key_row

FILE = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"

_INTRODUCTION = """# Configuration

One YAML file configures every service. `make docs` writes this page from `shared/config/`, which
checks the file before anything starts: an unknown key, a missing key or a bad value is reported in
one line that names the key.

- `--set key.path=value` on the command line overrides a value of the file.
- `${NAME}` and `${NAME:-default}` in a value are taken from the environment.
- Relative paths are resolved against the folder of the file.
- Times end in `_s` and are seconds.
"""


def reference() -> str:
    """The page as Markdown."""
    return _INTRODUCTION + "".join(_section(Config, ""))


def _section(section: type[Section], prefix: str) -> list[str]:
    rows: list[str] = []
    below: list[str] = []
    listed: list[type[Section]] = []
    for name, field in section.model_fields.items():
        kind = field.annotation
        for one in _listed(kind):
            # Described once, under the first key that lists it.
            if one not in listed:
                listed.append(one)
                below += _section(one, f"{prefix}{name}[].")
        optional = _optional(kind)
        if optional is not None:
            rows.append(key_row(f"{prefix}{name}", field))
            below += _section(optional, f"{prefix}{name}.")
        elif isinstance(kind, type) and issubclass(kind, Section):
            below += _section(kind, f"{prefix}{name}.")
        else:
            rows.append(key_row(f"{prefix}{name}", field))
    title = prefix.rstrip(".") or "The run"
    text = " ".join((section.__doc__ or "").split()).replace("``", "`")
    table = "| key | type | default | meaning |\n|---|---|---|---|\n"
    return [f"\n## {title}\n\n{text}\n\n{table}", *rows, *below]


def _optional(kind: Any) -> type[Section] | None:
    """The section that a key holds when it is set."""
    section, *others = get_args(kind) or (None,)
    if others == [NoneType] and isinstance(section, type) and issubclass(section, Section):
        return section
    return None


def _listed(kind: Any) -> list[type[Section]]:
    """The sections that a key holds a list of."""
    items = get_args(kind)
    found = [one for item in items for one in _listed(item)]
    if get_origin(kind) is tuple:
        found += [one for one in items if isinstance(one, type) and issubclass(one, Section)]
    return found


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(reference(), encoding="utf-8")
    sys.exit(0)
