"""A question with its images as a language model behind an endpoint is asked it."""

import asyncio
import io
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from shared.chat import image_part
from shared.errors import UserError
from shared.images import FORMATS, png_bytes
from shared.prompting import messages
from shared.seeds import derive

Message = dict[str, Any]

# What endpoints are known to read; other pictures are sent as PNG.
_SENT_AS_IS = ("PNG", "JPEG", "WEBP")
_CACHED_IMAGES = 256
# Some servers take 32 bits only.
_SEEDS = 2**31


async def as_asked(question: str, images: Sequence[str], instruction: str) -> list[Message]:
    """The user turn of a rollout, with each image in the place of its tag.

    Raises:
        UserError: naming the image file that cannot be read.
    """
    parts = iter(await image_parts(images))
    [turn] = messages(question, instruction)
    content = [next(parts) if part["type"] == "image" else part for part in turn["content"]]
    return [{"role": "user", "content": content}]


async def image_parts(images: Sequence[str]) -> list[Message]:
    """The image files as parts of a message, in order.

    Raises:
        UserError: naming the image file that cannot be read.
    """
    return await asyncio.to_thread(lambda: [_part(image) for image in images])


def short_seed(*parts: int | str) -> int:
    """A seed of 31 bits that depends on every part."""
    return derive(*parts) % _SEEDS


@lru_cache(maxsize=_CACHED_IMAGES)
def _part(image: str) -> Message:
    try:
        data = Path(image).read_bytes()
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            if picture.format in _SENT_AS_IS:
                return image_part(data, Image.MIME[picture.format])
            return image_part(png_bytes(picture.convert("RGB")))
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(
            f"image {image}: no picture in a known format ({known}); run perl-rl data filter, "
            "which drops its sample"
        ) from None
    except (OSError, ValueError, SyntaxError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"image {image}: cannot be read ({why}); replace the file") from None
