"""``perl-rl permute``: prints samples in several orders of their images, with each order's answer.

One line for each order, the original one first. A sample that must not be permuted gets one line
with the reason and the words that prevent it. An evaluation with the same seed asks the same
orders. The totals, by reason, go to standard error.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from perl_rl.eval.robustness import orders_to_ask
from shared.permutation import apply_order, read
from shared.sample import Sample, read_samples
from shared.words import amount


def main(file: Path, orders: int, seed: int) -> int:
    """Write the orders of all samples in `file` to standard output; returns the exit status."""
    permute_file(file, orders, seed, sys.stdout, sys.stderr)
    return 0


def permute_file(file: Path, orders: int, seed: int, out: TextIO, totals: TextIO) -> None:
    """Write up to `orders` different orders of each sample to `out`, and counts to `totals`.

    Raises:
        UserError: naming file, line and field of a row that is not a sample.
    """
    samples, written, refused = read_samples(file), 0, Counter[str]()
    for sample in samples:
        for line in _lines(sample, orders, seed):
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            if "refused" in line:
                refused[line["refused"]] += 1
            else:
                written += 1
    kept = len(samples) - refused.total()
    print(
        f"{amount(len(samples), 'sample')}: {kept} permuted, {amount(written, 'order')}",
        file=totals,
    )
    for reason, count in refused.most_common():
        print(f"  not permuted: {count} {reason}", file=totals)


def _lines(sample: Sample, orders: int, seed: int) -> Iterator[dict[str, Any]]:
    reading = read(sample)
    if reading.reason is not None:
        words = {"text": reading.text} if reading.text else {}
        yield {"id": sample.id, "refused": reading.reason, **words}
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
