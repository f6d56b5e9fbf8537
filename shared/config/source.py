"""One set of questions on disk: its place, its format, and its share of a mixture."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from shared.config.section import Positive, Section

FormatName = Literal["samples", "verl", "easyr1", "mantis", "geometry3k", "mmk12", "virl39k"]
"""All formats; `shared/formats/__init__.py` reads them, docs/data.md describes them."""


class SourceKeys(Section):
    """Names of the columns, for format `easyr1`; the last three also for `verl`."""

    prompt: str | None = None
    """Column of the question; default: `problem`, or `prompt` in a row without `problem`."""
    images: str | None = "images"
    """Column of the image or list of images, which every row must have; null in a row means no
    images there. Null here: no row has images."""
    answer: str = "answer"
    """Column of the gold answer."""
    kind: str | None = None
    """Column that says how the answer is compared, as `kind` of a sample; empty: `kind` in the
    column `extra_info`, where there is one. A row without either: its answer's form decides."""
    order: str | None = None
    """Column that says what happens to the answer when the images move, as `order` of a sample, or
    `none`; empty: `order` in `extra_info`."""
    fixed: str | None = None
    """Column with the indices of the images that keep their place; empty: `fixed` in
    `extra_info`."""


class SourceConfig(Section):
    """One source of questions, as an item of `data.train` or as `data.heldout`."""

    path: Path
    """A file, a folder of shards, a pattern such as `mantis/nlvr2/*.parquet`, or a data set of the
    Hugging Face Hub: `hf://owner/name[@revision][:config]/split`."""
    format: FormatName = "samples"
    """The shape of the rows; docs/data.md shows each."""
    name: str | None = Field(default=None, pattern=r"^[\w.-]+$")
    """Name in the log and prefix of the samples' ids; needed only when two sources have the same
    ids."""
    weight: Positive = 1.0
    """Share of the groups that come from this source, relative to the weights of the others."""
    split: str | None = None
    """Read only the shards of a folder that are named after this split, for example `train`; empty:
    all."""
    skip_bad_rows: bool = False
    """Skip rows that do not fit and log how many for each reason; false: the first one is an
    error."""
    image_dir: Path | None = None
    """Folder of relative image paths; default: the folder of the data file."""
    subsets: tuple[str, ...] = ()
    """For format `mantis`: read only rows with one of these in `source`; empty: all."""
    keys: SourceKeys = SourceKeys()
    """For format `easyr1`: the names of the columns."""

    @model_validator(mode="before")
    @classmethod
    def _is_a_mapping(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f"is a path; in a list it is written {{path: {given[:100]}}}")
        return given

    @model_validator(mode="after")
    def _settings_fit_the_format(self) -> "SourceConfig":
        if self.subsets and self.format != "mantis":
            raise ValueError(f"subsets is only for format mantis, not {self.format}")
        labels = {"kind", "order", "fixed"} if self.format == "verl" else set()
        named = {key for key, value in self.keys if value != SourceKeys.model_fields[key].default}
        if self.format != "easyr1" and (other := sorted(named - labels)):
            raise ValueError(f"keys.{other[0]} is only for format easyr1, not {self.format}")
        return self
