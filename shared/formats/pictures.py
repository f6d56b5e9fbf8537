"""Turns the images of data rows into files: bytes are stored by SHA-256, paths are looked up.

So ``Sample.images`` of every format are paths of files whose headers have been checked.
"""

import io
from pathlib import Path
from typing import Any

from PIL import Image

from shared.errors import UserError
from shared.files import write_atomically
from shared.formats.rows import Row
from shared.images import ImageTooLarge, UnknownFormat, decode_image, digest, image_format


class ImageFolder:
    """A folder of images named by content, shared by all processes that read the same data.

    Each file was decoded once before it was stored, and appears whole or not at all, so several
    processes may fill the folder at the same time. An existing file is not written again.
    """

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels

    def files(self, value: Any, row: Row, column: str, base: Path) -> tuple[str, ...]:
        """The image files of a cell with one image, a list of images, or nothing.

        An image is bytes, a path (relative to `base`), a mapping with ``bytes``, ``path`` or
        ``image``, or a Pillow image.

        Raises:
            BadRow: when an image is something else, does not exist or cannot be decoded.
        """
        if value is None:
            return ()
        cells = value if isinstance(value, list | tuple) else [value]
        return tuple(self._file(cell, row, column, base) for cell in cells)

    def _file(self, cell: Any, row: Row, column: str, base: Path) -> str:
        if isinstance(cell, dict):
            held = [cell[key] for key in ("bytes", "image", "path") if cell.get(key) is not None]
            if not held:
                raise row.bad(column, "has no image", "has none of the keys bytes, image, path")
            cell = held[0]
        if isinstance(cell, bytes | bytearray):
            return self._keep(bytes(cell), row, column)
        if isinstance(cell, Image.Image):
            stream = io.BytesIO()
            cell.save(stream, "PNG")
            return self._keep(stream.getvalue(), row, column)
        if isinstance(cell, str) and cell:
            return self._find(cell, row, column, base)
        raise row.bad(
            column, "is not an image", f"must be bytes, a path or an image, not {_kind(cell)}"
        )

    def _keep(self, data: bytes, row: Row, column: str) -> str:
        suffix = self._look(data, "the image", row, column)
        file = self._folder / f"{digest(data)}.{suffix}"
        if not file.exists():
            try:
                decode_image(data, "here", self._max_pixels)
            except UserError as error:
                raise row.bad(column, "cannot be decoded", str(error)) from None
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)
        return str(file)

    def _find(self, path: str, row: Row, column: str, base: Path) -> str:
        file = base / path.removeprefix("file://")
        if not file.is_file():
            problem = f"no image file {file}; check the path and image_dir"
            raise row.bad(column, "has no image file", problem)
        self._look(file, str(file), row, column)
        return str(file)

    def _look(self, source: Path | bytes, name: str, row: Row, column: str) -> str:
        """The file suffix of a picture whose header can be read and shows no excessive size."""
        try:
            return image_format(source, name, self._max_pixels).lower()
        except UnknownFormat:
            raise row.bad(
                column, "has an unknown image format", f"{name} has an unknown image format"
            ) from None
        except ImageTooLarge as error:
            raise row.bad(column, "is too large", str(error)) from None
        except UserError as error:
            raise row.bad(column, "cannot be decoded", str(error)) from None


def _kind(cell: Any) -> str:
    return "nothing" if cell is None or cell == "" else type(cell).__name__
