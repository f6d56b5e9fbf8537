"""Measure the CPU time that the recorder takes for one group, part by part; no engine is needed.

    python -m bench.record_parts [--tokens 24 300 1000]

Each group has two orders with six responses of so many tokens.
"""

import argparse
import tempfile
import time
from pathlib import Path

import msgpack
import numpy as np

from services.trainer.control.record_folder import History, RecordFolder
from services.trainer.control.record_rows import group_row
from shared.config import ObjectiveConfig
from shared.wire.messages import PolicyVersion, ScoredGroup, TrainedResponses, VersionSpan, encode
from shared.wire.settled import RawRecord, settled_group
from tests.group_records import made_up_group

GROUPS, A_STEP = 64, 16
IMAGES = [[f"{number:064d}" for number in range(3)]]


def main() -> None:
    """Print a line for each length."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[24, 300, 1000])
    for tokens in parser.parse_args().tokens:
        print(measure(tokens), flush=True)


def measure(tokens: int) -> str:
    """Milliseconds of CPU and kilobytes a group."""
    entries = [entry(number, tokens) for number in range(GROUPS)]
    start = time.process_time()
    groups = [settled_group(one) for one in entries]
    decoded = time.process_time()
    rows = [group_row(one, "bench", ObjectiveConfig(), tokens=True) for one in groups]
    built = time.process_time()
    with tempfile.TemporaryDirectory() as name:
        folder = RecordFolder(Path(name), keep_steps=None)
        folder.open()
        opened = time.process_time()
        for first in range(0, GROUPS, A_STEP):
            folder.add(rows[first : first + A_STEP], History({}, 0, 1))
        written = time.process_time()
        size = sum(file.stat().st_size for file in (Path(name) / "groups").iterdir())
    times = (decoded - start, built - decoded, written - opened)
    decode, row, write = (1000 * one / GROUPS for one in times)
    return (
        f"{tokens:5} tokens a response: decode {decode:.2f} ms + row {row:.2f} ms + write "
        f"{write:.2f} ms = {decode + row + write:.2f} ms CPU a group; "
        f"{size / GROUPS / 1000:.1f} kB on the disk"
    )


def entry(number: int, tokens: int) -> RawRecord:
    """A trained group as it waits on the stream."""
    made = made_up_group(number, number // A_STEP + 1, IMAGES, orders=2, n=6, dropped=False)
    rng, version = np.random.default_rng(number), made.tasks[0].issued_at
    orders = []
    for order in made.orders:
        responses = tuple(
            one.model_copy(update=_tokens(rng, tokens, version)) for one in order.batch.responses
        )
        batch = order.batch.model_copy(update={"responses": responses})
        orders.append(order.model_copy(update={"batch": batch}))
    sampled = [one.logprobs for order in orders for one in order.batch.responses]
    figures = TrainedResponses(version=version, logprobs=tuple(one + 0.01 for one in sampled))
    group = ScoredGroup(group_id=made.group_id, orders=tuple(orders))
    tasks = [encode(task) for task in made.tasks]
    fields = {
        "group": made.group_id.encode(),
        "state": made.state.encode(),
        "incarnation": b"1",
        "step": str(made.step).encode(),
        "stream": b"perl:bench:groups",
        "entry": b"1790000000000-0",
        "figures": encode(figures),
        "tasks": msgpack.packb([1_790_000_000_000, tasks]),
        "part1": encode(group),
    }
    return RawRecord("1790000000000-1", {name.encode(): data for name, data in fields.items()})


def _tokens(rng: np.random.Generator, tokens: int, version: PolicyVersion) -> dict[str, object]:
    return {
        "token_ids": rng.integers(0, 150_000, tokens).astype(np.int32),
        "logprobs": -rng.exponential(0.5, tokens).astype(np.float32),
        "versions": (VersionSpan(version=version, tokens=tokens),),
        "text": "word " * tokens,
    }


if __name__ == "__main__":
    main()
