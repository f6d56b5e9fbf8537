"""One set of questions on disk: where it lies, in which format, and its share of a mixture."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from shared.config.section import Positive, Section

FormatName = Literal["samples", "verl", "easyr1", "mantis", "geometry3k", "mmk12", "virl39k"]
"""The formats there are; `shared/formats/__init__.py` reads them, docs/data.md describes them."""


class SourceKeys(Section):
    """Which columns hold what, for format `easyr1`."""

    prompt: str | None = None
    """Column of the question; default: `problem`, or `prompt` where there is no `problem`."""
    images: str = "images"
    """Column of the image or list of images; a row without it is text only."""
    answer: str = "answer"
    """Column of the gold answer."""


class SourceConfig(Section):
    """One source of questions, as an item of `data.train` or as `data.heldout`."""

    path: Path
    """A file, a folder of shards, or a pattern such as `mantis/nlvr2/*.parquet`."""
    format: FormatName = "samples"
    """The shape of the rows; docs/data.md shows each."""
    name: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Put before the ids of the samples, and named in the log; needed only where two sources
    would give the same ids."""
    weight: Positive = 1.0
    """Share of this source among the groups, relative to the other sources' weights."""
    split: str | None = None
    """Of a folder's shards, only those named after this split, such as `train` or `test`."""
    skip_bad_rows: bool = False
    """Leave out rows that do not fit, and log how many for each reason; default: refuse them."""
    image_dir: Path | None = None
    """Folder that relative image paths are looked up in; default: the folder of the data file."""
    subsets: tuple[str, ...] = ()
    """For format `mantis`: only rows whose `source` is one of these; empty: all."""
    keys: SourceKeys = SourceKeys()
    """For format `easyr1`: which columns hold what."""

    @model_validator(mode="after")
    def _settings_fit_the_format(self) -> "SourceConfig":
        if self.subsets and self.format != "mantis":
            raise ValueError(f"subsets belong to format mantis, not {self.format}")
        if self.keys != SourceKeys() and self.format != "easyr1":
            raise ValueError(f"keys belong to format easyr1, not {self.format}")
        return self
