"""Small data files in the data sets' published shapes, with pictures of real digits."""

import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from perl_rl.demo.digits import digits, picture
from shared.images import png_bytes

IMAGES = datasets.List(datasets.Image())


def digit(index: int) -> Image.Image:
    """The picture of the data set's digit number `index`."""
    return picture(digits().scans[index])


def digit_bytes(index: int) -> bytes:
    """The same as the bytes of a PNG file."""
    return png_bytes(digit(index))


def save_digits(folder: Path, count: int) -> list[str]:
    """Files ``0.png``, ``1.png``, ... in `folder`; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"{index}.png").write_bytes(digit_bytes(index))
    return [f"{index}.png" for index in range(count)]


def write_features(file: Path, rows: list[dict[str, Any]], **columns: Any) -> Path:
    """Parquet as the `datasets` library writes it, with its image feature in the schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    inferred = datasets.Dataset.from_list(
        [{key: value for key, value in row.items() if key not in columns} for row in rows]
    )
    features = datasets.Features({**inferred.features, **columns})
    datasets.Dataset.from_list(rows, features=features).to_parquet(str(file))
    return file


def write_table(file: Path, rows: list[dict[str, Any]]) -> Path:
    """Parquet as other tools write it, without the library's schema."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def write_json(file: Path, rows: list[Any]) -> Path:
    """One JSON list, or JSON lines, by the file's name."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(json.dumps(row) for row in rows)
    file.write_text(lines if file.suffix == ".jsonl" else json.dumps(rows), encoding="utf-8")
    return file
