"""The picture in a cell of a data row: its bytes, or the file that it names."""

import base64
import binascii
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from PIL import Image

from shared.errors import UserError
from shared.files import is_file
from shared.formats.rows import Row
from shared.images import PILLOW_MAX_PIXELS, UnknownFormat, image_format, png_bytes, to_rgb
from shared.sample import LONGEST_QUOTED
from shared.words import what

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
# The base64 of PNG, JPEG, GIF and WebP begins so; other text must be long to be taken for base64.
_BASE64 = re.compile(r"(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|[\w+/-]{64})[\w+/-]*={0,2}", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")


def is_empty(cell: Any) -> bool:
    """Whether a cell says that there is no picture: null, empty, or a mapping of nulls."""
    if isinstance(cell, dict):
        return all(value is None for value in cell.values())
    # Pandas writes a missing value as NaN, the one value that differs from itself.
    return cell is None or cell != cell or (isinstance(cell, str | list | tuple) and not cell)


def picture_in(cell: Any, row: Row, column: str, bases: Sequence[Path], hint: str) -> bytes | Path:
    """The bytes of the picture in a cell, or its file. Bytes may turn out to be no picture.

    A cell holds bytes, the path of a file, base64, a ``data:`` address, a Pillow image, or a
    mapping with one of these in ``bytes``, ``image`` or ``path`` (as the `datasets` library
    stores its image feature).

    Args:
        bases: folders of relative paths; the first that has the file wins.
        hint: what to do when there is no such file.

    Raises:
        BadRow: when the cell holds something else, or names a file that does not exist. Text
            that is too long for a path is not quoted.
    """
    if is_empty(cell):
        problem = "must be bytes, a path or an image, not nothing (it is null or empty)"
        raise row.bad(column, "is null or empty", problem)
    if isinstance(cell, dict):
        held = [cell[key] for key in ("bytes", "image", "path") if cell.get(key) is not None]
        if not held:
            raise row.bad(column, "has no image", "has none of the keys bytes, image, path")
        return picture_in(held[0], row, column, bases, hint)
    if isinstance(cell, bytes | bytearray):
        return bytes(cell)
    if isinstance(cell, Image.Image):
        return _encoded(cell, row, column)
    if isinstance(cell, str) and cell.strip():
        return _from_text(cell.strip(), row, column, bases, hint)
    raise row.bad(
        column,
        "is not an image",
        f"must be bytes, a path or an image, not {what(cell)}",
    )


def _encoded(picture: Image.Image, row: Row, column: str) -> bytes:
    try:
        return png_bytes(to_rgb(picture))
    except (OSError, ValueError) as error:
        raise row.bad(column, "cannot be decoded", f"cannot be decoded ({error})") from None


def _from_text(text: str, row: Row, column: str, bases: Sequence[Path], hint: str) -> bytes | Path:
    if text[:5].lower() == "data:":
        return _from_address(text, row, column)
    path = text.removeprefix("file://")
    for base in bases:
        if is_file(base / path):
            return base / path
    if address := _ADDRESS.match(path):
        problem = f"is a {address[1]} address; nothing is fetched: download it and name its file"
        raise row.bad(column, "is an address", problem)
    packed = "".join(path.split())
    if _BASE64.fullmatch(packed):
        return _from_base64(packed, row, column)
    if len(path) > LONGEST_QUOTED:
        raise _no_picture(text, row, column)
    where = "" if Path(path).is_absolute() else f" in {bases[0]}"
    raise row.bad(column, "has no image file", f"no image file '{path}'{where}; {hint}")


def _from_address(text: str, row: Row, column: str) -> bytes:
    head, _, body = text.partition(",")
    data = unquote_to_bytes(body)
    if not head.lower().endswith(";base64"):
        return data
    return _from_base64("".join(data.decode("ascii", "replace").split()), row, column)


def _from_base64(packed: str, row: Row, column: str) -> bytes:
    digits = packed.translate(_URL_SAFE).rstrip("=")
    try:
        data = base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
        image_format(data, "here", PILLOW_MAX_PIXELS)
    except (binascii.Error, UnknownFormat):
        raise _no_picture(packed, row, column) from None
    except UserError:
        # The caller says what is wrong with a picture.
        pass
    return data


def _no_picture(text: str, row: Row, column: str) -> UserError:
    problem = f"holds {len(text)} characters that are neither a file's path nor a picture in base64"
    return row.bad(column, "is neither a path nor base64", problem)
