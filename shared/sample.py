"""A training or evaluation question over several images, and the JSON-lines file that holds them.

Every data format is turned into `Sample` once, at the edge; nothing behind it knows the format.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from shared.errors import UserError

IMAGE_TAG = "<image>"

AnswerKind = Literal["letter", "position", "number", "math", "text"]
"""How the gold answer is compared with a response (see ``services/reward/grading.py``)."""

OrderRule = Literal["invariant", "letter", "position"]
"""What happens to the gold answer when the images move.

``invariant``: it stays (the paper's S=1). ``letter``: it is the letter of the slot that shows the
right image. ``position``: it is the place ("first", "2") of the right image (both S=0).
"""


class Sample(BaseModel):
    """One question, its images in their original order, and its gold answer.

    ``question`` holds one `IMAGE_TAG` for each image, in order. ``order`` is absent when nobody has
    judged what moving the images does to the answer: such a sample is never permuted.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    question: str
    images: tuple[str, ...] = ()
    answer: str
    kind: AnswerKind
    order: OrderRule | None = None
    fixed: tuple[int, ...] = ()
    """Indices of images that keep their place under every order (a reference image)."""
    source: str = ""
    """The question kind or data set, for metrics by source."""

    @model_validator(mode="after")
    def _consistent(self) -> "Sample":
        tags = self.question.count(IMAGE_TAG)
        if tags != len(self.images):
            raise ValueError(
                f"question has {tags} {IMAGE_TAG} tags but the sample has {len(self.images)} images"
            )
        if any(not 0 <= index < len(self.images) for index in self.fixed):
            raise ValueError(f"fixed names image {max(self.fixed)} of {len(self.images)}")
        return self


def load_samples(path: Path) -> list[Sample]:
    """Read a JSON-lines file of samples; relative image paths are resolved against its folder.

    Raises:
        UserError: naming file, line and field of the first row that does not fit, or the image
            file that does not exist.
    """
    samples = list(_read_rows(path))
    if not samples:
        raise UserError(f"{path}: holds no samples; write one JSON object per line")
    repeated = _first_repeated([sample.id for sample in samples])
    if repeated is not None:
        raise UserError(f"{path}: the id '{repeated}' stands in two rows; make ids unique")
    return samples


def _read_rows(path: Path) -> Iterator[Sample]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(
            f"{path}: cannot read the data file ({error.strerror}); check data.path"
        ) from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text at byte {error.start}") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _parse_row(line, path, number)


def _parse_row(line: str, path: Path, number: int) -> Sample:
    try:
        row = json.loads(line)
        sample = Sample.model_validate(row)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {number}: not JSON ({error.msg})") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "row"
        raise UserError(f"{path}, line {number}, field '{field}': {first['msg']}") from None
    files = tuple(str(path.parent / image) for image in sample.images)
    for file in files:
        if not Path(file).is_file():
            raise UserError(f"{path}, line {number}, field 'images': no file {file}")
    return sample.model_copy(update={"images": files})


def _first_repeated(ids: list[str]) -> str | None:
    seen: set[str] = set()
    for one in ids:
        if one in seen:
            return one
        seen.add(one)
    return None
