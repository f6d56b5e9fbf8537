"""Words for values and counts in messages."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any


def amount(number: int, noun: str, between: str = "") -> str:
    """ "1 image", "2 images", "3 entries".

    Args:
        noun: in the singular.
        between: a comma, to write thousands as "1,000".
    """
    return f"{format(number, between)} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def what(value: Any) -> str:
    """What a value of a data file is, in words: "a list of 2", "nothing"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float | Decimal):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bytes | bytearray):
        return "bytes"
    if isinstance(value, dict):
        return "an object"
    return f"a list of {len(value)}" if isinstance(value, Sequence) else "another kind of value"
