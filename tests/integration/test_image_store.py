"""Images by their hash on a real Redis: each fetched once, kept within bounds, checked."""

import io
from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from PIL import Image

from shared.errors import UserError
from shared.images import digest
from shared.service.connection import connect
from shared.wire.image_store import ImageMissing, ImageStore
from shared.wire.keys import Keys

KEYS = Keys("image-test")
SIDE = 16
HELD = SIDE * SIDE * 3
"""Bytes of one decoded picture."""


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = await connect(redis_url, timeout_s=10)
    yield client
    await client.aclose()


async def put(client: redis.asyncio.Redis, *shades: int) -> list[str]:
    """Store pictures of these shades; their names."""
    pictures = {digest(picture(shade)): picture(shade) for shade in shades}
    for name, data in pictures.items():
        await client.set(KEYS.image_prefix + name, data)
    return list(pictures)


def store(client: redis.asyncio.Redis, pictures: int = 10, max_pixels: int = 10_000) -> ImageStore:
    return ImageStore(client, KEYS, max_pixels, cache_bytes=pictures * HELD)


def shades(images: list[Image.Image]) -> list[int]:
    return [image.getpixel((0, 0))[0] for image in images]


async def test_images_come_in_the_order_asked(client: redis.asyncio.Redis) -> None:
    one, two, three = await put(client, 1, 2, 3)
    images = store(client)
    assert shades(await images.get([three, one, three, two])) == [3, 1, 3, 2]
    assert await images.get([]) == []


async def test_an_image_crosses_the_wire_once(client: redis.asyncio.Redis) -> None:
    names = await put(client, 1, 2)
    images = store(client)
    await images.get([names[0], names[0]])
    assert images.fetched_bytes == len(picture(1))
    await images.get(names)
    assert images.fetched_bytes == len(picture(1)) + len(picture(2))
    await client.flushall()
    assert shades(await images.get(names)) == [1, 2]


async def test_the_least_recently_used_image_makes_room(client: redis.asyncio.Redis) -> None:
    one, two, three = await put(client, 1, 2, 3)
    images = store(client, pictures=2)
    await images.get([one, two])
    await images.get([one])
    await images.get([three])
    await client.flushall()
    assert shades(await images.get([one, three])) == [1, 3]
    with pytest.raises(ImageMissing):
        await images.get([two])


async def test_more_images_than_fit_are_still_returned(client: redis.asyncio.Redis) -> None:
    names = await put(client, *range(8))
    assert shades(await store(client, pictures=2).get(names)) == list(range(8))


async def test_a_missing_image_is_named(client: redis.asyncio.Redis) -> None:
    (name,) = await put(client, 1)
    with pytest.raises(ImageMissing, match=r"image 0000.* is not in Redis"):
        await store(client).get([name, "0" * 64])


async def test_other_bytes_under_a_name_are_not_used(client: redis.asyncio.Redis) -> None:
    (name,) = await put(client, 1)
    await client.set(KEYS.image_prefix + name, picture(2))
    with pytest.raises(ImageMissing, match="does not match its SHA-256"):
        await store(client).get([name])


async def test_a_picture_that_is_too_large_is_refused(client: redis.asyncio.Redis) -> None:
    (name,) = await put(client, 1)
    with pytest.raises(UserError, match=f"image {name[:12]}: 16x16 pixels"):
        await store(client, max_pixels=100).get([name])
