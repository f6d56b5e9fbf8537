"""Asking a language model about a sample until its answer makes sense."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from perl_rl.asking import Message, image_parts, short_seed
from shared.chat import ChatEndpoint
from shared.jsonlines import NotJson, parse_json
from shared.sample import IMAGE_TAG, Sample

T = TypeVar("T")
Shape = TypeVar("Shape", bound=BaseModel)

_LATER_TEMPERATURE = 0.7


class Nonsense(ValueError):
    """An answer that cannot be used. The message is the reason that the report counts."""


def read_json(text: str, shape: type[Shape]) -> Shape:
    """Parse an answer that is one JSON object, with or without a code fence around it.

    Raises:
        Nonsense: when it is not JSON, or has other fields than `shape`.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.removesuffix("```").partition("\n")[2]
    try:
        row = parse_json(text)
    except NotJson:
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
    """Ask up to `tries` times, until `read` accepts an answer.

    Each try has its own seed. After the first, the temperature is at least 0.7, so that a greedy
    model does not repeat itself.

    Returns what `read` made of the answer, or None when it accepted none, and the reasons why
    it refused the others.
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

    The tags themselves would not do: some chat templates replace them by images.
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
    """The mark for the image at `place`, counted from 0."""
    return f"[image {place + 1}]"
