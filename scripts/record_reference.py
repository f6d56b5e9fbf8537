"""Writes the tables of columns in docs/record.md from shared/records/groups.py: ``make docs``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from shared.records.groups import GROUP_COLUMNS, ORDER_COLUMNS, RESPONSE_COLUMNS, Column

FILE = Path(__file__).resolve().parents[1] / "docs" / "record.md"

_TABLES = {"group": GROUP_COLUMNS, "order": ORDER_COLUMNS, "response": RESPONSE_COLUMNS}
_WORDS = {
    pa.string(): "text",
    pa.bool_(): "true or false",
    pa.float32(): "float32",
    pa.int32(): "int32",
    pa.int16(): "int16",
    pa.timestamp("ms", tz="UTC"): "time (UTC, ms)",
}


def reference() -> str:
    """The page with its tables as the code has them now."""
    page = FILE.read_text(encoding="utf-8")
    for name, columns in _TABLES.items():
        before, _, rest = page.partition(f"<!-- columns: {name} -->\n")
        after = rest.partition("<!-- end -->")[2]
        marked = f"<!-- columns: {name} -->\n\n{_table(columns)}\n<!-- end -->"
        page = before + marked + after
    return page


def _table(columns: Sequence[Column]) -> str:
    rows = [f"| `{one.name}` | {_type(one.type)} | {one.meaning} |\n" for one in columns]
    return "".join(["| column | type | meaning |\n|---|---|---|\n", *rows])


def _type(kind: pa.DataType) -> str:
    return f"list of {_type(kind.value_type)}" if pa.types.is_list(kind) else _WORDS[kind]


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
    sys.exit(0)
