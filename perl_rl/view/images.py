"""The recorded images, by their SHA-256: whole, and small for lists."""

import io
import re
from functools import lru_cache
from pathlib import Path

from PIL import Image

from perl_rl.view.group import GroupShown
from shared.errors import UserError
from shared.images import PILLOW_MAX_PIXELS, decode_image
from shared.records.groups import image_file

DIGEST = re.compile(r"[0-9a-f]{64}")
_SMALL_PX = 192
"""The longest side of a small image."""
_TYPES = {".png": "image/png", ".jpeg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}


def whole(run_dir: Path, digest: str) -> tuple[bytes, str] | None:
    """The image's bytes and their media type; None when it is not kept.

    A format that browsers do not show is given as PNG.

    Raises:
        UserError: when it cannot be decoded.
    """
    file = image_file(run_dir, digest)
    if file is None:
        return None
    if file.suffix in _TYPES:
        return file.read_bytes(), _TYPES[file.suffix]
    return _encoded(decode_image(file, file.name, PILLOW_MAX_PIXELS), "PNG"), "image/png"


def small(run_dir: Path, digest: str) -> bytes | None:
    """The image in WebP, small; None when it is not kept.

    Raises:
        UserError: when it cannot be decoded.
    """
    file = image_file(run_dir, digest)
    return None if file is None else _small(file)


@lru_cache(maxsize=2048)
def _small(file: Path) -> bytes:
    picture = decode_image(file, file.name, PILLOW_MAX_PIXELS)
    picture.thumbnail((_SMALL_PX, _SMALL_PX), Image.Resampling.LANCZOS)
    return _encoded(picture, "WEBP", quality=88)


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def sizes(run_dir: Path, shown: GroupShown) -> dict[str, tuple[int, int]]:
    """Width and height in pixels of each image of a group that is kept and can be read."""
    names = {*(shown.row["images"] or [])}
    names |= {one for order in shown.orders for one in order.values["images"] or []}
    files = {name: image_file(run_dir, name) for name in names}
    found = {name: _size(file) for name, file in files.items() if file is not None}
    return {name: size for name, size in found.items() if size is not None}


@lru_cache(maxsize=4096)
def _size(file: Path) -> tuple[int, int] | None:
    try:
        return decode_image(file, file.name, PILLOW_MAX_PIXELS).size
    except UserError:
        return None
