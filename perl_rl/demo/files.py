"""Writes questions that were made up as files in the sample format."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from shared.sample import Sample


def write_questions(
    folder: Path, samples: Mapping[str, Sequence[Sample]], pictures: Mapping[str, Image.Image]
) -> None:
    """Write ``<name>.jsonl`` for each set of samples, and the pictures that they name.

    The sets are written in their order, after all pictures: if the last one's file exists, the rest
    does too.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name in sorted(pictures):
        pictures[name].save(folder / name)
    for name, rows in samples.items():
        lines = [json.dumps(row.model_dump(exclude_defaults=True)) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
