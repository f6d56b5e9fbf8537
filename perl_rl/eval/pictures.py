"""Images of benchmark rows, kept as files named by the SHA-256 of their bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perl_rl.eval.rows import Row
from shared.errors import UserError
from shared.files import write_atomically
from shared.formats.cells import is_empty, picture_in
from shared.images import (
    PILLOW_MAX_PIXELS,
    UnknownFormat,
    decode_image,
    digest,
    image_bytes,
    image_format,
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

        Args:
            cell: `shared.formats.cells.picture_in` says what an image may be.

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
        if is_empty(cell):
            raise row.bad(column, "must be an image (bytes or a path), not nothing")
        beside = row.file.parent
        bases = [*self._bases, beside, beside / "images"]
        found = picture_in(cell, row, column, bases, "name its folder by --images")
        return found if isinstance(found, bytes) else image_bytes(found)
