"""Reading a picture: the bytes of a file or a message become RGB pixels, within bounds.

Image data comes from outside. Every path through the project decodes it here.
"""

import hashlib
import io
import struct
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from shared.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

# What Pillow's decoders raise on damaged bytes.
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


def decode_image(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """Decode to an RGB picture of at most `max_pixels` pixels.

    Raises:
        UserError: naming `name`, when the bytes are no picture or (`ImageTooLarge`) one too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise ImageTooLarge(
                    f"image {name}: {width}x{height} pixels, more than data.max_image_pixels "
                    f"({max_pixels}); shrink it or raise the limit"
                )
            return picture.convert("RGB")
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(
            f"image {name}: cannot be decoded (no picture in a known format: {known}); "
            "replace the file"
        ) from None
    except _UNDECODABLE as error:
        raise UserError(f"image {name}: cannot be decoded ({error}); replace the file") from None


def read_image_file(path: Path, max_pixels: int) -> bytes:
    """The bytes of an image file that is known to decode.

    Raises:
        UserError: naming the file, when it cannot be read or decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"image {path}: cannot be read ({error.strerror})") from None
    decode_image(data, str(path), max_pixels)
    return data
