"""A training or evaluation question over several images, and the JSON-lines file that holds them.

Every data format is turned into `Sample` when it is read; no other code knows the formats.
"""

import difflib
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import UserError
from shared.files import is_file
from shared.jsonlines import no_object, read_json_lines
from shared.problems import first_place
from shared.row_shapes import in_words, shape_of
from shared.words import amount

IMAGE_TAG = "<image>"

_OTHER_TAG = re.compile(
    r"""<\|?\s?(?:image|img|picture|pic|photo)s?[\s_-]?(?:\d{1,3}|pad|here|placeholder|token)?\s?\|?/?>
    |<img\s[^>]*>
    |<\|(?:vision_start|vision_end|image_start|image_end|vision_pad)\|>
    |[\[{]{1,2}\s?(?:image|img|picture)[\s_-]?\d{0,3}\s?[\]}]{1,2}
    |!\[[^\]\n]{0,80}\]\([^)\n]{0,200}\)""",
    re.IGNORECASE | re.VERBOSE,
)

LONGEST_QUOTED = 255
"""Longer text in the place of an image is not repeated in messages."""

AnswerKind = Literal[
    "letter", "position", "order", "number", "math", "boolean", "text", "exact", "list", "steps"
]
"""How the gold answer is compared with a response (see ``shared/grading/grade.py``).

``letter``: one option letter. ``position``: the place of an image ("first", "2"). ``order``: a
sequence of letters or places ("B, C, A", "2-3-1"). ``number``: a number, with or without a unit.
``math``: an equivalent expression. ``boolean``: true or false, yes or no. ``text``: short text;
case, spacing and punctuation do not matter. ``exact``: every character matters. ``list``: items in
any order. ``steps``: several numbered answers, all of which must be right.
"""

OrderRule = Literal["invariant", "letter", "position", "order"]
"""What happens to the gold answer when the images move.

``invariant``: it stays (the paper's S=1). ``letter``: it is the letter of the option that shows
the right image; the options are the images that are not fixed, lettered in their order.
``position``: it is the place ("first", "2") of the right image among all images. ``order``: it
lists letters or places in the order to recover (the last three are the paper's S=0).
"""


# Kinds of answers that cannot be what an order rule moves.
_NEVER_MOVED: dict[OrderRule, tuple[AnswerKind, ...]] = {
    "letter": ("number", "boolean", "steps"),
    "position": ("letter", "boolean", "steps"),
    "order": ("letter", "number", "boolean", "steps"),
}


class Sample(BaseModel):
    """One question, its images in their original order, and its gold answer.

    ``question`` holds one `IMAGE_TAG` for each image, in order. ``order`` is absent when it is
    unknown how the answer changes when the images move; the sample is never permuted then.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str
    images: tuple[str, ...] = ()
    answer: str
    kind: AnswerKind
    tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Largest relative error of a right answer of kind ``number``; None: it must be exact."""
    order: OrderRule | None = None
    fixed: tuple[int, ...] = ()
    """Indices of images that keep their place under every order (a reference image)."""
    source: str = ""
    """The question kind or data set, for metrics by source."""
    pass_rate: float | None = Field(default=None, ge=0, le=1)
    """Share of right answers among a model's rollouts, when it was measured."""

    @model_validator(mode="after")
    def _consistent(self) -> "Sample":
        tags = self.question.count(IMAGE_TAG)
        if tags != len(self.images):
            raise ValueError(
                f"the question has {amount(tags, f'{IMAGE_TAG} tag')} but the sample has "
                f"{amount(len(self.images), 'image')}{other_tag(self.question)}"
            )
        if any(not 0 <= index < len(self.images) for index in self.fixed):
            raise ValueError(
                f"fixed is {list(self.fixed)}, but the {len(self.images)} images are counted from 0"
            )
        if self.order is not None and self.kind in _NEVER_MOVED.get(self.order, ()):
            raise ValueError(f"order '{self.order}' does not go with kind '{self.kind}'")
        return self


def other_tag(text: str) -> str:
    """What to do about a tag of another program that stands for an image; empty without one."""
    tags = [match[0] for match in _OTHER_TAG.finditer(text) if match[0] != IMAGE_TAG]
    return f"; it has '{tags[0][:60]}': write {IMAGE_TAG} in its place" if tags else ""


def load_samples(path: Path) -> list[Sample]:
    """Read a JSON-lines file of samples; relative image paths are resolved against its folder.

    Raises:
        UserError: naming file, line and field of the first bad row, or the missing image file.
    """
    return [_with_files(sample, path, number) for number, sample in _rows(path)]


def read_samples(path: Path) -> list[Sample]:
    """As `load_samples`, but image paths stay as written and need not exist."""
    return [sample for _, sample in _rows(path)]


def _rows(path: Path) -> list[tuple[int, Sample]]:
    """Line number and sample of each row."""
    rows = [(number, _sample(row, path, number)) for number, row in read_json_lines(path)]
    if not rows:
        raise UserError(f"{path}: holds no samples; write one JSON object per line")
    _refuse_repeated_ids(rows, path)
    return rows


def refused_sample(error: ValidationError, values: dict[str, Any]) -> tuple[str, str]:
    """The field that makes a row no sample (empty: the row as a whole), and what is wrong with it.

    With the field that was probably meant by an unknown one.
    """
    field, words = first_place(error, Sample)
    near = difflib.get_close_matches(field, Sample.model_fields, n=1)
    if near and field not in Sample.model_fields:
        words += f"; did you mean '{near[0]}'?"
    if isinstance(values.get(field), list) and field not in ("images", "fixed"):
        words += ", not a list; keep one of them, or join them into one text"
    return field, words


def _converted(row: dict[str, Any]) -> str:
    """What to do with a row of another format."""
    shape = shape_of(row)
    if shape is None or shape[0] == "samples":
        return ""
    return (
        f"; this looks like format {in_words(shape)}: turn it into samples with perl-rl data "
        f"convert --format {shape[0]}"
    )


def _sample(row: Any, path: Path, number: int) -> Sample:
    if not isinstance(row, dict):
        raise UserError(f"{path}, line {number}: {no_object(row)}")
    try:
        sample = Sample.model_validate(row)
    except ValidationError as error:
        field, words = refused_sample(error, row)
        where = f"{path}, line {number}" + (f", field '{field}'" if field else "")
        raise UserError(f"{where}: {words}{_converted(row)}") from None
    if not sample.id.strip():
        raise UserError(f"{path}, line {number}, field 'id': is empty")
    return sample


def _with_files(sample: Sample, path: Path, number: int) -> Sample:
    files = tuple(path.parent / image for image in sample.images)
    for file, image in zip(files, sample.images, strict=True):
        if not is_file(file):
            # Longer text is no path, but a picture in base64 or the like.
            short = len(image) <= LONGEST_QUOTED
            where = "" if Path(image).is_absolute() else f" in {path.parent}"
            named = f"no image file '{image}'{where}" if short else "must be paths of files"
            raise UserError(f"{path}, line {number}, field 'images': {named}")
    return sample.model_copy(update={"images": tuple(map(str, files))})


def _refuse_repeated_ids(rows: list[tuple[int, Sample]], path: Path) -> None:
    lines: dict[str, int] = {}
    for number, sample in rows:
        if sample.id in lines:
            raise UserError(
                f"{path}, line {number}, field 'id': '{sample.id}' is also the id of line "
                f"{lines[sample.id]}; make ids unique"
            )
        lines[sample.id] = number
