"""Writes a benchmark's questions for ``perl-rl data label``, and reads the labels back.

The benchmarks' readers know the order rule of few questions (``image_options`` in ``items.py``);
labels add it for the others.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perl_rl.data.files import save
from perl_rl.eval.items import Item
from shared.errors import UserError
from shared.sample import Sample, read_samples
from shared.words import amount


def write_samples(items: Sequence[Item], file: Path) -> None:
    """Write the questions as JSON lines of samples, images named relative to the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save([item.sample for item in items], file)


def with_order_rules(items: Sequence[Item], file: Path) -> list[Item]:
    """The items, each with the order rule and fixed images of the file's sample of the same id.

    Only the file decides: an item that it lacks or gives no rule is never permuted.

    Raises:
        UserError: when the file holds no samples, none of the items, or another question under
            an item's id.
    """
    labelled = {sample.id: sample for sample in read_samples(file)}
    if not any(item.sample.id in labelled for item in items):
        raise UserError(
            f"{file}: labels none of the {amount(len(items), 'question')}; write the questions "
            "with "
            "perl-rl eval samples and label that file"
        )
    return [_labelled(item, labelled.get(item.sample.id), file) for item in items]


def _labelled(item: Item, label: Sample | None, file: Path) -> Item:
    sample = item.sample
    if label is not None and (label.question, label.answer) != (sample.question, sample.answer):
        raise UserError(
            f"{file}: sample '{sample.id}' is another question than the benchmark's; write the "
            "questions with perl-rl eval samples, with the same --data, --split and --limit, and "
            "label that file"
        )
    changes = {"order": label and label.order, "fixed": label.fixed if label else ()}
    return replace(item, sample=sample.model_copy(update=changes))
