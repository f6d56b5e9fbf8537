"""A run folder with recorded groups, made up: for tests of what reads the record.

The rows come from the recorder's own code; questions, responses and figures are invented. Some
groups flip between orders, some are dropped, and some responses hold markup, which a page must
escape.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from services.trainer.control.record_rows import group_row
from shared.config import ObjectiveConfig
from shared.files import write_atomically
from shared.images import digest, png_bytes
from shared.permutation import apply_order, draw_orders, identity
from shared.records.groups import (
    as_table,
    file_name,
    groups_folder,
    images_folder,
    write_table,
)
from shared.records.settled import SettledGroup
from shared.sample import Sample
from shared.seeds import generator
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    Response,
    Reward,
    SamplingSettings,
    ScoredOrder,
    TrainedResponses,
    TrajectoryBatch,
    VersionSpan,
)

MARKUP = '<script>alert("seen")</script> & <b>bold</b>'
"""In some responses."""

_LETTERS = "ABC"
_EPOCH_MS = 1_790_000_000_000


def write_run(
    run_dir: Path,
    steps: int = 3,
    groups_per_step: int = 4,
    orders: int = 2,
    n: int = 3,
    samples: int = 5,
    dropped_every: int = 5,
) -> list[dict[str, Any]]:
    """Write the groups and images of a run with so many steps; returns the rows.

    Every `dropped_every`-th group is dropped as ``uniform_reward`` and the others are trained.
    """
    pictures = _pictures(run_dir, samples)
    rows, index = [], 0
    groups_folder(run_dir).mkdir(parents=True, exist_ok=True)
    for step in range(1, steps + 1):
        of_step = []
        while sum(row["status"] == "trained" for row in of_step) < groups_per_step:
            dropped = index % dropped_every == dropped_every - 1
            of_step.append(made_up_row(index, step, pictures, orders, n, dropped))
            index += 1
        write_table(as_table(of_step), groups_folder(run_dir) / file_name(step, 0))
        rows += of_step
    return rows


def made_up_row(
    index: int,
    step: int,
    pictures: Sequence[Sequence[str]],
    orders: int = 2,
    n: int = 3,
    dropped: bool = False,
) -> dict[str, Any]:
    """The row of group `index`, the same in every call.

    Args:
        pictures: for each sample, the SHA-256 of its images.
    """
    settled = made_up_group(index, step, pictures, orders, n, dropped)
    return group_row(settled, "made-up", ObjectiveConfig(), tokens=True)


def made_up_group(
    index: int,
    step: int,
    pictures: Sequence[Sequence[str]],
    orders: int,
    n: int,
    dropped: bool,
) -> SettledGroup:
    """Group `index` as it was settled in `step`."""
    rng = np.random.default_rng(index)
    tasks = _tasks(index, step, pictures[index % len(pictures)], orders, n)
    # An order-biased model names a place; the others name the gold image, mostly.
    biased = index % 3 == 0
    scored = tuple(_scored(task, "A" if biased else None, dropped, rng) for task in tasks)
    texts = [response for order in scored for response in order.batch.responses]
    trained = TrainedResponses(
        version=PolicyVersion(incarnation=1, step=step - 1),
        logprobs=tuple(
            (one.logprobs + rng.normal(0, 0.01, len(one.logprobs))).astype(np.float32)
            for one in texts
        ),
    )
    at = _EPOCH_MS + step * 60_000 + index * 10
    return SettledGroup(
        group_id=f"g{index:08d}",
        state="dropped:uniform_reward" if dropped else f"trained:{step}",
        step=step,
        incarnation=1,
        settled_ms=at,
        issued_ms=at - 50_000,
        scored_ms=None if dropped else at - 20_000,
        tasks=tasks,
        orders=scored,
        trained=None if dropped else trained,
    )


def _tasks(
    index: int, step: int, images: Sequence[str], orders: int, n: int
) -> tuple[PromptTask, ...]:
    sample = Sample(
        id=f"s{images[0][:8]}",
        question="A. <image>\nB. <image>\nC. <image>\nWhich option shows the largest digit?",
        images=tuple(images),
        answer="B",
        kind="letter",
        order="letter",
        source="option",
    )
    drawn = draw_orders(len(images), orders - 1, generator(index, sample.id))
    permutations = [identity(len(images)), *drawn]
    rendered = [apply_order(sample, one) for one in permutations]
    return tuple(
        PromptTask(
            run="made-up",
            group_id=f"g{index:08d}",
            sample_id=sample.id,
            source=sample.source,
            order_index=number,
            orders=len(rendered),
            permutation=one.permutation,
            question=one.question,
            images=one.images,
            answer=one.answer,
            kind=sample.kind,
            order=sample.order,
            n=n,
            sampling=SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=64),
            seed=index,
            issued_at=PolicyVersion(incarnation=1, step=max(0, step - 2)),
        )
        for number, one in enumerate(rendered)
    )


def _scored(
    task: PromptTask, always: str | None, uniform: bool, rng: np.random.Generator
) -> ScoredOrder:
    answers = [
        always or (task.answer if uniform or rng.random() < 0.7 else _LETTERS[rng.integers(3)])
        for _ in range(task.n)
    ]
    responses = tuple(_response(task, answer, rng) for answer in answers)
    rewards = tuple(
        Reward(
            total=1.0 if uniform else 0.9 * (answer == task.answer) + 0.1,
            accuracy=float(answer == task.answer),
            format=1.0,
            extracted=answer,
        )
        for answer in answers
    )
    batch = TrajectoryBatch(
        task=task,
        node="rollout-0",
        prompt_token_ids=np.arange(40),
        image_grids=((1, 4, 4),) * len(task.images),
        responses=responses,
        sampled_s=float(rng.uniform(1, 3)),
    )
    return ScoredOrder(batch=batch, rewards=rewards, scored_s=0.01)


def _response(task: PromptTask, answer: str, rng: np.random.Generator) -> Response:
    thought = MARKUP if rng.random() < 0.2 else "The second picture shows a nine."
    text = f"<think>{thought}</think> \\boxed{{{answer}}}"
    tokens, cut = len(text.split()) + 3, bool(rng.random() < 0.1)
    newest = PolicyVersion(incarnation=1, step=task.issued_at.step + 1)
    return Response(
        token_ids=rng.integers(0, 900, tokens),
        logprobs=-rng.exponential(0.5, tokens),
        versions=(
            VersionSpan(version=task.issued_at, tokens=2),
            VersionSpan(version=newest, tokens=tokens - 2),
        ),
        text=text,
        finish_reason="length" if cut else "stop",
    )


def _pictures(run_dir: Path, samples: int) -> list[list[str]]:
    folder = images_folder(run_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return [[_picture(folder, number * 3 + one) for one in range(3)] for number in range(samples)]


def _picture(folder: Path, number: int) -> str:
    picture = Image.new("RGB", (96, 64), (number * 37 % 256, 120, 255 - number * 53 % 256))
    ImageDraw.Draw(picture).text((36, 24), str(number), fill="white")
    data = png_bytes(picture)
    write_atomically(folder / f"{digest(data)}.png", data)
    return digest(data)
