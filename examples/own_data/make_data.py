"""Writes questions about real pictures in three formats, as your own data may come.

``python make_data.py FOLDER``. The pictures come with scikit-learn: scans of handwritten digits,
and patches of two photographs.
"""

import io
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

SIDE = 56
ROWS = 40
HELD_OUT_ROWS = 12


def digit_pictures() -> dict[int, list[Image.Image]]:
    """The scans of each digit, enlarged."""
    data = load_digits()
    found: dict[int, list[Image.Image]] = {}
    for scan, value in zip(data.images, data.target, strict=True):
        grey = Image.fromarray((scan * 255 / 16).round().astype(np.uint8))
        picture = grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")
        found.setdefault(int(value), []).append(picture)
    return found


def photo_patch(name: str, rng: random.Random) -> Image.Image:
    """A random square of one of scikit-learn's two photographs."""
    photo = Image.fromarray(load_sample_image(name))
    left, top = rng.randrange(photo.width - 200), rng.randrange(photo.height - 200)
    return photo.crop((left, top, left + 200, top + 200)).resize((SIDE, SIDE))


def png(picture: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


class Largest:
    """Questions for the largest of three digits: the options are pictures, so letters move."""

    question = "Which option shows the largest digit?\nA. <image>\nB. <image>\nC. <image>"

    def __init__(self, first: float, last: float) -> None:
        # Training and held-out questions show different scans.
        self._scans = {
            value: scans[int(first * len(scans)) : int(last * len(scans))]
            for value, scans in digit_pictures().items()
        }

    def ask(self, count: int, rng: random.Random) -> Iterator[tuple[list[Image.Image], str]]:
        """Pictures and the right letter of `count` questions."""
        for _ in range(count):
            values = rng.sample(range(10), 3)
            yield [rng.choice(self._scans[one]) for one in values], "ABC"[values.index(max(values))]


def samples(folder: Path, name: str, asked: Iterator[tuple[list[Image.Image], str]]) -> None:
    """Our own format: JSON lines that name picture files, with kind and order of the answer."""
    lines = []
    for number, (pictures, answer) in enumerate(asked):
        files = [f"pictures/{name}-{number}-{place}.png" for place in range(len(pictures))]
        for file, picture in zip(files, pictures, strict=True):
            picture.save(folder / file)
        row = {"id": f"{name}-{number}", "question": Largest.question, "images": files}
        lines.append(json.dumps(row | {"answer": answer, "kind": "letter", "order": "letter"}))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def verl(file: Path, asked: Iterator[tuple[list[Image.Image], str]]) -> None:
    """veRL's parquet file: a conversation, pictures inside the file, the gold answer."""
    rows: list[dict[str, Any]] = [
        {
            "data_source": "digits",
            "prompt": [{"role": "user", "content": Largest.question}],
            "images": [{"bytes": png(picture)} for picture in pictures],
            "reward_model": {"style": "rule", "ground_truth": answer},
        }
        for pictures, answer in asked
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)


def easyr1(folder: Path, name: str, rng: random.Random) -> None:
    """EasyR1's flat rows with columns of our choice; the pictures lie in a folder beside it."""
    lines = []
    for number in range(ROWS):
        names = rng.sample(["flower.jpg", "china.jpg"], 2)
        files = [f"{name}-{number}-{place}.jpg" for place in range(2)]
        for file, photo in zip(files, names, strict=True):
            photo_patch(photo, rng).save(folder / "pictures" / file)
        text = "Which option shows the flower?\nA. <image>\nB. <image>"
        row = {"query": text, "photos": files, "gold": "AB"[names.index("flower.jpg")]}
        lines.append(json.dumps(row))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Write everything into the folder that the command line names."""
    folder = Path(sys.argv[1])
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    rng, training, held_out = random.Random(1), Largest(0, 0.7), Largest(0.7, 1)
    samples(folder, "digits", training.ask(ROWS, rng))
    verl(folder / "verl.parquet", training.ask(ROWS, rng))
    easyr1(folder, "photos", rng)
    samples(folder, "heldout", held_out.ask(HELD_OUT_ROWS, rng))


if __name__ == "__main__":
    main()
