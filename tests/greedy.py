"""Greedy answers of a saved model in plain transformers: what the engine's are compared with."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from perl_rl.eval.robustness import (
    ItemAnswers,
    OrderRobustness,
    item_answers,
    measure_robustness,
    orders_to_ask,
    permutable,
)
from shared.errors import UserError
from shared.images import PILLOW_MAX_PIXELS, decode_image
from shared.permutation import RenderedOrder, apply_order
from shared.prompting import render
from shared.sample import Sample

_BATCH = 64


def evaluate_folder(
    folder: Path,
    samples: Sequence[Sample],
    instruction: str,
    orders: int,
    max_tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> OrderRobustness:
    """Ask the model in `folder` every sample in up to `orders` orders; measure its robustness."""
    model, processor = load(folder)
    kept, excluded = permutable(samples)
    items = answers_by_item(model, processor, kept, instruction, orders, max_tokens, progress)
    return measure_robustness(items, excluded)


def load(folder: Path) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Model and processor saved in `folder`; in fp32, so that rounding decides no ties.

    Raises:
        UserError: when there is no model in the folder.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: holds no model (config.json is missing); check the path")
    model = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True
    )
    return model.eval(), AutoProcessor.from_pretrained(folder)


def answers_by_item(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    samples: Sequence[Sample],
    instruction: str,
    orders: int,
    max_tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ItemAnswers]:
    """The samples, which must be permutable, each with its answers under its orders."""
    permutations = [orders_to_ask(sample, orders, seed=0) for sample in samples]
    asked = [
        apply_order(sample, permutation)
        for sample, several in zip(samples, permutations, strict=True)
        for permutation in several
    ]
    responses = iter(answer(model, processor, asked, instruction, max_tokens, progress))
    return [
        item_answers(sample, several, [next(responses) for _ in several])
        for sample, several in zip(samples, permutations, strict=True)
    ]


def answer(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    asked: Sequence[RenderedOrder],
    instruction: str,
    max_tokens: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """The greedy response to each rendered question, in the order given."""
    # Prompts with as many images share a batch: less padding.
    places = sorted(range(len(asked)), key=lambda place: len(asked[place].images))
    responses = [""] * len(asked)
    for start in range(0, len(places), _BATCH):
        chunk = places[start : start + _BATCH]
        texts = _generate(
            model, processor, [asked[place] for place in chunk], instruction, max_tokens
        )
        for place, text in zip(chunk, texts, strict=True):
            responses[place] = text
        progress(start + len(chunk), len(places))
    return responses


@torch.no_grad()
def _generate(
    model: PreTrainedModel,
    processor: ProcessorMixin,
    asked: Sequence[RenderedOrder],
    instruction: str,
    max_tokens: int,
) -> list[str]:
    texts = [render(processor, one.question, instruction) for one in asked]
    images = [
        [decode_image(Path(path), path, PILLOW_MAX_PIXELS) for path in one.images] for one in asked
    ]
    inputs = processor(
        text=texts, images=images, padding=True, padding_side="left", return_tensors="pt"
    ).to(model.device)
    output = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
    new = output[:, inputs["input_ids"].shape[1] :]
    return processor.batch_decode(new, skip_special_tokens=True)
