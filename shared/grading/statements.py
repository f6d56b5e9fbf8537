r"""What prose states as its answer: "The answer is (B).", "**Answer:** 12", "B is correct.", 故选B.

The last statement counts. What is denied ("not B"), supposed ("if the answer is A") or taken back
("Wait, no.") does not. A strong statement, one that speaks of the answer, goes before a weak one
("it is B", "B is the match", a question, a line that begins with "Note:").
"""

from dataclasses import dataclass

from shared.grading.cues import Cue, cues
from shared.grading.readings import Reading, read_start
from shared.sample import AnswerKind

_AFTER_CHARS = 320


@dataclass(frozen=True)
class Stated:
    """The statements that count; each may name several answers where one was asked for."""

    strong: Reading | None = None
    weak: Reading | None = None
    unread: Reading | None = None
    """The last strong statement of something that is no answer of the kind."""
    denied: frozenset[str] = frozenset()
    """The answers that are said to be wrong."""


def stated(text: str, kind: AnswerKind) -> Stated:
    """The statements in a text, from the last one backwards."""
    denied: set[str] = set()
    weak = unread = None
    for cue in cues(text, kind):
        if cue.taken_back or (cue.replaced and weak is not None):
            break
        if cue.replaced:
            continue
        reading = _reading(text, cue, kind)
        if reading is None:
            continue
        if cue.denied:
            denied |= {reading.form} if reading.form is not None else set()
        elif reading.several or (reading.form is not None and reading.form not in denied):
            if not cue.weak:
                return Stated(reading, weak, unread, frozenset(denied))
            weak = weak or reading
        elif not cue.weak and reading.form is None:
            unread = unread or reading
    return Stated(None, weak, unread, frozenset(denied))


def _reading(text: str, cue: Cue, kind: AnswerKind) -> Reading | None:
    end = cue.start + _AFTER_CHARS if cue.end is None else cue.end
    return read_start(text[cue.start : end], kind)
