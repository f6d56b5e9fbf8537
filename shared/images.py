"""Decoding pictures to RGB pixels, the only place that does so.

Image data comes from outside: formats and sizes are limited, and every failure is a `UserError`.
"""

import hashlib
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from shared.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

PILLOW_MAX_PIXELS = 178_956_970
"""Pillow itself refuses larger pictures, as decompression bombs."""

# Pillow's decoders raise these on damaged bytes.
_UNDECODABLE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    ArithmeticError,
    LookupError,
    struct.error,
    Image.DecompressionBombError,
)


def digest(data: bytes) -> str:
    """The name of an image: SHA-256 of its bytes, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


class ImageTooLarge(UserError):
    """A picture with more pixels than are allowed."""


class UnknownFormat(UserError):
    """A file or bytes that are no picture in one of `FORMATS`."""


def image_bytes(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        UserError: naming the file, when it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"image {path}: cannot be read ({error.strerror})") from None


def image_format(source: bytes | Path, name: str, max_pixels: int) -> str:
    """The format of a picture, one of `FORMATS`; only its header is read.

    Raises:
        UserError: as `decode_image`, as far as the header shows it.
    """
    with _opened(source, name, max_pixels) as picture:
        return picture.format or FORMATS[0]


def decode_image(source: bytes | Path, name: str, max_pixels: int) -> Image.Image:
    """Decode a picture's bytes, or its file, to RGB.

    Raises:
        ImageTooLarge: when it has more than `max_pixels` pixels; it is not decoded then.
        UnknownFormat: when it is no picture in a known format.
        UserError: when it is damaged or its file cannot be read; all errors name `name`.
    """
    with _opened(source, name, max_pixels) as picture:
        return picture.convert("RGB")


def read_image_file(path: Path, max_pixels: int) -> bytes:
    """The bytes of an image file, after decoding it once.

    Raises:
        UserError: naming the file, when it cannot be read or decoded.
    """
    data = image_bytes(path)
    decode_image(data, str(path), max_pixels)
    return data


@contextmanager
def _opened(source: bytes | Path, name: str, max_pixels: int) -> Iterator[Image.Image]:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(stream, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise ImageTooLarge(
                    f"image {name}: {width}x{height} pixels, more than data.max_image_pixels "
                    f"({max_pixels}); shrink it or raise the limit"
                )
            yield picture
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UnknownFormat(
            f"image {name}: cannot be decoded (no picture in a known format: {known}); "
            "replace the file"
        ) from None
    except _UNDECODABLE as error:
        if isinstance(error, OSError) and error.strerror:
            raise UserError(f"image {name}: cannot be read ({error.strerror})") from None
        raise UserError(f"image {name}: cannot be decoded ({error}); replace the file") from None
