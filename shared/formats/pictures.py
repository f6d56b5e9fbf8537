"""Turns the images of data rows into files: bytes are stored by SHA-256, paths are looked up.

So ``Sample.images`` of every format are paths of files whose headers have been checked.
"""

from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.files import write_atomically
from shared.formats.cells import is_empty, picture_in
from shared.formats.rows import Row
from shared.images import (
    ImageTooLarge,
    ImageTooThin,
    UnknownFormat,
    decode_image,
    digest,
    image_format,
)


class ImageFolder:
    """A folder of images named by content, shared by all processes that read the same data.

    Each file was decoded once before it was stored, and appears whole or not at all, so several
    processes may fill the folder at the same time. An existing file is not written again.
    """

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._looked_at: set[Path] = set()

    def files(self, value: Any, row: Row, column: str, base: Path) -> tuple[str, ...]:
        """The image files of a cell with one image, a list of images, or nothing.

        Args:
            value: `shared.formats.cells.picture_in` says what an image may be.
            base: the folder of relative paths.

        Raises:
            BadRow: when an image is something else, does not exist or cannot be decoded.
        """
        if is_empty(value):
            return ()
        cells = value if isinstance(value, list | tuple) else [value]
        return tuple(self._file(cell, row, column, base) for cell in cells)

    def _file(self, cell: Any, row: Row, column: str, base: Path) -> str:
        found = picture_in(cell, row, column, [base], "check the path and image_dir")
        if isinstance(found, bytes):
            return self._keep(found, row, column)
        if found not in self._looked_at:
            self._look(found, str(found), row, column)
            self._looked_at.add(found)
        return str(found)

    def _keep(self, data: bytes, row: Row, column: str) -> str:
        suffix = self._look(data, "in the row", row, column)
        file = self._folder / f"{digest(data)}.{suffix}"
        if not file.exists():
            try:
                decode_image(data, "in the row", self._max_pixels)
            except UserError as error:
                raise row.bad(column, "cannot be decoded", str(error)) from None
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(file, data)
        return str(file)

    def _look(self, source: Path | bytes, name: str, row: Row, column: str) -> str:
        """The file suffix of a picture whose header can be read and shows no excessive size."""
        try:
            return image_format(source, name, self._max_pixels).lower()
        except UnknownFormat:
            problem = f"image {name} has an unknown image format"
            raise row.bad(column, "has an unknown image format", problem) from None
        except ImageTooLarge as error:
            raise row.bad(column, "is too large", str(error)) from None
        except ImageTooThin as error:
            raise row.bad(column, "is too long and thin", str(error)) from None
        except UserError as error:
            raise row.bad(column, "cannot be decoded", str(error)) from None
