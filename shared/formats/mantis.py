"""Mantis-Instruct: ``id, images, source`` and a conversation, in both published forms.

Parquet has ``conversation=[{role, content}]``, the raw JSON ``conversations=[{from, value}]``.
"""

import re
from collections.abc import Iterator

from shared.config.source import SourceConfig
from shared.formats.building import Columns, Reading, build
from shared.formats.rows import Row
from shared.formats.turns import Turn, turns_of
from shared.sample import Sample

_TAG = re.compile(r"<\|?\s?(?:image|img)[\s_-]?\d{0,3}\s?\|?>", re.IGNORECASE)
_SIDE = r"(?:left|right|first|second)(?:[ -]hand)?(?:[ -]most)?"
_NAMED_IMAGE = re.compile(rf"\b{_SIDE}\s(?:image|picture|photo)s?\b", re.IGNORECASE)
_OTHER_PLACE = re.compile(
    r"\b(?:left|right|first|second|former|latter|leftmost|rightmost)\b", re.IGNORECASE
)


def read(row: Row, reading: Reading) -> Iterator[Sample]:
    """The row's samples: one for each question when all images belong to the first question.

    Each later question is then a sample of its own with the same images. When later turns bring
    images, only the first question is used.
    """
    source = subset_of(row, reading.source)
    if reading.source.subsets and source not in reading.source.subsets:
        return
    column = "conversation" if row.values.get("conversation") is not None else "conversations"
    turns = [turn for turn in turns_of(row, column) if turn.role != "system"]
    images = reading.images(row, "images")
    pairs = _pairs(turns, row, column)
    shown_later = any(_TAG.search(question) for question, _ in pairs[1:])
    if shown_later:
        first = len(_TAG.findall(pairs[0][0]))
        pairs, images = pairs[:1], images[:first]
    for question, answer in pairs:
        columns = Columns(column, column)
        sample = build(row, question, images, answer, columns, source, fallback="text")
        yield _with_order(sample)


def subset_of(row: Row, source: SourceConfig) -> str:
    """The subset of a row; of raw JSON only the folder's name gives it: ``nlvr2/train.json``."""
    if row.values.get("source") is not None:
        return row.text("source")
    return source.name or row.file.parent.name


def _pairs(turns: list[Turn], row: Row, column: str) -> list[tuple[str, str]]:
    """Question and answer of each pair of turns."""
    roles = [turn.role for turn in turns]
    if not turns or roles != ["user", "assistant"] * (len(turns) // 2):
        shown = ", ".join(roles[:6]) or "none"
        raise row.bad(
            column,
            "turns do not alternate",
            f"turns must alternate between user and assistant; the roles are: {shown}",
        )
    return [
        (question.text, answer.text)
        for question, answer in zip(turns[::2], turns[1::2], strict=True)
    ]


def _with_order(sample: Sample) -> Sample:
    """The sample with its order rule, for the subsets whose images have a known role."""
    if sample.source == "nlvr2":
        return _statement_about_two(sample)
    if sample.source == "dreamsim":
        return _reference_and_two_options(sample)
    return sample


def _statement_about_two(sample: Sample) -> Sample:
    """NLVR2: a statement about a pair of images stays true or false when they swap places.

    It may name them as "the left image", which the permutation engine rewrites. A statement with
    any other "left" or "second" gets no rule.
    """
    rest = _NAMED_IMAGE.sub("", sample.question)
    if len(sample.images) != 2 or _OTHER_PLACE.search(rest):
        return sample
    return sample.model_copy(update={"order": "invariant"})


def _reference_and_two_options(sample: Sample) -> Sample:
    """DreamSim: the reference comes first, then the options A and B."""
    is_letter = sample.kind == "letter" or re.fullmatch(r"[AB]", sample.answer)
    if len(sample.images) != 3 or not is_letter or sample.answer not in ("A", "B"):
        return sample
    return sample.model_copy(update={"kind": "letter", "order": "letter", "fixed": (0,)})
