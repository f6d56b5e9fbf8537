"""What the ranks computed about each group of a step, put together for the record."""

from collections.abc import Iterator, Sequence

import numpy as np

from services.trainer.compute.selection import selected_places
from services.trainer.rank.deal import deal_groups, entry_ids, hand_of
from services.trainer.rank.intake import HeldGroup
from shared.config import TrainerConfig
from shared.wire.messages import PolicyVersion, Response, ScoredGroup, TrainedResponses


def trained_responses(
    batch: Sequence[HeldGroup],
    logprobs: Sequence[np.ndarray],
    version: PolicyVersion,
    config: TrainerConfig,
) -> dict[str, TrainedResponses]:
    """Group id to what was computed about its responses.

    Args:
        batch: the step's groups, as they were shared out.
        logprobs: for each rank, (T,) float32 of its response tokens, in the order in which it was
            dealt its groups.
        version: the policy version that was trained.
    """
    by_entry = {held.entry.id: held.group for held in batch}
    found: dict[str, TrainedResponses] = {}
    for hand, values in zip(_hands(batch, config, len(logprobs)), logprobs, strict=True):
        start = 0
        for update, entry in hand:
            group = by_entry[entry]
            ours: list[np.ndarray | None] = []
            for response, kept in _responses(group, config):
                end = start + len(response.token_ids) if kept else start
                ours.append(values[start:end] if kept else None)
                start = end
            found[group.group_id] = TrainedResponses(
                version=version if update == 0 else None, logprobs=tuple(ours)
            )
        assert start == len(values), "a rank computed other tokens than its groups have"
    return found


def _hands(
    batch: Sequence[HeldGroup], config: TrainerConfig, ranks: int
) -> list[list[tuple[int, str]]]:
    """For each rank, update and entry of each of its groups, in the order of their training."""
    minibatch = config.minibatch_groups or config.groups_per_step
    dealt = deal_groups(
        [(held.entry.id, held.group.response_tokens()) for held in batch], minibatch, ranks
    )
    hands = (hand_of(entry_ids(dealt), minibatch, rank, ranks) for rank in range(ranks))
    return [
        [(number, entry) for number, update in enumerate(hand) for entry in update]
        for hand in hands
    ]


def _responses(group: ScoredGroup, config: TrainerConfig) -> Iterator[tuple[Response, bool]]:
    """Each response, order by order, and whether it was trained on."""
    keep, within = config.selection.keep, config.objective.advantage == "per_order"
    places = None if keep is None else selected_places(group, keep, within)
    for number, order in enumerate(group.orders):
        for index, response in enumerate(order.batch.responses):
            yield response, places is None or (number, index) in places
