"""Images of benchmark rows, kept as files named by the SHA-256 of their bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from perl_rl.eval.rows import Row
from shared.errors import UserError
from shared.files import write_atomically
from shared.images import (
    PILLOW_MAX_PIXELS,
    UnknownFormat,
    decode_image,
    digest,
    image_format,
    png_bytes,
)


class Pictures:
    """A folder of images, named by content; each is decoded once before it is kept.

    Args:
        folder: where they are kept.
        bases: folders to look up relative paths in, before the folder of the row's file and
            `images` in it. The first folder that has the file wins.
    """

    def __init__(self, folder: Path, bases: Sequence[Path] = ()) -> None:
        self._folder = folder
        self._bases = tuple(bases)
        folder.mkdir(parents=True, exist_ok=True)

    def keep(self, cell: Any, row: Row, column: str) -> str:
        """Keep the image in a cell; returns its file.

        A cell holds bytes, a path, a mapping with ``bytes`` or ``path`` (an image feature of the
        `datasets` library as it lies in parquet), or a Pillow image.

        Raises:
            UserError: naming file, row and column, when the cell holds no image that decodes.
        """
        data = self._bytes(cell, row, column)
        try:
            suffix = image_format(data, "here", PILLOW_MAX_PIXELS).lower()
            file = self._folder / f"{digest(data)}.{suffix}"
            if not file.exists():
                decode_image(data, "here", PILLOW_MAX_PIXELS)
        except UnknownFormat:
            raise row.bad(column, f"is no picture in a known format ({len(data)} bytes)") from None
        except UserError as error:
            raise row.bad(column, f"cannot be decoded ({error})") from None
        if not file.exists():
            write_atomically(file, data)
        return str(file)

    def keep_decoded(self, row: Row) -> str:
        """As `keep`: the row's column ``decoded_image``, or ``image`` where that is empty."""
        column = "decoded_image" if row.values.get("decoded_image") is not None else "image"
        return self.keep(row.cell(column), row, column)

    def _bytes(self, cell: Any, row: Row, column: str) -> bytes:
        if isinstance(cell, bytes | bytearray):
            return bytes(cell)
        if isinstance(cell, dict) and cell.get("bytes") is not None:
            return self._bytes(cell["bytes"], row, column)
        if isinstance(cell, dict) and cell.get("path"):
            return self._bytes(cell["path"], row, column)
        if isinstance(cell, Image.Image):
            return png_bytes(cell)
        if isinstance(cell, str) and cell:
            return self._read(cell, row, column)
        raise row.bad(column, f"must be an image (bytes or a path), not {_kind(cell)}")

    def _read(self, path: str, row: Row, column: str) -> bytes:
        beside = row.file.parent
        for base in (*self._bases, beside, beside / "images"):
            file = base / path
            if file.is_file():
                return file.read_bytes()
        raise row.bad(
            column, f"no image file '{path}' beside the data; name its folder by --images"
        )


def _kind(cell: Any) -> str:
    if isinstance(cell, dict):
        return f"a mapping of {', '.join(cell) or 'nothing'}"
    return "nothing" if cell is None or cell == "" else type(cell).__name__
