"""A benchmark's questions out to ``perl-rl data label``, and its labels back in.

What moving the images does to an answer, the benchmarks' own readers tell of few questions
(``items.py``, ``image_options``); labels tell it of the rest.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from perl_rl.data.files import save
from perl_rl.eval.items import Item
from shared.errors import UserError
from shared.sample import Sample, read_samples


def write_samples(items: Sequence[Item], file: Path) -> None:
    """Write the questions as JSON lines of samples, images relative to the file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    save([item.sample for item in items], file)


def with_order_rules(items: Sequence[Item], file: Path) -> list[Item]:
    """The items with the order rule, and the fixed images, of the sample of the same id.

    The file alone decides: an item that it lacks, or gives no rule, is never permuted.

    Raises:
        UserError: when the file is no file of samples, has none of the items, or asks another
            question under an item's id.
    """
    labelled = {sample.id: sample for sample in read_samples(file)}
    if not any(item.sample.id in labelled for item in items):
        raise UserError(
            f"{file}: labels none of the {len(items)} questions; write them by perl-rl eval "
            "samples, and label that file"
        )
    return [_labelled(item, labelled.get(item.sample.id), file) for item in items]


def _labelled(item: Item, label: Sample | None, file: Path) -> Item:
    sample = item.sample
    if label is not None and (label.question, label.answer) != (sample.question, sample.answer):
        raise UserError(
            f"{file}: sample '{sample.id}' is another question than the benchmark's; write them "
            "by perl-rl eval samples with the same --data, --split and --limit, and label that file"
        )
    changes = {"order": label and label.order, "fixed": label.fixed if label else ()}
    return replace(item, sample=sample.model_copy(update=changes))
