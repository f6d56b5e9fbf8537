"""Putting a question about a sample to a language model until its answer makes sense."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image
from pydantic import BaseModel, ValidationError

from shared.chat import ChatEndpoint, image_part
from shared.images import PILLOW_MAX_PIXELS, image_bytes, image_format
from shared.prompting import messages
from shared.sample import IMAGE_TAG, Sample
from shared.seeds import derive

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)
Message = dict[str, Any]

_LATER_TEMPERATURE = 0.7
# Some servers take 32 bits only.
_SEEDS = 2**31


class Nonsense(ValueError):
    """An answer that cannot be used; the message is the reason, to be counted."""


def read_json(text: str, shape: type[Shape]) -> Shape:
    """The one JSON object that an answer consists of; a code fence around it does not count.

    Raises:
        Nonsense: when it is no JSON, or not of that shape.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removesuffix("```").partition("\n")[2]
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise Nonsense("not_json") from None
    try:
        return shape.model_validate(row)
    except ValidationError:
        raise Nonsense("wrong_fields") from None


async def ask_until_sense(
    endpoint: ChatEndpoint,
    asked: list[Message],
    read: Callable[[str], T],
    *,
    seed: tuple[int | str, ...],
    tries: int,
    temperature: float,
    max_tokens: int,
) -> tuple[T | None, list[str]]:
    """What `read` makes of the first answer that makes sense, and why earlier ones did not.

    None when no try made sense. Tries differ by their seed; where `temperature` is 0, later ones
    are sampled.
    """
    reasons: list[str] = []
    for number in range(tries):
        text = await endpoint.ask(
            asked,
            max_tokens=max_tokens,
            temperature=temperature if number == 0 else max(temperature, _LATER_TEMPERATURE),
            seed=short_seed(*seed, number),
        )
        try:
            return read(text), reasons
        except Nonsense as nonsense:
            reasons.append(str(nonsense))
    return None, reasons


def short_seed(*parts: int | str) -> int:
    """A seed of 31 bits that depends on every part."""
    return derive(*parts) % _SEEDS


async def about(sample: Sample, instruction: str) -> list[Message]:
    """Messages that show a sample's images, then its text with ``[image 1]`` for the image tags.

    Marks in place of tags: some models' chat templates would take the tag for an image.
    """
    images = await asyncio.to_thread(image_parts, sample)
    text = f"Question:\n{marked(sample.question)}\n\nRight answer: {sample.answer}"
    parts = [*images, {"type": "text", "text": text}]
    return [{"role": "system", "content": instruction}, {"role": "user", "content": parts}]


async def as_asked(sample: Sample, instruction: str) -> list[Message]:
    """The user turn of a rollout: images where the question has its tags."""
    parts = iter(await asyncio.to_thread(image_parts, sample))
    turn = messages(sample.question, instruction)[0]
    content = [next(parts) if part["type"] == "image" else part for part in turn["content"]]
    return [{"role": "user", "content": content}]


def image_parts(sample: Sample) -> list[Message]:
    """The images as parts of a message, in order.

    Raises:
        UserError: naming the file that cannot be read or is no picture.
    """
    return [_image_part(Path(image)) for image in sample.images]


def marked(question: str) -> str:
    """The text with ``[image 1]``, ``[image 2]``, ... in place of the image tags."""
    first, *others = question.split(IMAGE_TAG)
    return first + "".join(f"{mark(place)}{text}" for place, text in enumerate(others))


def mark(place: int) -> str:
    """What stands for the image at `place`, counted from 0."""
    return f"[image {place + 1}]"


def _image_part(file: Path) -> Message:
    data = image_bytes(file)
    return image_part(data, Image.MIME[image_format(data, str(file), PILLOW_MAX_PIXELS)])
