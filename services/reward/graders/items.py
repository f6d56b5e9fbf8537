r"""Lists whose items may come in any order: "cat, dog", "[2, 1]", "a and b", lines with bullets."""

import re

from services.reward.graders.number import read_number
from services.reward.graders.text import read_text
from services.reward.graders.wrapping import unwrap

_SEPARATOR = re.compile(r"\s*(?:[,;、\n]|\s+(?:and|&)\s+|\s*[和与]\s*)\s*", re.IGNORECASE)
_BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+|^and\s+", re.IGNORECASE)
_BRACKETS = "[]{}()\\ "


def read_list(answer: str) -> str | None:
    """The items, sorted, as ``cat, dog``; an item that is given twice is listed twice.

    A comma always separates here: "1,234" is a list of two.
    """
    parts = _SEPARATOR.split(unwrap(answer).strip(_BRACKETS))
    items = (_read_item(_BULLET.sub("", part.strip()).strip(_BRACKETS)) for part in parts)
    found = sorted(item for item in items if item)
    return ", ".join(found) or None


def _read_item(item: str) -> str | None:
    number = read_number(item)
    return read_text(item) if number is None else f"{number:.12g}"
