"""Reads and writes the samples of the preparation's folders, and digests a stage's work."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from shared.files import scratch_for
from shared.images import digest
from shared.sample import Sample, load_samples

SAMPLES_FILE = "samples.jsonl"


def load(path: Path) -> list[Sample]:
    """The samples in a file; their images are paths of files that exist."""
    return load_samples(path.resolve())


def load_output(file: Path) -> list[Sample]:
    """The samples that a stage has kept, possibly none."""
    return load(file) if file.stat().st_size else []


def save(samples: Iterable[Sample], file: Path) -> None:
    """Write samples, their images named relative to the file, which appears when complete."""

    def relative(image: str) -> str:
        return os.path.relpath(image, file.parent.resolve())

    _write(samples, relative, file)


def save_with_images(samples: Iterable[Sample], file: Path) -> None:
    """As `save`, with the images copied to ``images/`` beside the file, named by their content."""
    folder = file.parent / "images"
    folder.mkdir(exist_ok=True)
    names: dict[str, str] = {}

    def copied(image: str) -> str:
        if image not in names:
            source = Path(image)
            names[image] = f"images/{digest(source.read_bytes())}{source.suffix.lower()}"
            target = file.parent / names[image]
            if not target.is_file():
                with scratch_for(target) as scratch:
                    shutil.copyfile(source, scratch)
        return names[image]

    _write(samples, copied, file)


def work_digest(samples: Sequence[Sample], settings: dict[str, Any], folder: Path) -> str:
    """A digest of a stage's work: the samples, the sizes of their images, and the settings."""
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for sample in samples:
        images = [
            (os.path.relpath(image, folder), os.stat(image).st_size) for image in sample.images
        ]
        row = sample.model_dump(mode="json") | {"images": images}
        whole.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return whole.hexdigest()


def _write(samples: Iterable[Sample], named: Callable[[str], str], file: Path) -> None:
    with scratch_for(file) as scratch, scratch.open("w", encoding="utf-8") as stream:
        for sample in samples:
            images = tuple(named(image) for image in sample.images)
            row = sample.model_copy(update={"images": images})
            stream.write(json.dumps(row.model_dump(mode="json", exclude_defaults=True)) + "\n")
