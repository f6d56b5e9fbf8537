r"""Finds the final answer in a response, and checks the response's form.

Responses are untrusted: all code here takes time linear in the length of the text, and texts over a
limit are not read.
"""

import re
from collections.abc import Iterator

from shared.boxed import last_box
from shared.grading.cues import takes_all_back, takes_back
from shared.grading.grade import canonical
from shared.grading.limits import MAX_ANSWER_CHARS, MAX_RESPONSE_CHARS
from shared.grading.lines import conclusion, first_line, last_line, without_closing
from shared.grading.options import is_label
from shared.grading.plain import plain
from shared.grading.readings import PROSE, Reading
from shared.grading.statements import stated
from shared.sample import AnswerKind

_THINK, _END_THINK = "<think>", "</think>"

# Boxes that count only when extraction is not strict.
_OTHER_BOX = re.compile(r"\\(?:fbox|framebox)\s?\{([^{}]*)\}|\\boxed\s+([^\s{}\\$]{1,40})")
_MOST_BOXES = 4


def extract_answer(response: str, kind: AnswerKind, strict: bool = True) -> str | None:
    r"""The final answer in a response to a question of `kind`; None without one.

    Strict: only the content of the last balanced ``\boxed{...}`` (`final_answer`).
    Not strict: search the text after the reasoning, then the whole response, for a box,
    ``<answer>`` tags, ``\fbox{B}`` or ``\boxed B``, a statement ("The answer is (B).",
    "**Answer:** 12", "B is correct.", 答案是B。), a short last line or sentence that is an answer
    of the kind, and a first line that is one. A box that holds no answer of the kind counts only
    when nothing else does. Letters inside words never count.
    """
    if strict or len(response) > MAX_RESPONSE_CHARS:
        return final_answer(response)
    _, ended, after = response.rpartition(_END_THINK)
    unread = None
    for text in (after, response) if ended else (response,):
        found = _find(text, kind)
        if found is not None and found.decides:
            return found.text
        unread = unread or found
    return None if unread is None else unread.text


def final_answer(response: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` whose braces are balanced; None without one."""
    span = last_box(response) if len(response) <= MAX_RESPONSE_CHARS else None
    if span is None or span[1] - span[0] > MAX_ANSWER_CHARS:
        return None
    return response[span[0] : span[1]].strip()


def well_formed(response: str) -> bool:
    r"""Whether the response is ``<think>...</think>`` followed by text with ``\boxed{...}``.

    White space around it is allowed; a second pair of think tags is not.
    """
    if len(response) > MAX_RESPONSE_CHARS:
        return False
    text = response.strip()
    thought, end, after = text.partition(_END_THINK)
    if not end or not thought.startswith(_THINK):
        return False
    if _THINK in thought[len(_THINK) :] or _THINK in after or _END_THINK in after:
        return False
    return last_box(after) is not None


def _find(text: str, kind: AnswerKind) -> Reading | None:
    """What a text gives as its answer: the last mark that holds one, or the words."""
    marks = list(_marks(text))
    if marks and (corrected := _corrected(text, kind)) is not None:
        return corrected
    found = [_in_mark(content, kind) for content in marks]
    if found and found[0].decides:
        return found[0]
    words = _in_words(text, kind)
    if words is not None and words.decides:
        return words
    return next((one for one in found if one.decides), found[0] if found else words)


def _marks(text: str) -> Iterator[str]:
    r"""The contents of the last ``\boxed{...}``, of answer tags, of ``\fbox{...}`` or ``\boxed B``,
    and of earlier boxes."""
    boxes: list[str] = []
    end = len(text)
    while len(boxes) < _MOST_BOXES and (span := last_box(text[:end])) is not None:
        boxes.append(text[slice(*span)].strip())
        end = text.rindex("\\boxed", 0, span[0])
    others = [match[1] or match[2] for match in _OTHER_BOX.finditer(text)]
    before, closed, _ = text.rpartition("</answer>")
    _, opened, tagged = before.rpartition("<answer>")
    marks = [*boxes[:1], *([tagged.strip()] if closed and opened else []), *others[-1:], *boxes[1:]]
    return (content for content in marks if len(content) <= MAX_ANSWER_CHARS)


def _in_mark(content: str, kind: AnswerKind) -> Reading:
    form = canonical(content, kind)
    if form is not None or kind in PROSE:
        return Reading(content, form)
    words = _in_words(content, kind)
    return words if words is not None and words.decides else Reading(content, None)


def _corrected(text: str, kind: AnswerKind) -> Reading | None:
    """The answer that is stated after the last box was taken back ("Wait, no. ...")."""
    span = last_box(text)
    behind = "" if span is None or kind in PROSE else plain(text[span[1] :])
    if not takes_back(behind):
        return None
    return stated(behind, kind).strong


def _has_text(reading: Reading, kind: AnswerKind) -> bool:
    return kind == "letter" and not is_label(reading.text)


def _in_words(text: str, kind: AnswerKind) -> Reading | None:
    """The answer that is stated, or else stands in the last line, or in the first."""
    open_kind = kind in PROSE or kind == "steps"
    bare = text.replace("**", "") if kind == "number" else plain(text)
    words = text if open_kind else bare
    said = stated(words, kind)
    if said.strong is not None or (open_kind and kind != "math" and said.weak is not None):
        return said.strong or said.weak
    words = without_closing(words)
    found = last_line(words, kind)
    # "I choose B.\n\nC: too small" chooses B; "...\n\n(C)" answers C.
    if said.weak is not None and (found is None or _has_text(found, kind)):
        found = said.weak
    if found is None and _THINK not in words and not takes_all_back(words):
        found = first_line(words, kind)
    if found is None and kind == "letter":
        found = conclusion(words)
    if found is not None and kind == "letter" and found.form in said.denied:
        found = None
    return found or said.unread
