"""Reads an answer of a kind from the start of the text that follows "The answer is"."""

import re
from dataclasses import dataclass

from shared.grading.grade import canonical
from shared.grading.kinds.steps import split_steps
from shared.grading.options import option_at
from shared.sample import AnswerKind

PROSE: tuple[AnswerKind, ...] = ("text", "exact", "math", "list")
"""Kinds that read almost any text: only where it stands tells an answer from prose."""

_MOST_CHARS = 300
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|\*)|[。！？]")
REASON = re.compile(
    r",?\s(?:because|since|as|which|so)\b|,\s(?:not|but|rather\sthan|instead\sof)\b"
    r"|[,，;；]?\s?(?:因为|所以|而不是|而非)"
)
_CLAUSE_END = re.compile(r"\s[-–—]\s|[,，](?!\d{3})\s?|[;；]\s?|\s\(")
# "The answer is the second image (B)."
_IN_BRACKETS = re.compile(r"\((?:[Oo]ption\s)?([A-Z])\)")
_DASH = re.compile(r"\s[-–—]\s|\s\(")
_JOINED = re.compile(r"(?:[,，;；]|\b(?:and|or)\b|[和或与])\s*", re.IGNORECASE)
_FORMULA = re.compile(r"\$\$?([^$]{1,200})\$|\\\((.{1,200}?)\\\)")
_MORE_FORMULAS = re.compile(r"\$?\s*(?:,|or|and|或|和)\s*(?:or\s|and\s)?(?:\$|\\\()")
_HEAD = re.compile(
    r"(?:yes|no|true|false|correct|incorrect|是的?|否|不是|不|对|错误?|正确)(?=\s*(?:$|[,.:;!。，；—-]))",
    re.IGNORECASE,
)
_OR_NO = re.compile(r"[\s,.]*(?:or|and|或)\b", re.IGNORECASE)
_TRAILING = ";；,，"


@dataclass(frozen=True)
class Reading:
    """What the start of a text says."""

    text: str
    """The words that say it."""
    form: str | None
    """The answer in canonical form; None when the words are no answer of the kind."""
    several: bool = False
    """Whether they name several answers where one was asked for."""

    @property
    def decides(self) -> bool:
        """Whether no other part of the response is searched."""
        return self.several or self.form is not None


def read_start(text: str, kind: AnswerKind) -> Reading | None:
    """The answer of `kind` that `text` starts with; None when it starts with nothing."""
    text = text[:_MOST_CHARS].strip()
    if not text:
        return None
    if kind == "letter":
        return _option(text)
    if kind == "steps":
        return Reading(text, canonical(text, kind)) if split_steps(text) else None
    line = clean(text.partition("\n")[0])
    sentence = clean(_SENTENCE_END.split(line, maxsplit=1)[0])
    reasonless = clean(REASON.split(sentence, maxsplit=1)[0])
    if kind in PROSE:
        part = _formulas(reasonless) if kind == "math" else reasonless
        return Reading(part, canonical(part, kind)) if part else None
    parts = [line, sentence, reasonless]
    if kind == "number":
        # In this order: words behind the number would read as those of a unit.
        parts = [_formula(sentence), reasonless, sentence, line, _after_equals(reasonless)]
    if kind == "boolean":
        head = _HEAD.match(line)
        parts.append(head[0] if head and not _OR_NO.match(line, head.end()) else "")
    for part in parts:
        form = canonical(part, kind) if part else None
        if form is not None:
            return Reading(part, form)
    return _clause(reasonless, kind)


def _option(text: str) -> Reading | None:
    """The option's label, with its text where that reads as the option too; None when the options
    are only listed, one a line."""
    line = text.partition("\n")[0].strip()
    found = option_at(text)
    if found is None:
        sentence = _SENTENCE_END.split(line, maxsplit=1)[0]
        named = set(_IN_BRACKETS.findall(sentence))
        letter = named.pop() if len(named) == 1 else None
        return Reading(letter or line, letter)
    if found.letter is None:
        return Reading(line, None, several=True)
    following = option_at(text[found.end :].partition("\n")[2].lstrip())
    if following is not None and following.marked and following.comes_after(found):
        return None
    whole = canonical(line, "letter") == found.letter
    return Reading(line if whole else found.letter, found.letter)


def _formula(text: str) -> str:
    """The formula that a text starts with; "" without one."""
    match = _FORMULA.match(text)
    return (match[1] or match[2]).strip() if match else ""


def _formulas(sentence: str) -> str:
    """The formula that a sentence starts with, or the whole sentence where it lists several."""
    formula = _FORMULA.match(sentence)
    several = formula is not None and _MORE_FORMULAS.match(sentence, formula.end())
    if several:
        return sentence.replace("\\(", "$").replace("\\)", "$")
    return _formula(sentence) or sentence


def _after_equals(text: str) -> str:
    _, equals, value = text.rpartition("=")
    return value.strip() if equals else ""


def _clause(text: str, kind: AnswerKind) -> Reading:
    """The first clause, unless the next one is another answer of the kind."""
    end = (_DASH if kind == "order" else _CLAUSE_END).search(text)
    clause = clean(text[: end.start()]) if end else ""
    form = canonical(clause, kind) if clause else None
    if end is None or form is None:
        return Reading(text, None)
    rest = text[end.start() :].lstrip(" (")
    while (joined := _JOINED.match(rest)) is not None:
        rest = rest[joined.end() :]
    following = clean(_CLAUSE_END.split(rest, maxsplit=1)[0])
    if canonical(following, kind) not in (None, form):
        return Reading(text, None, several=True)
    return Reading(clause, form)


def clean(text: str) -> str:
    """The text without unpaired ``**``, and without a comma or semicolon at its end."""
    text = text.strip()
    text = text.replace("**", "").strip() if text.count("**") % 2 else text
    return text.rstrip(_TRAILING).rstrip()
