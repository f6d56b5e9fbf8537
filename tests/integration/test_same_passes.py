"""Ranks that share parameters make the same number of passes: two real gloo ranks, no model."""

import json
import subprocess
import sys
from pathlib import Path

RANK = """
import sys
from types import SimpleNamespace
import torch
from torch import distributed
from services.trainer.compute.packing import PackedBatch
from services.trainer.compute.step import Stepper

rank, meeting, owned = int(sys.argv[1]), sys.argv[2], [[1], [1, 3]]
distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
empty = torch.empty(0)
batches = [
    PackedBatch(empty, empty, [None] * chunks)
    for chunks in owned[rank]
]
trainer = SimpleNamespace(objective=None)
record = SimpleNamespace(share=0.0)
config = SimpleNamespace(trainer=trainer, sampling=SimpleNamespace(max_tokens=1), record=record)
stepper = Stepper(None, None, config, torch.device("cpu"))
same = stepper._same_everywhere(batches)
print([[len(batch.chunks) + batch.idle_passes, real] for batch, real in same])
distributed.destroy_process_group()
"""


def test_a_rank_with_fewer_and_smaller_batches_keeps_step(tmp_path: Path) -> None:
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, str(rank), str(tmp_path / "meeting")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [rank.communicate(timeout=120)[0] for rank in ranks]
    passes = [json.loads(one.strip().splitlines()[-1].lower()) for one in said]
    assert passes == [[[1, True], [3, False]], [[1, True], [3, True]]]
