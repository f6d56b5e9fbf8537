"""``perl-rl permute``: orders of each sample's images, with the answer as it is in that order.

One line for each order, the original one first, or one line with the reason why a sample must not
be permuted. These are the orders that an evaluation with the same seed asks.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from perl_rl.eval.robustness import orders_to_ask
from shared.errors import UserError
from shared.permutation import apply_order, refusal
from shared.sample import Sample, read_samples


def main(file: Path, orders: int, seed: int) -> int:
    """Write the orders of all samples in `file` to standard output; returns the exit status."""
    permute_file(file, orders, seed, sys.stdout)
    return 0


def permute_file(file: Path, orders: int, seed: int, out: TextIO) -> None:
    """Write up to `orders` distinct orders of each sample to `out`, all where there are fewer.

    Raises:
        UserError: naming file, line and field of a row that is no sample.
    """
    if orders < 1:
        raise UserError(f"--orders {orders}: must be at least 1 (the original order is one)")
    for sample in read_samples(file):
        out.writelines(
            json.dumps(line, ensure_ascii=False) + "\n" for line in _lines(sample, orders, seed)
        )


def _lines(sample: Sample, orders: int, seed: int) -> Iterator[dict[str, Any]]:
    reason = refusal(sample)
    if reason is not None:
        yield {"id": sample.id, "refused": reason}
        return
    for index, permutation in enumerate(orders_to_ask(sample, orders, seed)):
        rendered = apply_order(sample, permutation)
        yield {
            "id": sample.id,
            "order": index,
            "permutation": permutation,
            "question": rendered.question,
            "images": rendered.images,
            "answer": rendered.answer,
            "kind": sample.kind,
        }
