r"""Sequences of images: "B, C, A", "2-3-1", "B→C→A", "CAB", "first, third, second".

Letters and places are different: "B, A" is never "2, 1", because a fixed image has a place but no
letter.
"""

import re

from shared.grading.kinds.letter import read_letter
from shared.grading.kinds.position import read_position
from shared.grading.kinds.wrapping import unwrap

_ARROW = re.compile(r"\\(?:to|rightarrow|Rightarrow|longrightarrow)(?![a-zA-Z])|->|=>|[→⇒]")
_COMPARED = re.compile(r"<+|\\lt(?![a-z])|>+|\\gt(?![a-z])")
_SEPARATOR = re.compile(r"\s*(?:[,;/、]|[-–—]|\band\b|\bthen\b)+\s*|\s*\n\s*", re.IGNORECASE)
_NOUNS = re.compile(
    r"\b(?:the|images?|pictures?|photos?|figures?|options?|panels?|frames?|one)\b", re.IGNORECASE
)
_BRACKETS = (("[", "]"), ("{", "}"), ("\\{", "\\}"))
_MOST_ELEMENTS = 26


def read_order(answer: str) -> str | None:
    """The sequence as ``B,C,A`` or ``2,3,1``.

    None unless it has at least two elements, all different, and all letters or all places.
    """
    text = unwrap(answer).rstrip(".").strip()
    for left, right in _BRACKETS:
        if text.startswith(left) and text.endswith(right):
            text = text[len(left) : -len(right)].strip()
    elements = _compact(text) or _separated(text)
    different = len(set(elements)) == len(elements)
    alike = len({element.isdigit() for element in elements}) == 1
    if not 2 <= len(elements) <= _MOST_ELEMENTS or not different or not alike:
        return None
    return ",".join(elements)


def _compact(text: str) -> list[str]:
    """The elements of ``CAB`` or ``231``.

    Small letters count only when they are the first of the alphabet ("cab"), as "cat" is a word.
    """
    if re.fullmatch(r"[A-Z]{2,10}|[1-9]{2,9}", text, re.ASCII):
        return list(text)
    first = "abcdefghij"[: len(text)]
    return list(text.upper()) if len(text) > 1 and sorted(text) == list(first) else []


def _separated(text: str) -> list[str]:
    text = _ARROW.sub(",", text).replace(")(", "),(")
    # "A < B < C" is a sequence, but "A < C > B" is not.
    if len({match[0][0] + match[0][-1] for match in _COMPARED.finditer(text)}) > 1:
        return []
    text = _NOUNS.sub(" ", _COMPARED.sub(",", text)).strip()
    if text.startswith("(") and text.endswith(")") and "(" not in text[1:]:
        text = text[1:-1]
    parts = [part for part in _SEPARATOR.split(text) if part.strip()]
    if len(parts) == 1:
        parts = text.split()
    elements = [_element(part.strip()) for part in parts]
    return [] if None in elements else [element for element in elements if element]


def _element(part: str) -> str | None:
    letter = re.fullmatch(r"\(?[A-Za-z][.)]?", part, re.ASCII)
    return read_letter(part) if letter else read_position(part)
