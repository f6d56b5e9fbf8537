r"""Lists whose items may come in any order: "cat, dog", "[2, 1]", "a and b", lines with bullets."""

import re

from shared.grading.kinds.number import read_number, read_quantity
from shared.grading.kinds.text import read_text
from shared.grading.kinds.wrapping import unwrap

_SEPARATOR = re.compile(r"\s*(?:[,;、\n]|\s+(?:and|&)\s+|\s*[和与]\s*)\s*", re.IGNORECASE)
_BULLET = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+|^and\s+", re.IGNORECASE)
_BRACKETS = (("\\{", "\\}"), ("[", "]"), ("{", "}"), ("(", ")"))


def read_list(answer: str) -> str | None:
    """The items, sorted, as ``cat, dog``; an item that is given twice is listed twice.

    A comma always separates items: "1,234" is a list of two.
    """
    lines = (" ".join(line.split()) for line in unwrap(answer).rstrip(".").splitlines())
    parts = _SEPARATOR.split(_without_brackets("\n".join(lines)))
    items = (_read_item(_without_brackets(_BULLET.sub("", part.strip()))) for part in parts)
    found = sorted(item for item in items if item)
    return ", ".join(found) or None


def _without_brackets(text: str) -> str:
    text = text.replace("\\left", "").replace("\\right", "").strip()
    for left, right in _BRACKETS:
        if text.startswith(left) and text.endswith(right):
            return text[len(left) : -len(right)].strip()
    return text


def _read_item(item: str) -> str | None:
    number, quantity = read_number(item), read_quantity(item)
    if number is not None:
        return f"{number:.12g}"
    return read_text(item) if quantity is None else quantity.canonical()
