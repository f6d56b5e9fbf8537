"""A question with its images as a language model behind an endpoint is asked it."""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from shared.chat import image_part
from shared.images import PILLOW_MAX_PIXELS, image_bytes, portable
from shared.prompting import messages
from shared.seeds import derive

Message = dict[str, Any]

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
    return image_part(*portable(image_bytes(Path(image)), image, PILLOW_MAX_PIXELS))
