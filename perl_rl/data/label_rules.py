"""Labels by rules, without a language model: what moving the images does to the answer."""

import re
import string
from typing import NamedTuple

from shared.grading.grade import canonical
from shared.sample import IMAGE_TAG, OrderRule, Sample

_LETTER = r"(?<!\w)\(?([A-Z])[).:]?\)?\s*"
_OPTION = re.compile(_LETTER + re.escape(IMAGE_TAG))
# An option in words. Beside one, a letter before an image may be a name and not an option.
_TEXT_OPTION = re.compile(
    rf"^\s*(?:\([A-Z]\)|[A-Z][).:])\s*(?!\s*{re.escape(IMAGE_TAG)})\S", re.MULTILINE
)


class Label(NamedTuple):
    """An order rule, with the images that keep their place under it."""

    order: OrderRule
    fixed: tuple[int, ...] = ()


def label_by_rules(sample: Sample) -> Label | None:
    """The label of a sample whose kind and text leave no doubt; None for other samples."""
    if sample.kind == "position":
        return Label("position", sample.fixed)
    if sample.kind == "order":
        return Label("order", sample.fixed)
    if sample.kind == "letter":
        options = option_images(sample)
        return None if options is None else _letter(sample, options)
    return None


def option_images(sample: Sample) -> tuple[int, ...] | None:
    """Indices of the images that are lettered options ("A. <image>"); None without any.

    There must be two at least, lettered from A on in their order, and no options in words.
    """
    if _TEXT_OPTION.search(sample.question):
        return None
    tags = [match.start() for match in re.finditer(re.escape(IMAGE_TAG), sample.question)]
    found = [
        (match.group(1), tags.index(match.end() - len(IMAGE_TAG)))
        for match in _OPTION.finditer(sample.question)
    ]
    letters = "".join(letter for letter, _ in found)
    if len(found) < 2 or letters != string.ascii_uppercase[: len(found)]:
        return None
    return tuple(index for _, index in found)


def _letter(sample: Sample, options: tuple[int, ...]) -> Label | None:
    """A label whose letters name the options; the other images are fixed."""
    answer = canonical(sample.answer, "letter")
    if answer is None or answer not in string.ascii_uppercase[: len(options)]:
        return None
    fixed = tuple(index for index in range(len(sample.images)) if index not in options)
    return Label("letter", fixed)
