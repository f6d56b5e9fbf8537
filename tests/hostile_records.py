"""A recorded group whose every text tries to be more than text."""

from pathlib import Path
from typing import Any

from shared.records.groups import as_table, file_name, groups_folder, write_table
from tests.group_records import write_run

MARKUP = (
    "<script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">'\">&lt;"
)
BIDI = (
    "right \u202eto left\u202c, \u2067isolated\u2069, zero\u200bwidth, tag \U000e0041, nul \x00 "
    "é 漢字 👩\u200d👩\u200d👧 \ufeff"
)
GROUP = "g00000777"
SAMPLE = f"../x/<b>{BIDI}</b>?a=1#b%"

_TEXTS = ("question", "answer", "source", "detail", "rule", "kind")
_PER_ORDER = ("order_question", "order_answer", "order_node", "order_majority")
_PER_RESPONSE = ("response_text", "response_answer", "response_original_answer")


def write_hostile_run(run: Path) -> dict[str, Any]:
    """A made-up run with a group more in step 9; returns that group's row."""
    row = dict(write_run(run, steps=1)[0])
    nasty = f"{MARKUP} {BIDI} <image>\n<image>"
    row |= {"group_id": GROUP, "step": 9, "sample_id": SAMPLE}
    row |= dict.fromkeys(_TEXTS, nasty)
    row |= {name: [nasty] * row["orders"] for name in _PER_ORDER}
    row |= {name: [nasty] * row["responses"] for name in _PER_RESPONSE}
    write_table(as_table([row]), groups_folder(run) / file_name(9, 0))
    return row
