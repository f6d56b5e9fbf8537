"""One small picture of every kind that files come in, with the pixels that it shows."""

import io
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

# A dark L on white, 6 wide and 4 high: no turn and no mirror leaves it as it is.
SHAPE = np.full((4, 6), 255, np.uint8)
SHAPE[0:3, 1] = 0
SHAPE[2, 1:4] = 0
RAMP = np.linspace(0, 255, 64).astype(np.uint8).reshape(4, 16)


def encoded(picture: Image.Image, format_: str, **options: object) -> bytes:
    """The picture as the bytes of a file."""
    stream = io.BytesIO()
    picture.save(stream, format_, **options)
    return stream.getvalue()


def drawn() -> Image.Image:
    """The shape in black where it is drawn and transparent elsewhere; the colour below is black."""
    alpha = Image.fromarray(255 - SHAPE)
    return Image.merge("RGBA", [Image.new("L", alpha.size)] * 3 + [alpha])


def turned(format_: str, orientation: int) -> bytes:
    """The shape in a file whose EXIF says how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True} if format_ == "WEBP" else {}
    return encoded(Image.fromarray(SHAPE).convert("RGB"), format_, exif=exif, **lossless)


def png(width: int, depth: int, colour: int, row: bytes, clear: bytes = b"") -> bytes:
    """A PNG of one row, in any bit depth and colour type; `clear` is its transparent value."""

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + (chunk(b"tRNS", clear) if clear else b"")
        + chunk(b"IDAT", zlib.compress(b"\0" + row))
        + chunk(b"IEND", b"")
    )


def kinds() -> Iterator[tuple[str, bytes, np.ndarray]]:
    """Name, bytes, and the (height, width) grey or (height, width, 3) pixels that are shown."""
    yield from _transparent()
    for orientation, shown in TURNS.items():
        for format_ in ("PNG", "WEBP", "TIFF"):
            yield f"{format_} turned {orientation}", turned(format_, orientation), shown
    yield from _deep_grey()
    yield from _colours()
    yield from _several_frames()


TURNS = {
    1: SHAPE,
    2: SHAPE[:, ::-1],
    3: SHAPE[::-1, ::-1],
    4: SHAPE[::-1],
    5: SHAPE.T,
    6: np.rot90(SHAPE, -1),
    7: np.rot90(SHAPE, 2).T,
    8: np.rot90(SHAPE),
}
"""What a viewer shows of the shape under each EXIF orientation."""


def _transparent() -> Iterator[tuple[str, bytes, np.ndarray]]:
    yield "RGBA PNG", encoded(drawn(), "PNG"), SHAPE
    yield "RGBA WebP", encoded(drawn(), "WEBP", lossless=True, exact=True), SHAPE
    yield "RGBA TIFF", encoded(drawn(), "TIFF"), SHAPE
    yield "LA PNG", encoded(drawn().convert("LA"), "PNG"), SHAPE
    indexed = Image.fromarray((SHAPE > 0).astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, 0, 0, 1])
    yield "GIF", encoded(indexed, "GIF", transparency=1), SHAPE
    yield "palette PNG", encoded(indexed, "PNG", transparency=1), SHAPE
    halves = np.where(SHAPE == 0, 128, 255).astype(np.uint8)
    half = encoded(indexed, "PNG", transparency=bytes([127, 0]))
    yield "half transparent palette", half, halves
    row = struct.pack(">HH", 0x1234, 0x5678)
    clear = png(2, 16, 0, row, clear=struct.pack(">H", 0x1234))
    yield "16-bit grey with a clear value", clear, np.array([[255, 0x56]])
    colours = struct.pack(">6H", 0x1234, 0, 0, 0x5600, 0x5600, 0x5600)
    clear = png(2, 16, 2, colours, clear=struct.pack(">3H", 0x1234, 0, 0))
    yield "16-bit RGB with a clear colour", clear, np.array([[255, 0x56]])


def _deep_grey() -> Iterator[tuple[str, bytes, np.ndarray]]:
    wide = RAMP.astype(np.uint16) * 257
    yield "16-bit grey PNG", encoded(Image.fromarray(wide), "PNG"), RAMP
    yield "16-bit grey TIFF", encoded(Image.fromarray(wide), "TIFF"), RAMP
    yield "32-bit grey of 8 bits", encoded(Image.fromarray(RAMP.astype(np.int32)), "TIFF"), RAMP
    yield "32-bit grey of 16 bits", encoded(Image.fromarray(wide.astype(np.int32)), "TIFF"), RAMP
    far = RAMP.astype(np.int32) * 8_000_000 - 5
    yield "32-bit grey", encoded(Image.fromarray(far), "TIFF"), RAMP
    share = (RAMP / 255).astype(np.float32)
    yield "float from 0 to 1", encoded(Image.fromarray(share), "TIFF"), RAMP
    half = np.rint(share / 2 * 255).astype(np.uint8)
    yield "float from 0 to 0.5", encoded(Image.fromarray(share / 2), "TIFF"), half
    yield "float from -1 to 1", encoded(Image.fromarray(share * 2 - 1), "TIFF"), RAMP
    strange, shown = share.copy(), RAMP.copy()
    strange[0, 5], strange[1, 5] = np.nan, np.inf
    shown[0, 5], shown[1, 5] = 0, 255
    yield "float with no numbers in it", encoded(Image.fromarray(strange), "TIFF"), shown
    yield "1-bit", encoded(Image.fromarray(SHAPE).convert("1"), "PNG"), SHAPE
    yield "4-bit PNG", png(2, 4, 0, b"\x0f"), np.array([[0, 255]])


def _colours() -> Iterator[tuple[str, bytes, np.ndarray]]:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 255
    inks = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    yield "CMYK TIFF", encoded(inks, "TIFF"), red
    yield "CMYK JPEG", encoded(inks, "JPEG", quality=100), red
    indexed = Image.new("P", (8, 8), 1)
    indexed.putpalette([9, 9, 9, 255, 0, 0])
    yield "palette", encoded(indexed, "PNG"), red
    yield "BMP", encoded(indexed.convert("RGB"), "BMP"), red
    deep = png(1, 16, 2, struct.pack(">3H", 0xFFFF, 0x00FF, 0x80FF))
    yield "16-bit RGB", deep, np.array([[[255, 0, 128]]])


def _several_frames() -> Iterator[tuple[str, bytes, np.ndarray]]:
    first, second = Image.fromarray(SHAPE), Image.fromarray(255 - SHAPE)
    for format_ in ("GIF", "PNG", "TIFF", "WEBP"):
        options = {"lossless": True} if format_ == "WEBP" else {}
        frames = [one.convert("RGB" if format_ == "WEBP" else "L") for one in (first, second)]
        several = encoded(frames[0], format_, save_all=True, append_images=frames[1:], **options)
        yield f"{format_} of two frames", several, SHAPE


def rgb(shown: np.ndarray) -> np.ndarray:
    """(height, width, 3) pixels of grey or RGB ones."""
    return shown if shown.ndim == 3 else np.stack([shown] * 3, axis=-1)
