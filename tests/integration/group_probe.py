"""A group reward that changes nothing and writes down what it saw, for tests of whole runs.

``reward.group_function: tests.integration.group_probe:record`` is called with each scored group
after the consistency reward was added and before the filters; one JSON line a group goes to the
file that the environment names.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from shared.config import RewardConfig
from shared.wire.messages import ScoredGroup, ScoredOrder

FILE = "PERL_TEST_GROUPS"


def record(group: ScoredGroup, config: RewardConfig) -> Sequence[float]:
    """The totals as they are."""
    orders = [_order(one) for one in group.orders]
    line = {"group": group.group_id, "weight": config.consistency_weight, "orders": orders}
    with Path(os.environ[FILE]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
    return list(group.rewards())


def _order(order: ScoredOrder) -> dict[str, object]:
    task = order.batch.task
    return {
        "permutation": task.permutation,
        "rule": task.order,
        "seed": task.seed,
        "images": task.images,
        "clean_images": task.clean_images,
        "responses": [
            {
                "extracted": reward.extracted,
                "accuracy": reward.accuracy,
                "format": reward.format,
                "total": reward.total,
                "tokens": len(response.token_ids),
                "surprise": -float(response.logprobs.sum(dtype=float)),
            }
            for response, reward in zip(order.batch.responses, order.rewards, strict=True)
        ],
    }
