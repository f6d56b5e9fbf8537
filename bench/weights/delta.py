"""The size of a delta between two steps of the demo's model."""

import statistics
from pathlib import Path

import torch

from bench.facts import Figures
from bench.weights.rates import BUCKET
from perl_rl.demo.model import build_processor
from perl_rl.demo.run import CONFIG as DEMO
from perl_rl.demo.teach import Lesson, teach
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import load_config
from shared.wire.messages import PolicyVersion


def delta_size(folder: Path, steps: int = 12) -> Figures:
    """The largest delta of some steps, as a share of the whole version."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    start = load_config(DEMO).model.path
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    spool = WeightSpool(folder, BUCKET, 2, chain=2, full_every=10**9)
    shares: list[float] = []
    changed: list[float] = []
    last: list[torch.Tensor] = []

    def publish(step: int, _: float = 0.0) -> None:
        named = [(name, one.detach().bfloat16()) for name, one in model.named_parameters()]
        manifest = spool.write(PolicyVersion(incarnation=1, step=step), named)
        if last:
            moved = sum(int((a != b).sum()) for a, (_, b) in zip(last, named, strict=True))
            changed.append(moved / sum(one.numel() for one in last))
            sizes = [one.nbytes for one in manifest.deltas if one.version == manifest.version]
            # A delta that is not worth its bytes is not made.
            shares.append((sizes[0] if sizes else manifest.nbytes) / manifest.nbytes)
        last[:] = [one for _, one in named]

    publish(0)
    lesson = Lesson(steps=steps, questions=8, skew=1.0, rate=1e-6)
    teach(model, build_processor(), lesson, seed=0, progress=publish)
    return {
        "model": "demo, bf16 of fp32 masters, AdamW at 1e-6",
        "share": max(shares),
        "shares": shares,
        "median_share": statistics.median(shares),
        "changed_share": max(changed),
        "aim": 0.05,
    }
