r"""Reads the texts of all formats: image tags, ``\boxed{}``, kinds of answers, options."""

import re
import string
from typing import Literal

from shared.boxed import last_box
from shared.formats.rows import Row
from shared.sample import IMAGE_TAG, AnswerKind, other_tag
from shared.words import amount

Fallback = Literal["math", "text"]

_NUMBERED_TAG = re.compile(r"<\|?\s?(?:image|img)[\s_-]?(\d{1,3})\s?\|?>", re.IGNORECASE)
_PLAIN_TAG = re.compile(r"<\|?(?:image|img)\|?>", re.IGNORECASE)
_OTHER_MEDIA = re.compile(r"<(?:video|audio)>")
_ANSWER_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_AFTER_HASHES = re.compile(r"(?<!#)####(?!#)([^\n]*)\Z")
_WORDS = re.compile(r"\\(?:text|mathrm|mathbf)(?:bf|rm|it|sf|tt)?\s*\{([^{}]*)\}")
_DOLLARS = re.compile(r"\$+([^$]+)\$+")
_BACKSLASHES = re.compile(r"\\+(?=boxed)")
_LETTER = re.compile(r"[(\[]?([A-Z])(?:[)\].:]{1,2}(?:\s.*)?)?", re.DOTALL)
_LONE_LETTER = re.compile(r"[(\[]?([A-Z])[)\].:]{0,2}")
_BOOLEAN = re.compile(r"(?:true|false|yes|no)\.?", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\.\d+", re.ASCII)
# Full-width signs as half-width ones.
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_LABEL = re.compile(r"(?:^|(?<=[\s,;(\[]))([A-Z])\s?[).:\]]")
_OPTION_IMAGE = re.compile(
    r"(?:^|(?<=[\s,;(\[]))([A-Z])\s?[).:\]]{1,2}\s{0,3}" + re.escape(IMAGE_TAG)
)


def with_tags(
    question: str, images: tuple[str, ...], row: Row, column: str
) -> tuple[str, tuple[str, ...]]:
    """The question with one `IMAGE_TAG` for each image, and the images in the order of the tags.

    Numbered tags (``<image1>``, ``<image_2>``) become plain ones. In a text without any tag the
    images come first.

    Raises:
        BadRow: when tags and images do not match one to one.
    """
    if media := _OTHER_MEDIA.search(question):
        problem = f"has a {media[0]} tag; only images are supported"
        raise row.bad(column, f"has a {media[0]} tag", problem)
    numbers = [int(number) for number in _NUMBERED_TAG.findall(question)]
    question = _PLAIN_TAG.sub(IMAGE_TAG, question)
    if numbers:
        if IMAGE_TAG in question or sorted(numbers) != list(range(1, len(images) + 1)):
            shown = ", ".join(str(number) for number in numbers[:12])
            raise row.bad(
                column,
                "tags and images do not match",
                f"has image tags numbered {shown} for {amount(len(images), 'image')}; each needs "
                f"one tag{other_tag(_NUMBERED_TAG.sub('', question))}",
            )
        return _NUMBERED_TAG.sub(IMAGE_TAG, question), tuple(images[n - 1] for n in numbers)
    tags = question.count(IMAGE_TAG)
    if tags == 0 and images:
        if other := other_tag(question):
            problem = f"has no image tag{other}"
            raise row.bad(column, "has tags of another program", problem)
        return IMAGE_TAG * len(images) + "\n" + question, images
    if tags != len(images):
        raise row.bad(
            column,
            "tags and images do not match",
            f"has {amount(tags, 'image tag')} for {amount(len(images), 'image')}; each needs one "
            f"tag{other_tag(question)}",
        )
    return question, images


def unboxed(answer: str) -> str:
    r"""The content of the last balanced ``\boxed{...}``; the whole answer without one."""
    # Some data was escaped twice and has two backslashes.
    text = _BACKSLASHES.sub(r"\\", answer)
    box = last_box(text)
    return answer.strip() if box is None else text[slice(*box)].strip()


def unwrapped(answer: str) -> str:
    r"""A gold answer without what data sets put around it.

    That is the last ``<answer>`` tag, the last ``\boxed{}``, the reasoning before a last line with
    ``####``, dollars around a formula, and a ``\text{}`` that holds all the rest.
    """
    tags = _ANSWER_TAG.findall(answer)
    answer = (tags[-1] if tags else answer).strip()
    text = unboxed(answer)
    if text == answer and (final := _AFTER_HASHES.search(answer)):
        text = final[1].strip()
    for around in (_DOLLARS, _WORDS):
        if whole := around.fullmatch(text):
            text = whole[1].strip()
    return text


def lone_letter(answer: str) -> str | None:
    """The capital letter that is the whole of an answer, as ``gold`` gives it: "E", "(E)", "E."."""
    match = _LONE_LETTER.fullmatch(_WORDS.sub(r"\1", answer).strip().translate(_NARROW))
    return match[1] if match else None


def gold(answer: str, question: str, fallback: Fallback) -> tuple[str, AnswerKind]:
    """The gold answer as `unwrapped` gives it, and its kind, guessed from its form.

    A capital letter is a ``letter`` when the question labels that option; true, false, yes and no
    are ``boolean``; digits with sign, separators and point are a ``number``, full-width ones too;
    all else is `fallback`.
    """
    answer = unwrapped(answer)
    plain = _WORDS.sub(r"\1", answer).strip().translate(_NARROW)
    letter = _LETTER.fullmatch(plain)
    if letter and {"A", "B", letter[1]} <= set(_LABEL.findall(question)):
        return letter[1], "letter"
    if _BOOLEAN.fullmatch(plain):
        return plain.rstrip("."), "boolean"
    if _NUMBER.fullmatch(plain):
        return plain, "number"
    return answer, fallback


def options_without(letter: str, question: str) -> str | None:
    """The labels A, B, ... of a question's options when a capital letter is none of them.

    None when it is one of them, or when nobody can tell: there are no two options, their labels
    are not those from A on, or the letter stands alone somewhere in the question.
    """
    labels = "".join(sorted(set(_LABEL.findall(question))))
    alone = re.search(rf"(?<![A-Za-z]){letter}(?![A-Za-z])", question)
    if len(labels) < 2 or labels != string.ascii_uppercase[: len(labels)] or alone:
        return None
    return labels


def option_images(question: str) -> tuple[int, ...] | None:
    """Indices of the images directly after the option labels A, B, ...

    None when the options are not images, or only some of them are.
    """
    labels = _OPTION_IMAGE.findall(question)
    if len(labels) < 2 or labels != list(string.ascii_uppercase[: len(labels)]):
        return None
    if sorted(set(_LABEL.findall(question))) != labels:
        return None
    # The tags before an option's own tag belong to the images before it.
    return tuple(
        question.count(IMAGE_TAG, 0, match.end()) - 1 for match in _OPTION_IMAGE.finditer(question)
    )
