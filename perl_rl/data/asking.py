"""Putting a question about a sample to a language model until its answer makes sense."""

import json
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from perl_rl.asking import Message, image_parts, short_seed
from shared.chat import ChatEndpoint
from shared.sample import IMAGE_TAG, Sample

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)

_LATER_TEMPERATURE = 0.7


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


async def about(sample: Sample, instruction: str) -> list[Message]:
    """Messages that show a sample's images, then its text with ``[image 1]`` for the image tags.

    Marks in place of tags: some models' chat templates would take the tag for an image.
    """
    images = await image_parts(sample.images)
    text = f"Question:\n{marked(sample.question)}\n\nRight answer: {sample.answer}"
    parts = [*images, {"type": "text", "text": text}]
    return [{"role": "system", "content": instruction}, {"role": "user", "content": parts}]


def marked(question: str) -> str:
    """The text with ``[image 1]``, ``[image 2]``, ... in place of the image tags."""
    first, *others = question.split(IMAGE_TAG)
    return first + "".join(f"{mark(place)}{text}" for place, text in enumerate(others))


def mark(place: int) -> str:
    """What stands for the image at `place`, counted from 0."""
    return f"[image {place + 1}]"
