"""Messages with plausible contents, for tests that need some."""

from typing import Any

import numpy as np

from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    Response,
    Reward,
    SamplingSettings,
    ScoredGroup,
    ScoredOrder,
    TrajectoryBatch,
    VersionSpan,
)


def task(**changes: Any) -> PromptTask:
    """One order of a group of two."""
    fields: dict[str, Any] = {
        "run": "r",
        "group_id": "g-7",
        "sample_id": "s",
        "source": "option",
        "order_index": 0,
        "orders": 2,
        "permutation": (1, 0),
        "question": "<image><image> Welche?",
        "images": ("ab" * 32, "cd" * 32),
        "answer": "B",
        "kind": "letter",
        "n": 2,
        "sampling": SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=16),
        "seed": 2**62 + 1,
        "issued_at": PolicyVersion(incarnation=2, step=5),
    }
    return PromptTask(**(fields | changes))


def response(tokens: int = 3, step: int = 5, text: str = "<think></think>\\boxed{B}") -> Response:
    """An answer of `tokens` tokens sampled by version 2.`step`."""
    return Response(
        token_ids=np.arange(tokens),
        logprobs=-np.arange(tokens) / 3,
        versions=(VersionSpan(version=PolicyVersion(incarnation=2, step=step), tokens=tokens),),
        text=text,
        finish_reason="stop",
    )


def batch(**changes: Any) -> TrajectoryBatch:
    """Two answers to `task(**changes)`."""
    asked = task(**changes)
    return TrajectoryBatch(
        task=asked,
        node="rollout-0",
        prompt_token_ids=[1, 2, 3],
        image_grids=((1, 4, 4),) * len(asked.images),
        responses=(response(3), response(5, step=4)),
        sampled_s=0.5,
    )


def reward(total: float = 1.0) -> Reward:
    """The reward of a well-formed answer."""
    return Reward(total=total, accuracy=total, format=1.0, extracted="B")


def group() -> ScoredGroup:
    """Two orders, each with a right and a wrong answer."""
    orders = tuple(
        ScoredOrder(
            batch=batch(order_index=index), rewards=(reward(1.0), reward(0.0)), scored_s=0.1
        )
        for index in range(2)
    )
    return ScoredGroup(group_id="g-7", orders=orders)
