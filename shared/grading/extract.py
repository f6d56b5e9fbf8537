r"""Finds the final answer in a response, and checks the response's form.

Responses are untrusted: all code here takes time linear in the length of the text, and texts over a
limit are not read.
"""

import re

from shared.boxed import last_box
from shared.grading.grade import canonical
from shared.grading.kinds.steps import split_steps
from shared.grading.limits import MAX_ANSWER_CHARS, MAX_RESPONSE_CHARS
from shared.sample import AnswerKind

_THINK, _END_THINK = "<think>", "</think>"

# Boxes that count only when extraction is not strict.
_OTHER_BOX = re.compile(r"\\(?:fbox|framebox)\s?\{([^{}]*)\}|\\boxed\s+([^\s{}\\$]{1,40})")

# Words that introduce an answer outside a box. The last ones count.
_STATED = re.compile(
    r"(?:\b(?:answers?|choice|option|correct order)(?:\s(?:to|of|for)\s[^.:\n]{0,80}?)?"
    r"\*{0,2}\s?(?:is|are|would be|:|：)"
    r"|\b(?:choose|pick|select)(?=\s)|####|(?:答案|应?选择?|结果)\*{0,2}\s?(?:应该?)?(?:[是为选]|:|：)|故选)"
    r"[ \t]*[:：]?[ \t]*(?:\*\*(?=\s))?\s*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|\*)|[。！？]")
_REASON = re.compile(r",?\s(?:because|since|as|which|so)\b|[,，;；]?\s?(?:因为|所以)")
_CLAUSE_END = re.compile(r"\s[-–—]\s|[,，]\s?")
_LEAD = re.compile(r"(?:(?:so|thus|hence|therefore)\b|所以|因此|故)\s?[,，:：]?\s?", re.IGNORECASE)
_FORMULA = re.compile(r"\$\$?([^$]{1,200})\$")
_FORMULA_SIGN = re.compile(r"[\d=\\]|^\S+$")
# "B is correct.", a whole line.
_IS_CORRECT = re.compile(
    r"(.{1,30}?)\s(?:is|must be)\s(?:the\s)?(?:correct|right)"
    r"(?:\s(?:answer|option|choice|one|image))?[.!]?",
    re.IGNORECASE,
)
_MOST_STATED_CHARS = 300
_MOST_LINE_CHARS = 60
_PROSE: tuple[AnswerKind, ...] = ("text", "exact", "math", "list")


def extract_answer(response: str, kind: AnswerKind, strict: bool = True) -> str | None:
    r"""The final answer in a response to a question of `kind`; None without one.

    Strict: only the content of the last balanced ``\boxed{...}`` (`final_answer`).
    Not strict: search the text after the reasoning, then the whole response, for a box,
    ``<answer>`` tags, ``\fbox{B}`` or ``\boxed B``, a statement ("The answer is (B).",
    "**Answer:** 12", "答案是B。"), and a short last line that is an answer of the kind. Letters
    inside words never count.
    """
    if strict or len(response) > MAX_RESPONSE_CHARS:
        return final_answer(response)
    _, ended, after = response.rpartition(_END_THINK)
    for text in (after, response) if ended else (response,):
        boxed = final_answer(text)
        tagged = boxed
        if tagged is None:
            tagged = _tagged(text) or _other_box(text)
        answer = _in_words(text, kind) if tagged is None else tagged
        if answer is not None:
            return answer
    return None


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


def _tagged(text: str) -> str | None:
    """The content of the last pair of answer tags."""
    before, closed, _ = text.rpartition("</answer>")
    _, opened, content = before.rpartition("<answer>")
    return content.strip() if closed and opened and len(content) <= MAX_ANSWER_CHARS else None


def _other_box(text: str) -> str | None:
    r"""The content of the last ``\fbox{...}`` or ``\boxed B``."""
    found = [match[1] or match[2] for match in _OTHER_BOX.finditer(text)]
    return found[-1] if found and len(found[-1] or "") <= MAX_ANSWER_CHARS else None


def _in_words(text: str, kind: AnswerKind) -> str | None:
    """The answer in the last statement, or else in the last line.

    When neither is an answer of the kind, the longest part of the statement, if there is one.
    """
    stated = _stated(text, kind)
    for part in stated:
        if canonical(part, kind) is not None:
            return part
    line = _last_line(text, kind)
    return stated[0] if line is None and stated else line


def _stated(text: str, kind: AnswerKind) -> list[str]:
    """The parts of the text after the last introduction that may be the answer, longest first."""
    end = None
    for match in _STATED.finditer(text):
        end = match.end()
    stated = "" if end is None else text[end : end + _MOST_STATED_CHARS].strip()
    line = _clean(stated.partition("\n")[0])
    sentence = _clean(_SENTENCE_END.split(line, maxsplit=1)[0])
    reasonless = _clean(_REASON.split(sentence, maxsplit=1)[0])
    formula = _FORMULA.match(sentence)
    if kind == "steps":
        parts = [stated]
    elif kind in _PROSE:
        parts = [formula[1] if formula and kind == "math" else reasonless]
    else:
        clause = _clean(_CLAUSE_END.split(sentence, maxsplit=1)[0])
        parts = [line, sentence, reasonless, clause, formula[1] if formula else ""]
    return [part for part in parts if part]


def _last_line(text: str, kind: AnswerKind) -> str | None:
    """The last line if it is short and an answer of the kind; steps may take several lines."""
    lines = text.strip().splitlines()
    if kind == "steps":
        tail = text[text.rfind("(1)") :].strip() if "(1)" in text else ""
        return tail if len(tail) <= MAX_ANSWER_CHARS and split_steps(tail) else None
    if not lines or len(lines[-1]) > _MOST_LINE_CHARS:
        return None
    line = _LEAD.sub("", _clean(lines[-1]), count=1) if _LEAD.match(lines[-1]) else lines[-1]
    line = _clean(line)
    correct = None if kind in _PROSE else _IS_CORRECT.fullmatch(line)
    line = correct[1] if correct else line
    if kind == "math" and not _FORMULA_SIGN.search(line):
        return None
    return line if canonical(line, kind) is not None else None


def _clean(text: str) -> str:
    """The text without ``**`` marks that are not in pairs."""
    text = text.strip()
    return text.replace("**", "").strip() if text.count("**") % 2 else text
