"""Reads answers that name images without a noun: "(b)", "two", "lower", "(1) 3; (2) 4".

A list with one element for each image is one too: its order is that of the images.
"""

import re

from shared.permutation.lone import (
    PLACE_OF_ONE,
    are_slots,
    names_a_place,
    numbers_parts,
    quantity_asked,
    values_in,
)
from shared.permutation.options import ASKED
from shared.permutation.slots import Slots
from shared.sample import AnswerKind

_WORDY = ("text", "exact", "list")
_SMALL = re.compile(r"[ \t]*(?:[(（\[](?P<a>[a-h])[)）\]]|(?P<b>[a-h]))[ \t]*\.?[ \t]*")
_IN_BRACKETS = re.compile(
    r"[(（\[][ \t]*(?:on[ \t]+the[ \t]+)?(?:left|right|top|bottom|upper|lower|middle|first|second"
    r"|third|fourth|last|former|latter|before|after|[左右上下甲乙丙丁])[ \t]*[)）\]]",
    re.I,
)
_N = r"(?:[#(（]|no\.?[ \t]*)?(?P<{}>\d{{1,2}}|[①-⑩]|(?-i:[A-H])|first|second|third|fourth)[)）]?"
_FROM_TO = re.compile(
    rf"(?:\bfrom[ \t]+(?:the[ \t]+)?{_N.format('a')}[ \t]+(?:in)?to[ \t]+"
    rf"(?:the[ \t]+)?{_N.format('b')}"
    rf"|从第?{_N.format('c')}[张个]?[到变至]第?{_N.format('d')})(?![\w%°]|[.,]\d)",
    re.I,
)
_REACH = re.compile(
    r"[ \t]*\d{1,2}[ \t]*(?:to|->|→|=>|then|-|–|—|到|至)[ \t]*\d{1,2}[ \t]*\.?[ \t]*", re.I
)
# "A cat (1) and a dog (2)"
_BEHIND = re.compile(
    r"(?:(?<=[^\W\d_])[ \t]+|(?<=[\u4e00-\u9fff]))[(（\[](?P<token>\d{1,2}|[a-h])[)）\]]"
    r"(?=[ \t]*(?:$|[,.;，。；、]|and\b|or\b|[和与]))"
)
# "(1) 3; (2) 4", "1: a cat, 2: a dog"
_ITEM = re.compile(
    r"(?:^|[;；,，\n。.])[ \t]*(?:and[ \t]+)?"
    r"(?:[(（\[](?P<a>\d{1,2}|[a-h])[)）\]]|(?P<b>\d{1,2}|[A-Ha-h])[ \t]*[:：])[ \t]*(?=\S)"
)
_EACH = re.compile(
    r"\b(?:each|every|respective(?:ly)?|per[ \t]+image)\b|各|分别|每[张張幅个個]", re.I
)
_BETWEEN_ELEMENTS = re.compile(r"[ \t]*(?:[,;，；、/\n]|\band\b|[和与])[ \t]*(?:and\b)?", re.I)


def stands_for_an_image(
    answer: str, kind: AnswerKind, options: bool, slots: Slots, named: int
) -> bool:
    """Whether `answer` may name an image without a noun.

    Args:
        options: whether the question has text options, whose letters are no images.
        named: how many names of images the question has.
    """
    question = slots.text
    if kind in _WORDY and (PLACE_OF_ONE.search(answer) or _IN_BRACKETS.search(answer)):
        return True
    if names_a_place(answer, question):
        return True
    asked = ASKED.search(question) is not None
    if asked and not options and (small := _SMALL.fullmatch(answer)):
        return ord(small["a"] or small["b"]) - ord("a") < slots.names.count
    values = [] if options and answer.isupper() else values_in(answer)
    which = asked or (len(values) > 1 and _asks_which(question))
    if which and are_slots(values, slots.names) and not numbers_parts(question, answer):
        return True
    return _goes_from_one_to_another(answer, kind, slots) or _lists_images(
        answer, kind, slots, named
    )


def _asks_which(question: str) -> bool:
    return re.search(r"\b(?:which|who)\b|哪", question, re.I) is not None and not quantity_asked(
        question
    )


def _goes_from_one_to_another(answer: str, kind: AnswerKind, slots: Slots) -> bool:
    """Whether the answer is "from 1 to 2"."""
    if kind not in (*_WORDY, "position"):
        return False
    if match := _FROM_TO.search(answer):
        numbers = [int(one) for one in match.groups() if one and one.isdecimal()]
        return not numbers or are_slots(numbers, slots.names)
    numbers = [int(one) for one in re.findall(r"\d+", answer)]
    reach = _REACH.fullmatch(answer) is not None and _asks_which(slots.text)
    return reach and are_slots(numbers, slots.names)


def _lists_images(answer: str, kind: AnswerKind, slots: Slots, named: int) -> bool:
    """Whether numbers behind or before the parts of the answer, or their order, mean images."""
    behind = [one["token"] for one in _BEHIND.finditer(answer)]
    if kind in _WORDY and behind and not _in_question(behind, slots):
        return True
    each = named < 2 and _EACH.search(slots.text) is not None
    items = [one["a"] or one["b"] for one in _ITEM.finditer(answer)]
    if kind in (*_WORDY, "steps") and len(items) == slots.names.count:
        return each or (kind != "steps" and not _in_question(items, slots))
    elements = _BETWEEN_ELEMENTS.split(answer)
    return each and kind in ("text", "exact", "order") and len(elements) == slots.names.count


def _in_question(signs: list[str], slots: Slots) -> bool:
    """Whether the question has the signs for its parts or points, or no image has them."""
    values = [int(one) if one.isdecimal() else ord(one.lower()) - 96 for one in signs]
    if not all(1 <= value <= slots.names.count for value in values):
        return True
    return all(
        re.search(rf"[(（\[]{one}[)）\]]|\b{one}[.:：、]", slots.text)
        or (one.isupper() and re.search(rf"\b{one}\b", slots.text))
        for one in signs
    )
