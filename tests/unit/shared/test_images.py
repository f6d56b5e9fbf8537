"""Images from outside: what decodes, what is refused, and that no bytes crash the decoder."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from shared.errors import UserError
from shared.images import (
    FORMATS,
    ImageTooLarge,
    UnknownFormat,
    decode_image,
    digest,
    image_format,
    read_image_file,
)
from tests.paths import ROOT


def picture(format: str = "PNG", size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    image = Image.linear_gradient("L").resize(size).convert(mode)
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


PICTURES = {format: picture(format) for format in FORMATS}


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_decodes_to_rgb(format: str) -> None:
    decoded = decode_image(PICTURES[format], "x", max_pixels=10_000)
    assert (decoded.size, decoded.mode) == ((24, 16), "RGB")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_every_mode_decodes_to_rgb(mode: str) -> None:
    assert decode_image(picture(mode=mode), "x", max_pixels=10_000).mode == "RGB"


def test_a_picture_is_named_by_its_bytes() -> None:
    assert digest(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "data",
    [b"", b"not a picture", PICTURES["PNG"][:60], PICTURES["JPEG"][:-200], b"%!PS-Adobe-3.0 EPSF"],
)
def test_bytes_that_are_no_picture_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(UserError, match=r"^image cat\.png: cannot be decoded \(.*\); replace"):
        decode_image(data, "cat.png", max_pixels=10_000)


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(UserError, match=r"image x: 24x16 pixels, more than data.max_image_pixels"):
        decode_image(PICTURES["PNG"], "x", max_pixels=24 * 16 - 1)
    assert decode_image(PICTURES["PNG"], "x", max_pixels=24 * 16)


@pytest.mark.parametrize("limit", [1_000_000, 10**10])
def test_a_decompression_bomb_is_refused(limit: int) -> None:
    # A PNG of a few hundred bytes that says it has 10^10 pixels.
    data = bytearray(PICTURES["PNG"])
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    with pytest.raises(UserError, match="image bomb"):
        decode_image(bytes(data), "bomb", max_pixels=limit)


@pytest.mark.parametrize("damage", [2, 5, 7, 10, 11, 12])
def test_a_tiff_with_a_tag_of_another_type_is_refused(damage: int) -> None:
    data = bytearray(PICTURES["TIFF"])
    data[72] = damage
    with pytest.raises(UserError, match="image x: cannot be decoded"):
        decode_image(bytes(data), "x", max_pixels=10_000)


@pytest.mark.filterwarnings("ignore::UserWarning")
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    damage=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.floats(0.2, 1),
)
def test_damaged_pictures_are_decoded_or_refused(
    format: str, damage: list[tuple[int, int]], keep: float
) -> None:
    data = bytearray(PICTURES[format])
    for place, value in damage:
        data[place % len(data)] = value
    try:
        decoded = decode_image(bytes(data[: int(len(data) * keep)]), "x", max_pixels=100_000)
    except UserError as error:
        assert str(error).startswith("image x: ")
    else:
        assert decoded.mode == "RGB"


def test_a_file_is_read_when_it_decodes(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(PICTURES["PNG"])
    assert read_image_file(file, max_pixels=10_000) == PICTURES["PNG"]
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=f"image {file}: cannot be decoded"):
        read_image_file(file, max_pixels=10_000)
    with pytest.raises(UserError, match=r"none\.png: cannot be read \(No such file"):
        read_image_file(tmp_path / "none.png", max_pixels=10_000)


@pytest.mark.parametrize("format", FORMATS)
def test_the_format_is_read_from_bytes_and_files(format: str, tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.write_bytes(PICTURES[format])
    assert image_format(PICTURES[format], "x", max_pixels=10_000) == format
    assert image_format(file, "x", max_pixels=10_000) == format
    assert decode_image(file, "x", max_pixels=10_000).size == (24, 16)


def test_the_kinds_of_refusal_can_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageTooLarge, match="24x16 pixels"):
        image_format(PICTURES["PNG"], "x", max_pixels=100)
    with pytest.raises(UnknownFormat, match="no picture in a known format"):
        image_format(b"nothing", "x", max_pixels=100)
    with pytest.raises(UserError, match=r"image x: cannot be read \(No such file"):
        image_format(tmp_path / "none.png", "x", max_pixels=100)


def test_pictures_are_opened_in_one_place() -> None:
    sources = [
        file for top in ("shared", "services", "perl_rl") for file in (ROOT / top).rglob("*.py")
    ]
    opening = [file for file in sources if "Image.open(" in file.read_text(encoding="utf-8")]
    assert opening == [ROOT / "shared" / "images.py"]


def test_a_damaged_picture_is_refused_without_warnings_beside_it() -> None:
    script = """
import io
from PIL import Image
from shared.errors import UserError
from shared.images import decode_image
kept = io.BytesIO()
Image.new("RGB", (64, 64)).save(kept, "TIFF")
data = kept.getvalue()
for size in (12, 30, 100, len(data) // 2, len(data) - 20):
    try:
        decode_image(data[:size], "x.tiff", 10**6)
    except UserError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout.count("image x.tiff: "), done.stderr) == (5, "")
