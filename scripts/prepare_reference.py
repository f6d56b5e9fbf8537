"""Writes the tables of keys and options into docs/prepare.md: ``make docs``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from perl_rl.cli.main import command_line
from perl_rl.data.config import STAGES, PrepareConfig
from shared.config.endpoint import EndpointConfig
from shared.config.reference import key_row
from shared.config.section import Section

PAGE = Path(__file__).resolve().parents[1] / "docs" / "prepare.md"
BEGIN, END = "<!-- made by scripts/prepare_reference.py -->", "<!-- end -->"

_KEYS = "| key | type | default | meaning |\n|---|---|---|---|\n"
_OPTIONS = "| option | default | meaning |\n|---|---|---|\n"


def tables() -> str:
    """All of them as Markdown."""
    common = [
        key_row(name, field)
        for name, field in PrepareConfig.model_fields.items()
        if name not in STAGES
    ]
    parts = [f"Of all stages:\n\n{_KEYS}{''.join(common)}"]
    parts.append(
        "Of `endpoint`, and of `endpoint` in `rephrase`, `difficulty` and `label`:\n\n"
        f"{_KEYS}{_rows(EndpointConfig, 'endpoint.')}"
    )
    for name in STAGES:
        section = PrepareConfig.model_fields[name].annotation
        assert isinstance(section, type) and issubclass(section, Section)
        parts.append(f"### {name}\n\n{_doc(section)}\n\n{_KEYS}{_rows(section, f'{name}.')}")
    parts.append(f"### The command line\n\n`perl-rl data prepare`:\n\n{_options('prepare')}")
    stages = ", ".join(f"`perl-rl data {name}`" for name in STAGES)
    parts.append(f"{stages}:\n\n{_options(STAGES[0])}")
    parts.append(f"`perl-rl data convert`:\n\n{_options('convert')}")
    return "\n".join(parts)


def page_with(made: str) -> str:
    """docs/prepare.md with these tables in their place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def data_parser(action: str) -> argparse.ArgumentParser:
    """The parser of ``perl-rl data ACTION``."""
    return _actions(_actions(command_line())["data"])[action]


def shown_options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The options and arguments that its help shows, without the help itself."""
    hidden = (argparse.SUPPRESS, "show this help message and exit")
    return [one for one in parser._actions if one.help not in hidden]


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [found] = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    return dict(found.choices)


def _doc(section: type[Section]) -> str:
    return " ".join((section.__doc__ or "").split())


def _rows(section: type[Section], prefix: str) -> str:
    return "".join(key_row(prefix + name, field) for name, field in section.model_fields.items())


def _options(action: str) -> str:
    lines = [_option(one) for one in shown_options(data_parser(action))]
    return _OPTIONS + "".join(lines)


def _option(option: argparse.Action) -> str:
    value = option.metavar or (option.dest.upper() if option.nargs != 0 else "")
    name = " ".join(filter(None, [", ".join(option.option_strings), str(value)]))
    needed = option.required or not option.option_strings
    return f"| `{name}` | {'needed' if needed else _shown(option.default)} | {option.help} |\n"


def _shown(value: Any) -> str:
    return "none" if value is None or value is False or value == [] else f"`{value}`"


if __name__ == "__main__":
    PAGE.write_text(page_with(tables()), encoding="utf-8")
    sys.exit(0)
