"""Writes docs/metrics.md from the classes in shared/records/: ``make docs``."""

import sys
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from shared.records.steps import StepRecord
from shared.records.summary import RunSummary

FILE = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"

_INTRODUCTION = """# What a run writes down

`make docs` writes this page from `shared/records/`. A run folder has `metrics.jsonl`, one line for
each step, and at the end `summary.json`. The trainer serves the numbers of the last step at
`/metrics`, for Prometheus: `reward` as "perl_step_reward", and so on; `perl_step_alarm{of="kl"}` is
1 when the step is such an alarm. [signals.md](signals.md) says why groups are dropped.
"""
_PLAIN = {str: "text", int: "integer", float: "number", NoneType: "null", Any: "any"}


def reference() -> str:
    """The page as Markdown."""
    return _INTRODUCTION + _table("metrics.jsonl", StepRecord) + _table("summary.json", RunSummary)


def _table(file: str, record: type[BaseModel]) -> str:
    rows = [
        f"| `{name}` | {_type(field.annotation)} | {_text(field.description)} |\n"
        for name, field in record.model_fields.items()
    ]
    head = f"\n## {file}\n\n{_text(record.__doc__)}\n\n| field | type | meaning |\n|---|---|---|\n"
    return head + "".join(rows)


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("``", "`").replace("|", "\\|")


def _type(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return " or ".join(_type(one) for one in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is Literal:
        return "text"
    if origin is dict:
        return "mapping"
    return _PLAIN.get(kind, "mapping")


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
    sys.exit(0)
