"""Answers that are not stated but stand alone: in the last line or sentence, or in the first.

"... The total is 6.", "B\n\nBecause the handle is red.", "Yes, both show a cat."
"""

import re

from shared.grading.cues import DOUBT, last_clause
from shared.grading.grade import canonical
from shared.grading.kinds.steps import split_steps
from shared.grading.limits import MAX_ANSWER_CHARS
from shared.grading.options import NAMED, is_label, option_at
from shared.grading.readings import PROSE, REASON, Reading, clean, read_start
from shared.sample import AnswerKind

_MOST_LINE_CHARS = 60
_MOST_SENTENCE_CHARS = 300
_LEAD = re.compile(
    r"(?:(?:so|thus|hence|therefore|in conclusion|overall|finally|ultimately|indeed|of course"
    r"|actually|correction|probably|likely|definitely|perhaps|maybe|just|only)\b\s?[,:]?\s?){1,2}"
    r"|(?:所以|因此|故|[综綜]上(?:所述)?|[没沒][错錯](?=[,，])|[对對](?=[,，]))\s?[,，:：]?\s?|[∴→⇒=]\s?",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])(?=.)")
_FORMULA_SIGN = re.compile(r"[\d=\\]|^\S+$")
_BULLET = re.compile(r"^(?:[-•>#]{1,6}\s+)+")
# What the subject is: "The total is 6.", "the match is B", "REF corresponds to point B".
_IS = re.compile(
    r"\b(?:is|are|was|be|equals?|has|have|matches|match|gives|costs|totals|measures|corresponds?\sto"
    r"|(?:we|i|you)\s(?:get|find|obtain|count)|yields?)\s(?:about|approximately|exactly|indeed)?"
    r"|[=≈]|等[于於]|共有?|[是为為有]",
    re.IGNORECASE,
)
# Right before an "is" that denies.
_NOT = re.compile(
    rf"(?:\b(?:not|never|cannot)|n['’]t)\s(?:(?:be|have|to|to\sbe|appear|seem|likely|exactly|actually|necessarily)\s)?$|[不没沒非][应應该該能可会會]{{0,3}}$|{DOUBT}",
    re.IGNORECASE,
)
_IN = re.compile(
    r"\b(?:is|are|appears?|shown|visible|found|seen|occurs?|located)\s(?:only\s)?in\s(?=the\s|images?\b|picture|photo)",
    re.IGNORECASE,
)
_WHICH = re.compile(r",\swhich\b", re.IGNORECASE)
_IS_THE_ANSWER = re.compile(
    r"(?:^|[=≈])\s?([^=≈]{1,40}?)\sis\s(?:the|our|my)\s(?:(?:final|correct|right|only)\s)?"
    r"(?:answer|solution|result|value|total)\.?$",
    re.IGNORECASE,
)
_SO_YES = re.compile(r"[,;]\s?(?:so|hence|thus|therefore)\s?,?\s(yes|no)\.?$", re.IGNORECASE)
_CLAIM = re.compile(
    r"(?:[说說]法|[陈陳]述|命[题題]|描述|判[断斷]|表述|[结結][论論])(?:是|[为為])?(.{1,6}?)的?$"
)
_DISPLAY = re.compile(r"(?:\\\[|\$\$)[ \t]*\n\s*([^\n]{1,200})\n[ \t]*(?:\\\]|\$\$)")
_LEFT = re.compile(r"\s(?:left(?:\sover)?|remaining|in\s(?:total|all)|altogether)$", re.IGNORECASE)
_MEASURED = re.compile(r"(\d[\d.,]*)\s?(?![百千万萬亿億成倍])[\u4e00-\u9fff]{1,2}")
_MENTIONED = re.compile(rf"(?:(?i:{NAMED})\(?([A-Z])(?![A-Za-z0-9'-])|\(([A-Z])\))")
_DENIED = re.compile(
    r"\b(?:not|never|neither|nor|cannot|no|[a-z]{2,6}n['’]t|if|whether|let|look|consider|examine|check"
    r"|compare|try|wrong|incorrect)\b"
    rf"|[不没错]|\?|{DOUBT}",
    re.IGNORECASE,
)
# "The dog in image B.", "The second one, B."
_AT_THE_END = re.compile(
    rf"(?i:{NAMED})([A-Z])\.?$|[a-z0-9)]\s?,\s(?:i\.e\.,?\s|namely\s|that\sis,?\s)?([A-Z])\.?$"
)
# Behind a bare letter at the start of a text.
_ENDS = re.compile(r"\s*(?:$|[.,;!\n—–(]|-\s|(?:because|since|as|due|given|based)\b|[，。；])")
# Behind a label: "A: wrong", "C - incorrect".
_WRONG = re.compile(r"\W{0,4}(?:wrong|incorrect|[错錯][误誤]?)\b|\W{0,4}[✗✘❌]", re.IGNORECASE)
_FITS = re.compile(
    r"\b(?:match|fit|complet|satisf|correspond|align|represent|show|best|is\b)|符合|一致|[匹]配",
    re.IGNORECASE,
)
_MOST_WORDS = 4
_MOST_CONCLUSIONS = 4
_MOST_CLOSING_LINES = 4
_CLOSING = re.compile(
    r"\W{0,8}(?:(?:please\s)?note\b|remark\b|disclaimer\b|(?:i\s)?hope\b|let\sme\sknow\b|if\syou\b"
    r"|feel\sfree\b|thank|注[:：意])",
    re.IGNORECASE,
)


def without_closing(text: str) -> str:
    """The text without the notes and courtesies in its last lines ("Hope this helps!"), unless
    there is nothing else."""
    kept = text.rstrip()
    for _ in range(_MOST_CLOSING_LINES):
        before, _, line = kept.rpartition("\n")
        if not before.strip() or not _CLOSING.match(line):
            break
        kept = before.rstrip()
    return kept


def last_line(text: str, kind: AnswerKind) -> Reading | None:
    """The last line, or its last sentence, if it is short and an answer of the kind."""
    if kind == "steps":
        tail = text[text.rfind("(1)") :].strip() if "(1)" in text else ""
        found = len(tail) <= MAX_ANSWER_CHARS and split_steps(tail)
        return Reading(tail, canonical(tail, kind)) if found else None
    if kind in ("number", "math"):
        text = _DISPLAY.sub(r"\1", text)
    lines = text.strip()[-4 * _MOST_SENTENCE_CHARS :].splitlines()
    if not lines:
        return None
    line = clean(_BULLET.sub("", lines[-1].strip()))
    for part in _ends(line, kind):
        part = clean(_LEAD.sub("", part, count=1) if _LEAD.match(part) else part)
        if not 0 < len(part) <= _MOST_LINE_CHARS or not _is_answer(part, kind):
            continue
        if kind == "letter" and _ends_list(lines, part):
            return None
        return read_start(part, kind) if kind == "letter" else Reading(part, canonical(part, kind))
    return None


def first_line(text: str, kind: AnswerKind) -> Reading | None:
    """The answer that the text begins with, before its reasons."""
    text = text.strip()
    line, _, rest = text.partition("\n")
    line = clean(_BULLET.sub("", line.strip()[:_MOST_SENTENCE_CHARS]))
    if kind in ("letter", "boolean"):
        lead = _LEAD.match(line)
        line = line[lead.end() :] if lead else line
        reading = read_start(line, kind)
        if kind == "letter" and reading is not None and not _begins_answer(line, rest, reading):
            return None
        return reading if reading is not None and reading.form is not None else None
    if kind in PROSE and (len(line.split()) > _MOST_WORDS or line.endswith(":") or not rest):
        return None
    short = 0 < len(line) <= _MOST_LINE_CHARS and _is_answer(line, kind)
    return Reading(line, canonical(line, kind)) if short else None


def conclusion(text: str) -> Reading | None:
    """The only option that a concluding sentence at the end names: "Thus option C completes the
    row.", "The match is B." """
    end = text.strip()[-2 * _MOST_SENTENCE_CHARS :]
    sentences = [one for line in end.splitlines() for one in _SENTENCE.split(line) if one.strip()]
    for place, sentence in enumerate(reversed(sentences[-_MOST_CONCLUSIONS:])):
        letters = {found[1] or found[2] for found in _MENTIONED.finditer(sentence)}
        concludes = _LEAD.match(sentence) is not None
        if place == 0:
            ending = _named_last(sentence)
            letters |= {ending} if ending else set()
            concludes = concludes or ending is not None
        elif not _FITS.search(sentence):
            continue
        if concludes and len(letters) == 1 and not _DENIED.search(sentence):
            letter = letters.pop()
            return Reading(letter, letter)
    return None


def _named_last(sentence: str) -> str | None:
    """The option behind the last "is" or "matches" of a sentence."""
    tail = clean(_after_is(sentence)).rstrip(".")
    ending = _AT_THE_END.search(sentence)
    if ending is not None:
        return ending[1] or ending[2]
    option = option_at(tail)
    if option is None or not (option.marked or is_label(tail)):
        return None
    return option.letter


def _ends(line: str, kind: AnswerKind) -> list[str]:
    """What may be the answer at the end of a text: the last line, its last sentence, its last
    words."""
    if kind in ("text", "exact", "list"):
        return [line]
    sentence = _last_sentence(line)
    if kind == "number":
        words = _after_is(sentence)
        return [line, sentence, _measure(words), words, _is_the_answer(sentence)]
    if kind == "math":
        return [_value(sentence), line, sentence]
    if kind == "boolean":
        return [line, sentence, *_found(_SO_YES, sentence), *_found(_CLAIM, sentence.rstrip(".。"))]
    if kind == "position":
        return [line, sentence, _after(_IN, sentence)]
    return [line, sentence]


def _last_sentence(line: str) -> str:
    return _SENTENCE.split(line.strip())[-1].strip()


def _after_is(sentence: str) -> str:
    return _after(_IS, sentence)


def _after(pattern: re.Pattern[str], sentence: str) -> str:
    """What follows the last match; "" without one, or where it is denied."""
    last = None
    for match in pattern.finditer(sentence):
        last = match
    if last is None or _NOT.search(last_clause(sentence[: last.start()])):
        return ""
    return sentence[last.end() :].strip().rstrip(".。")


def _found(pattern: re.Pattern[str], sentence: str) -> list[str]:
    match = pattern.search(sentence)
    return [match[1]] if match else []


def _is_the_answer(sentence: str) -> str:
    """The subject of "42 is the answer", "x = 42 is the solution"."""
    return "".join(_found(_IS_THE_ANSWER, sentence)).strip()


def _value(sentence: str) -> str:
    """The formula that a sentence gives for its subject; "" for an equation, and without one."""
    if subject := _is_the_answer(sentence):
        return subject
    words = _measure(_after_is(_WHICH.split(sentence, maxsplit=1)[0]))
    return words if _FORMULA_SIGN.search(words) and "=" not in sentence else ""


def _measure(words: str) -> str:
    """A value without its reason and the words behind it: "42, which fits", "$42 left", "42人"."""
    words = _LEFT.sub("", clean(REASON.split(words, maxsplit=1)[0]))
    measured = _MEASURED.fullmatch(words)
    return measured[1] if measured else words


def _is_answer(part: str, kind: AnswerKind) -> bool:
    if kind == "math" and not _FORMULA_SIGN.search(part):
        return False
    if kind != "letter":
        return canonical(part, kind) is not None
    # "The answer is B. Wait, no." reads as B, but what is stated was found already.
    option = option_at(part)
    if option is None or option.letter is None or _WRONG.match(part, option.end):
        return False
    return is_label(part) or canonical(part, kind) == option.letter


def _ends_list(lines: list[str], part: str) -> bool:
    """Whether the last line is the last option of a list: the line before has the letter before."""
    last, before = option_at(part), option_at(lines[-2].strip()) if len(lines) > 1 else None
    return last is not None and before is not None and before.marked and last.comes_after(before)


def _begins_answer(line: str, rest: str, reading: Reading) -> bool:
    """Whether the first line's label is an answer's, not the first of a list, a name or an "I"."""
    following = option_at(_BULLET.sub("", rest.lstrip()[:_MOST_SENTENCE_CHARS]))
    if following is not None and following.marked and following.letter != reading.form:
        return False
    option = option_at(line)
    if option is None or _WRONG.match(line, option.end):
        return False
    if option.marked:
        return True
    return reading.form != "I" and _ENDS.match(line, option.end) is not None
