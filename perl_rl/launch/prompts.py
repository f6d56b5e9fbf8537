"""Renders every prompt as the run will, and refuses those that the run could not ask.

``python -m perl_rl.launch.prompts`` reads a `Job` on standard input and writes `Said`s on standard
output, one a line. It is a process of its own, for it loads torch; `prompt_process.py` starts it.
"""

import gc
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel

from shared.config import ModelConfig
from shared.errors import UserError
from shared.prompting import render, special_token_in
from shared.words import amount

_RENDERED_AT_ONCE = 64


class Prompt(BaseModel):
    """One question to render."""

    place: str
    """File, row and sample, for messages."""
    question: str
    sizes: tuple[tuple[int, int], ...]
    """Height and width of each image."""
    room: int
    """The longest prompt that leaves room for the answer, in tokens."""
    room_of: str
    """The settings that `room` comes from."""


class Job(BaseModel):
    """The prompts of one run."""

    model: ModelConfig
    instruction: str
    prompts: tuple[Prompt, ...]


class Said(BaseModel):
    """What the process says: what it has rendered, or at its end why it refuses a prompt."""

    lengths: tuple[int, ...] = ()
    """Tokens of each prompt that was rendered since the last one."""
    refused: str | None = None


def check_prompts(job: Job, say: Callable[[Said], None] = lambda said: None) -> list[int]:
    """Render and tokenize all prompts; returns the length of each in tokens.

    Raises:
        UserError: naming the first sample that holds a special token of the model, shows an image
            that its processor refuses, or is longer than the engine takes.
    """
    processor = _load_processor(job.model)
    gc.enable()
    if token := special_token_in(processor, job.instruction):
        raise UserError(f"data.instruction: holds the model's special token {token}; leave it out")
    lengths: list[int] = []
    for some in _rendered(processor, job):
        found = [_check(processor, prompt, token_ids) for prompt, token_ids in some]
        say(Said(lengths=tuple(found)))
        lengths += found
    return lengths


def _rendered(processor: Any, job: Job) -> Iterator[list[tuple[Prompt, list[int]]]]:
    """Some prompts at a time with their token ids; one placeholder stands for each image."""
    for start in range(0, len(job.prompts), _RENDERED_AT_ONCE):
        several = job.prompts[start : start + _RENDERED_AT_ONCE]
        texts = [_text(processor, one, job) for one in several]
        token_ids = processor.tokenizer(texts, verbose=False)["input_ids"]
        yield list(zip(several, token_ids, strict=True))


def _text(processor: Any, prompt: Prompt, job: Job) -> str:
    try:
        return render(processor, prompt.question, job.instruction)
    except Exception as error:  # What a template may raise is not defined.
        short = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.path {job.model.path}: its chat template cannot be used ({short}); copy the "
            "template of the model's instruction-tuned release there (chat_template.jinja)"
        ) from None


def _check(processor: Any, prompt: Prompt, token_ids: list[int]) -> int:
    """The length of the prompt in tokens, with those of its images."""
    if token := special_token_in(processor, prompt.question):
        raise UserError(
            f"{prompt.place}: the question holds the model's special token {token}; write it in "
            "other words or leave the sample out"
        )
    places = token_ids.count(processor.image_token_id)
    if places != len(prompt.sizes):
        raise UserError(
            f"{prompt.place}: the chat template gives {places} places for {len(prompt.sizes)} "
            "images; use the model's own template"
        )
    length = len(token_ids) - places
    for number, (height, width) in enumerate(prompt.sizes, start=1):
        try:
            length += _image_tokens(processor.image_processor, height, width)
        except ValueError as error:
            raise UserError(
                f"{prompt.place}: the model's processor refuses image {number}, of "
                f"{width}x{height} pixels ({error}); crop it or leave the sample out"
            ) from None
    if length > prompt.room:
        raise UserError(
            f"{prompt.place}: its prompt has {amount(length, 'token')}, more than {prompt.room} "
            f"({prompt.room_of}); raise rollout.engine.max_model_len, lower model.max_pixels or "
            "leave the sample out"
        )
    return length


@cache
def _image_tokens(image_processor: Any, height: int, width: int) -> int:
    """Tokens of an image.

    Raises:
        ValueError: when the processor refuses an image of this size.
    """
    patches: int = image_processor.get_number_of_image_patches(height, width, {})
    return patches // int(image_processor.merge_size) ** 2


def _load_processor(model: ModelConfig) -> Any:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(
            model.path, trust_remote_code=model.trust_remote_code, **model.pixel_bounds()
        )
    except Exception as error:  # What a damaged file raises is not defined.
        short = " ".join(str(error).split())[:200]
        raise UserError(
            f"model.path {model.path}: its tokenizer and image processor cannot be loaded "
            f"({type(error).__name__}: {short}); copy the model again"
        ) from None
    if not hasattr(processor, "image_processor"):
        raise UserError(f"model.path {model.path}: its processor takes no images; name another")
    return processor


def main() -> int:
    """``python -m perl_rl.launch.prompts``."""
    # The parent says what there is to say about an interruption.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # What is imported stays: looking for garbage meanwhile would be a quarter of the start.
    gc.disable()
    import transformers

    transformers.logging.set_verbosity_error()
    text = sys.stdin.read()
    if not text:
        return 1

    def say(said: Said) -> None:
        print(said.model_dump_json(), flush=True)

    try:
        check_prompts(Job.model_validate_json(text), say)
    except UserError as error:
        say(Said(refused=str(error)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
