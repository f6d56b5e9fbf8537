"""Answers with several numbered steps: ``(1) 3; (2) x = 4``, ``①3；②4``."""

import re

from shared.grading.kinds.text import read_text
from shared.grading.kinds.wrapping import unwrap

_MARK = re.compile(r"[(（](\d{1,2})[)）]")
_CIRCLED = {ord("①") + place: f"({place + 1})" for place in range(20)}
_SEPARATORS = " \t\r\n;；,，.。"


def split_steps(answer: str) -> dict[int, str]:
    """The answer to each numbered step; empty when the answer has no step numbers.

    Only a number that continues the count starts a step: ``(1) f(2) = 3`` is one step.
    """
    answer = answer.translate(_CIRCLED)
    marks: list[tuple[int, int]] = []
    for match in _MARK.finditer(answer):
        attached = match.start() > 0 and answer[match.start() - 1].isalnum()
        if int(match[1]) == len(marks) + 1 and not attached:
            marks.append((match.start(), match.end()))
    # Each step ends at the mark of the next one.
    ends = [begin for begin, _ in marks[1:]] + [len(answer)]
    return {
        number: answer[begin:end].strip(_SEPARATORS)
        for number, ((_, begin), end) in enumerate(zip(marks, ends, strict=False), start=1)
    }


def steps_of(answer: str, wanted: int) -> dict[int, str]:
    """The numbered steps; without numbers, the parts between semicolons if there are `wanted`."""
    text = unwrap(answer)
    numbered = split_steps(text)
    parts = text.split(";")
    if not numbered and len(parts) == wanted:
        return {place: part.strip() for place, part in enumerate(parts, start=1)}
    return numbered


def read_steps(answer: str) -> str | None:
    """The numbered steps as ``(1) 3; (2) x = 4``; None when there are none or one is empty."""
    steps = {number: read_text(step) for number, step in split_steps(unwrap(answer)).items()}
    if not steps or None in steps.values():
        return None
    return "; ".join(f"({number}) {step}" for number, step in steps.items())
