"""Every kind of picture has the same, right pixels on every path that reads one."""

import base64
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import redis.asyncio
from PIL import Image, ImageOps

from perl_rl.asking import image_parts
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row as EvalRow
from shared.errors import UserError
from shared.formats import ImageFolder
from shared.formats.rows import Row
from shared.images import ImageTooThin, decode_image, portable, to_rgb
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from tests.picture_kinds import TURNS, drawn, encoded, kinds, rgb, turned

LIMIT = 200_000
KINDS = list(kinds())


@pytest.mark.parametrize(("data", "shown"), [k[1:] for k in KINDS], ids=[k[0] for k in KINDS])
def test_a_picture_of_any_kind_shows_its_pixels(data: bytes, shown: np.ndarray) -> None:
    seen = np.asarray(decode_image(data, "x", LIMIT)).astype(int)
    assert seen.shape == rgb(shown).shape
    assert np.abs(seen - rgb(shown)).max() <= 1


@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_jpeg_is_shown_upright_and_not_turned_again(orientation: int) -> None:
    picture = decode_image(turned("JPEG", orientation), "x", LIMIT)
    assert np.abs(np.asarray(picture).astype(int) - rgb(TURNS[orientation])).max() < 60
    again = ImageOps.exif_transpose(picture)
    assert picture.info == {} and again.tobytes() == picture.tobytes()


def test_damaged_exif_leaves_the_picture_as_it_lies() -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\xff\xff\xff\xff"
    data = encoded(Image.new("RGB", (6, 4), "red"), "JPEG", exif=exif)
    assert decode_image(data, "x", LIMIT).size == (6, 4)


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (6000, 25)])
def test_a_picture_too_long_and_thin_for_a_processor_is_refused(size: tuple[int, int]) -> None:
    data = encoded(Image.new("RGB", size), "PNG")
    with pytest.raises(ImageTooThin, match=rf"image x: {size[0]}x{size[1]} pixels, one side more"):
        decode_image(data, "x", 10**6)


@pytest.mark.parametrize("size", [(200, 1), (1, 200), (1, 1)])
def test_a_picture_just_not_too_thin_is_read(size: tuple[int, int]) -> None:
    assert decode_image(encoded(Image.new("RGB", size), "PNG"), "x", LIMIT).size == size


def naive(data: bytes) -> Image.Image:
    """A reader that knows nothing of turns, grounds and ranges."""
    return Image.open(io.BytesIO(data)).convert("RGB")


@pytest.mark.parametrize("data", [k[1] for k in KINDS], ids=[k[0] for k in KINDS])
def test_any_reader_sees_the_same_pixels_in_what_an_endpoint_is_sent(data: bytes) -> None:
    sent, media_type = portable(data, "x", LIMIT)
    assert media_type in ("image/png", "image/jpeg", "image/webp")
    assert naive(sent).tobytes() == decode_image(data, "x", LIMIT).tobytes()


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP"])
def test_plain_pictures_are_sent_as_they_are(format_: str) -> None:
    data = encoded(Image.linear_gradient("L").convert("RGB"), format_)
    assert portable(data, "x", LIMIT) == (data, f"image/{format_.lower()}")


def test_pictures_in_memory_are_read_the_same() -> None:
    assert to_rgb(drawn()).tobytes() == decode_image(encoded(drawn(), "PNG"), "x", LIMIT).tobytes()


@pytest.fixture
def paths(tmp_path: Path, redis_url: str) -> dict[str, Callable[[bytes], Image.Image]]:
    """Every path on which the project reads a picture, from its bytes to its pixels."""
    import anyio

    from perl_rl.eval import models

    def file(data: bytes) -> Path:
        path = tmp_path / f"{hashlib.sha256(data).hexdigest()}.any"
        path.write_bytes(data)
        return path

    async def stored(data: bytes) -> Image.Image:
        client = redis.asyncio.Redis.from_url(redis_url)
        keys, name = Keys("test"), hashlib.sha256(data).hexdigest()
        await client.set(keys.image_prefix + name, data)
        [picture] = await ImageStore(client, keys, LIMIT, 1 << 20).get([name])
        await client.aclose()
        return picture

    def sent(data: bytes) -> Image.Image:
        async def parts() -> str:
            [part] = await image_parts([str(file(data))])
            return str(part["image_url"]["url"])

        return naive(base64.b64decode(anyio.run(parts).partition(",")[2]))

    def prepared(data: bytes) -> Image.Image:
        kept = ImageFolder(tmp_path / "kept", LIMIT)
        row = Row(tmp_path / "train.jsonl", 1, {})
        cell = {"bytes": base64.b64encode(data).decode()}
        [path] = kept.files(cell, row, "images", tmp_path)
        return decode_image(Path(path), path, LIMIT)

    def benchmark(data: bytes) -> Image.Image:
        row = EvalRow(tmp_path / "test.json", 1, {})
        return models._opened(Pictures(tmp_path / "kept").keep(data, row, "image"))

    return {
        "sampler and trainer": lambda data: anyio.run(stored, data),
        "evaluation by endpoint": sent,
        "evaluation by model": benchmark,
        "evaluation before and after training": lambda data: decode_image(file(data), "x", LIMIT),
        "data preparation": prepared,
    }


@pytest.mark.parametrize("data", [k[1] for k in KINDS], ids=[k[0] for k in KINDS])
def test_the_same_bytes_give_the_same_pixels_on_every_path(
    paths: dict[str, Callable[[bytes], Image.Image]], data: bytes
) -> None:
    pixels = {path: (read(data).size, read(data).tobytes()) for path, read in paths.items()}
    assert len(set(pixels.values())) == 1, {path: size for path, (size, _) in pixels.items()}


def test_bad_pictures_are_refused_in_one_line_on_every_path(
    paths: dict[str, Callable[[bytes], Image.Image]],
) -> None:
    thin = encoded(Image.new("RGB", (6000, 25)), "PNG")
    cut = encoded(Image.linear_gradient("L"), "PNG")[:-400]
    for read in paths.values():
        for data, words in ((thin, "6000x25 pixels"), (cut, "cannot be decoded")):
            with pytest.raises(UserError, match=words) as error:
                read(data)
            assert "\n" not in str(error.value)
