"""Decoding pictures to RGB pixels, the only place that does so.

Sampler, trainer, evaluation and data preparation all read pictures here, so the same bytes give
the same pixels everywhere (docs/data.md says which). Image data comes from outside: formats and
sizes are limited, and every failure is a `UserError`.
"""

import hashlib
import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from shared.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

PILLOW_MAX_PIXELS = 178_956_970
"""Pillow itself refuses larger pictures, as decompression bombs."""

MAX_ASPECT_RATIO = 200
"""Longest side over shortest; the image processors of the Qwen models refuse more."""

# A damaged picture is refused with its name, which Pillow's warnings do not have.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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

# What to do with a picture whose EXIF orientation is not 1 (EXIF 2.3, tag 0x0112).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Files that every reader is known to decode to the pixels of `decode_image`.
_READ_ALIKE = ("PNG", "JPEG", "WEBP")
_PLAIN_MODES = ("RGB", "L", "P", "1")

_TIFF_INTERPRETATION, _TIFF_WHITE_IS_ZERO = 262, 0
_TIFF_SAMPLE_FORMAT, _TIFF_UNSIGNED = 339, 1


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


class ImageTooThin(UserError):
    """A picture whose sides differ by more than `MAX_ASPECT_RATIO`."""


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
    """Decode a picture's bytes, or its file, to RGB, as `to_rgb` does.

    Raises:
        ImageTooLarge: when it has more than `max_pixels` pixels; it is not decoded then.
        ImageTooThin: when one side is more than `MAX_ASPECT_RATIO` times the other.
        UnknownFormat: when it is no picture in a known format.
        UserError: when it is damaged or its file cannot be read; all errors name `name`.
    """
    with _opened(source, name, max_pixels) as picture:
        return to_rgb(picture)


def read_image_file(path: Path, max_pixels: int) -> bytes:
    """The bytes of an image file, after decoding it once.

    Raises:
        UserError: naming the file, when it cannot be read or decoded.
    """
    data = image_bytes(path)
    decode_image(data, str(path), max_pixels)
    return data


def to_rgb(picture: Image.Image) -> Image.Image:
    """A picture's first frame as 8-bit RGB: turned as its EXIF says, on a white ground.

    Grey of 16 bits gives its high byte. Grey of 32 bits and floating point is scaled from the
    first of the ranges 0 to 1 (floating point only), 0 to 255 and 0 to 65535 that holds all its
    values, else from its smallest to its largest value; what is no number is black.

    Returns a picture that carries no metadata: nothing that reads it can turn it again.

    Raises:
        ValueError, OSError and others: when Pillow cannot decode or convert it.
    """
    picture.load()
    turn = _TURNS.get(_orientation(picture))
    plain = _on_white(_eight_bit(picture))
    if turn is not None:
        plain = plain.transpose(turn)
    plain.info = {}
    return plain


def portable(data: bytes, name: str, max_pixels: int) -> tuple[bytes, str]:
    """Bytes that any reader decodes to the pixels of `decode_image`, and their media type.

    These are the picture's own bytes if it is an 8-bit PNG, JPEG or WebP with neither
    transparency, EXIF orientation nor a second frame; else a PNG of its pixels.

    Raises:
        UserError: as `decode_image`.
    """
    with _opened(data, name, max_pixels) as picture:
        picture.load()
        if _reads_alike(picture, data):
            return data, Image.MIME[picture.format or ""]
        return png_bytes(to_rgb(picture)), Image.MIME["PNG"]


def _reads_alike(picture: Image.Image, data: bytes) -> bool:
    sixteen_bit = picture.format == "PNG" and data[24] == 16  # the header's bit depth
    return (
        picture.format in _READ_ALIKE
        and picture.mode in _PLAIN_MODES
        and not sixteen_bit
        and not picture.has_transparency_data
        and not getattr(picture, "is_animated", False)
        and _orientation(picture) == 1
    )


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except _UNDECODABLE:
        # Viewers show a picture with damaged EXIF as it lies.
        return 1


def _on_white(picture: Image.Image) -> Image.Image:
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    clear = picture.info.get("transparency")
    if picture.mode == "RGB" and isinstance(clear, tuple) and max(clear) > 255:
        # Pillow keeps the high bytes of a 16-bit picture, but names its clear colour in 16 bits.
        picture.info["transparency"] = tuple(value >> 8 for value in clear)
    shown = picture.convert("RGBA")
    ground = Image.new("RGB", picture.size, "white")
    ground.paste(shown, mask=shown.getchannel("A"))
    return ground


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Grey of more than 8 bits as 8-bit grey; other pictures as they are."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16"):
        return picture
    values, tags = np.asarray(picture), getattr(picture, "tag_v2", {})
    if picture.mode == "I" and tags.get(_TIFF_SAMPLE_FORMAT) == _TIFF_UNSIGNED:
        values = values.view(np.uint32)
    grey = _scaled(values) if picture.mode in ("I", "F") else (values >> 8).astype(np.uint8)
    if tags.get(_TIFF_INTERPRETATION) == _TIFF_WHITE_IS_ZERO:
        grey = 255 - grey
    if "transparency" in picture.info:
        opaque = np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)
        return Image.merge("LA", (Image.fromarray(grey), Image.fromarray(opaque)))
    return Image.fromarray(grey)


def _scaled(values: np.ndarray) -> np.ndarray:
    """(height, width) grey values of any type as uint8; `to_rgb` says how."""
    floating = values.dtype.kind == "f"
    numbers = values[np.isfinite(values)] if floating else values
    if numbers.size == 0:
        return np.zeros(values.shape, np.uint8)
    low, high = float(numbers.min()), float(numbers.max())
    ranges = (1.0, 255.0, 65_535.0) if floating else (255.0, 65_535.0)
    if low >= 0 and high <= ranges[-1]:
        low, high = 0.0, next(top for top in ranges if high <= top)
    share = np.nan_to_num((values.astype(np.float64) - low) / ((high - low) or 1.0), nan=0.0)
    return np.rint(np.clip(share, 0.0, 1.0) * 255).astype(np.uint8)


@contextmanager
def _opened(source: bytes | Path, name: str, max_pixels: int) -> Iterator[Image.Image]:
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(stream, formats=FORMATS) as picture:
            _check_size(*picture.size, name, max_pixels)
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


def _check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"image {name}: {width}x{height} pixels, more than data.max_image_pixels "
            f"({max_pixels}); shrink it or raise the limit"
        )
    if width * height == 0:
        raise UserError(f"image {name}: cannot be decoded (it has no pixels); replace the file")
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise ImageTooThin(
            f"image {name}: {width}x{height} pixels, one side more than {MAX_ASPECT_RATIO} times "
            "the other, which image processors refuse; crop it or leave the sample out"
        )
