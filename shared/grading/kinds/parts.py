r"""The parts of an answer: alternatives, lines, items of lists, terms of ratios."""

import re

_ALTERNATIVES = re.compile(r"\s*\\?#\s*\\?#\s*")
_THOUSANDS = re.compile(r"\s*-?\d{1,3}(?:,\s?\d{3})+(?:\.\d+)?\s*", re.ASCII)
_GROUPED = re.compile(r"(?<![\d,.])\d{1,3}(?:,\d{3})+(?!,?\d)", re.ASCII)
_OPENING, _CLOSING = "([{", ")]}"
_CIRCLED = {ord("①") + place: f"({place + 1})" for place in range(20)}
_LABEL = r"\(\s?(?:\d{1,2}|[A-Z]|[ivx]{1,4})\s?\)"
_LABELS = re.compile(rf"{_LABEL}(?:[\s,;、]*{_LABEL})+")
_ONE_LABEL = re.compile(_LABEL)
_NUMBERED = re.compile(r"\(\s?(\d{1,2})\s?\)\s*(?=[^\s,;])|(\d{1,2})[.)]\s+(?=\S)")
_TUPLE_THEN_TUPLE = re.compile(r"(\([^()]*,[^()]*\))\s*(?=\([^()]*,)")
_UNFINISHED = re.compile(r"(?:[-+*/=<>(\[{^_:]|\\(?:cdot|times|le|ge|leq|geq|to|cup|cap|pm))$")
_CONTINUES = re.compile(r"[-+*/=<>)\]}^_:]|\\(?:cdot|times|le|ge|leq|geq|to|cup|cap|pm)(?![a-z])")
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_SPACED_NUMBERS = re.compile(rf"{_NUMBER}(?:\s+{_NUMBER})+", re.ASCII)
_RATIO_WORD = re.compile(r"\s*(?:\\(?:colon|mathbin\s?\{\s?:\s?\})|:)\s*")
_MOST_TERMS = 12


def alternatives(gold: str) -> list[str]:
    r"""The answers that are all right, which some data sets join by ``\#\#``."""
    return [part for part in _ALTERNATIVES.split(gold) if part.strip(" $")] or [gold]


def one_line(text: str) -> str:
    """Lines as the items of a list; a line that goes on in the next one is joined to it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    joined = lines[:1]
    for line in lines[1:]:
        last = joined[-1]
        open_bracket = any(last.count(left) > last.count(right) for left, right in ("()", "{}"))
        if open_bracket or _UNFINISHED.search(last) or _CONTINUES.match(line):
            joined[-1] = f"{last} {line}"
        else:
            joined[-1] = last.rstrip(" ,;.")
            joined.append(line)
    return ", ".join(joined)


def items(text: str) -> list[str]:
    """The items of a bare list, split at commas outside brackets; other text is one item.

    ``(1)(2)(4)``, ``①②④``, ``(1,2)(3,4)`` and numbers between spaces are lists too. The numbers of
    numbered items (``(1) 3, (2) 4``) are removed.
    """
    text = text.translate(_CIRCLED).strip()
    if _LABELS.fullmatch(text):
        return [label[1:-1].strip() for label in _ONE_LABEL.findall(text)]
    if _THOUSANDS.fullmatch(text):
        return [text]
    if _SPACED_NUMBERS.fullmatch(text):
        return text.split()
    return _without_numbers(_split(_TUPLE_THEN_TUPLE.sub(r"\1, ", _ungrouped(text))))


def ratio_terms(text: str) -> list[str]:
    """The terms of ``1:2:3``; empty when the text is no ratio."""
    before, _, value = text.rpartition("=")
    if before and not re.fullmatch(r"[\w\s:\\{}^∠△()]+", before):
        return []
    value = value.strip()
    if value.startswith("(") and value.endswith(")") and _balanced(value[1:-1]):
        value = value[1:-1]
    terms = _RATIO_WORD.split(value.strip())
    plain = all(
        term and _balanced(term) and not re.search(r"[,;<>|]|[A-Za-z]{4,}", _bare(term))
        for term in terms
    )
    return terms if 2 <= len(terms) <= _MOST_TERMS and plain else []


def ratio_name(text: str) -> str:
    """What is in proportion: ``AB:BC`` of ``AB:BC=1:2``."""
    before, _, _ = text.rpartition("=")
    return re.sub(r"\s", "", before)


def _bare(term: str) -> str:
    """The term without the names of LaTeX's commands."""
    return re.sub(r"\\[a-zA-Z]+", "", term)


def _balanced(term: str) -> bool:
    """Whether brackets open and close in the term itself: not so in "1) : (2"."""
    depth = 0
    for character in term:
        depth += (character in _OPENING) - (character in _CLOSING)
        if depth < 0:
            return False
    return depth == 0


def _ungrouped(text: str) -> str:
    """ "1,000, 2,000" as "1000, 2000": commas with a space separate, those without group."""
    grouped = _GROUPED.sub(lambda match: match[0].replace(",", ""), text)
    separated = ", " in grouped and not re.search(r",(?! )|[(\[{]", grouped)
    return grouped if separated else text


def _split(text: str) -> list[str]:
    found, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
        elif character in ",;、" and depth == 0:
            found.append(text[start:place].rstrip("\\").strip())
            start = place + 1
    return [*found, text[start:].strip()]


def _without_numbers(found: list[str]) -> list[str]:
    marks = [_NUMBERED.match(item) for item in found]
    numbers = [int(mark[1] or mark[2]) for mark in marks if mark]
    if len(found) < 2 or numbers != list(range(1, len(found) + 1)):
        return found
    return [item[mark.end() :] for item, mark in zip(found, marks, strict=True) if mark]
