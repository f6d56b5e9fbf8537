"""What changes in a question when its images move, word by word."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from shared.sample import IMAGE_TAG

_WORD = re.compile(rf"{re.escape(IMAGE_TAG)}|\s+|[^\s\w]|\w+")


@dataclass(frozen=True)
class Piece:
    """A piece of a question; where nothing changed, `before` equals `now`."""

    before: str
    now: str

    @property
    def changed(self) -> bool:
        """Whether the order changed it."""
        return self.before != self.now


def pieces(original: str, question: str) -> list[Piece]:
    """The question in pieces, each with what it was in the original order."""
    before, now = _WORD.findall(original), _WORD.findall(question)
    matcher = SequenceMatcher(a=before, b=now, autojunk=False)
    return [
        Piece("".join(before[start:end]), "".join(now[from_:to]))
        for _, start, end, from_, to in matcher.get_opcodes()
    ]
