"""Builds the `Sample` of a row: image tags, answer, and the order rule where it is known."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from pydantic import ValidationError

from shared.config.source import SourceConfig
from shared.formats.labels import NOTHING, Said
from shared.formats.pictures import ImageFolder
from shared.formats.rows import Row
from shared.formats.text import (
    Fallback,
    gold,
    lone_letter,
    option_images,
    options_without,
    unwrapped,
    with_tags,
)
from shared.problems import given_word, in_words
from shared.sample import AnswerKind, OrderRule, Sample

_NO_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)


class Columns(NamedTuple):
    """The names of the columns that a question and its answer were taken from."""

    question: str
    answer: str


@dataclass(frozen=True)
class Reading:
    """What a format needs besides the row: the source's settings and the folder of images."""

    source: SourceConfig
    pictures: ImageFolder

    def images(
        self, row: Row, column: str | None, hint: str = "null means no picture"
    ) -> tuple[str, ...]:
        """The image files of `column`; none when it is null or empty, or `column` is None.

        Args:
            hint: what to do when the row does not have the column.

        Raises:
            BadRow: when there is no such column, or an image does not exist or cannot be decoded.
        """
        if column is None:
            return ()
        if column not in row.values:
            raise row.missing(column, hint)
        base = self.source.image_dir or row.file.parent
        return self.pictures.files(row.values[column], row, column, base)


def build_flat(
    row: Row, columns: Columns, images: tuple[str, ...], source: str, said: Said = NOTHING
) -> Sample:
    """The sample of a row whose question and answer each have their own column.

    Raises:
        BadRow: when a column is missing or has the wrong content.
    """
    return build(
        row,
        row.text(columns.question),
        images,
        row.text(columns.answer),
        columns,
        source,
        said=said,
    )


def part_of(data_set: str, row: Row, column: str) -> str:
    """The source of a row: the data set, followed by its part if `column` names one."""
    part = row.values.get(column)
    return f"{data_set}/{part}" if isinstance(part, str) and part else data_set


def build(
    row: Row,
    question: str,
    images: tuple[str, ...],
    answer: str,
    columns: Columns,
    source: str,
    fallback: Fallback = "math",
    said: Said = NOTHING,
) -> Sample:
    """The sample of one question, with an empty id that `stream` fills in.

    What the row says of its kind and order counts. Where it says nothing: when the options A, B
    and so on are all images, the answer moves with them (order rule ``letter``) and the other
    images are fixed. Any other question gets no order rule: how its answer depends on the order is
    unknown.

    Raises:
        BadRow: when tags and images do not match, or the answer is an option that does not exist.
    """
    question, images = with_tags(question, images, row, columns.question)
    text, kind = gold(answer, question, fallback)
    if said.kind is not None and said.kind != kind:
        # A letter is taken out of "B. a cat"; another kind may mean the whole.
        text, kind = unwrapped(answer), said.kind
    if not text:
        raise row.bad(
            columns.answer, "is empty", "has an empty box or answer tag, or nothing behind ####"
        )
    if kind == "math" and _NO_NUMBER.fullmatch(text):
        raise row.bad(columns.answer, "is not a number", f"is not a number ({text})")
    if kind == fallback and said.kind is None:
        _refuse_unlisted(text, question, row, columns.answer)
    order, fixed = _order(question, text, kind, len(images), row, columns.answer)
    if said.order is not None:
        order = None if said.order == "none" else said.order
    try:
        return Sample(
            id="",
            question=question,
            images=images,
            answer=text,
            kind=kind,
            order=order,
            fixed=fixed if said.fixed is None else said.fixed,
            source=source,
        )
    except ValidationError as error:
        first = error.errors()[0]
        words = in_words(first) + given_word(first)
        raise row.bad(said.column, "does not fit", words) from None


def _refuse_unlisted(answer: str, question: str, row: Row, column: str) -> None:
    """Refuse a letter that is none of the question's options: no response would ever be right."""
    letter = lone_letter(answer)
    options = options_without(letter, question) if letter else None
    if options:
        raise row.bad(
            column,
            "names no option",
            f"'{letter}' is not one of the {len(options)} options (A to {options[-1]})",
        )


def _order(
    question: str, answer: str, kind: AnswerKind, images: int, row: Row, column: str
) -> tuple[OrderRule | None, tuple[int, ...]]:
    options = option_images(question) if kind == "letter" else None
    if options is None:
        return None, ()
    if ord(answer) - ord("A") >= len(options):
        raise row.bad(
            column, "names no option", f"'{answer}' is not one of the {len(options)} options"
        )
    return "letter", tuple(index for index in range(images) if index not in options)
