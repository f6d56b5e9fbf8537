"""What the ranks computed finds its way back to the responses, however groups were shared out."""

import numpy as np
import pytest

from services.trainer.compute.selection import select
from services.trainer.rank.deal import deal_groups, entry_ids, hand_of
from services.trainer.rank.intake import HeldGroup
from services.trainer.rank.trained import trained_responses
from shared.config import TrainerConfig
from shared.wire.messages import PolicyVersion, ScoredGroup
from shared.wire.queues import Entry
from tests.builders import group

V5 = PolicyVersion(incarnation=2, step=5)


def held(number: int) -> HeldGroup:
    """A group whose log-probabilities are unlike those of the others."""
    made = group()
    orders = []
    for place, order in enumerate(made.orders):
        responses = tuple(
            one.model_copy(
                update={"logprobs": one.logprobs - 0.01 * (number * 10 + place * 3 + index)}
            )
            for index, one in enumerate(order.batch.responses)
        )
        batch = order.batch.model_copy(update={"responses": responses})
        orders.append(order.model_copy(update={"batch": batch}))
    scored = ScoredGroup(group_id=f"g{number}", orders=tuple(orders))
    return HeldGroup(Entry(f"{100 + number}-0", b""), scored)


def computed(batch: list[HeldGroup], config: TrainerConfig, ranks: int) -> list[np.ndarray]:
    """For each rank, its responses' tokens one after another: here the sampler's own numbers."""
    minibatch = config.minibatch_groups or config.groups_per_step
    dealt = deal_groups([(h.entry.id, h.group.response_tokens()) for h in batch], minibatch, ranks)
    by_entry, found = {one.entry.id: one.group for one in batch}, []
    for rank in range(ranks):
        hands = hand_of(entry_ids(dealt), minibatch, rank, ranks)
        parts = []
        for entry in (one for hand in hands for one in hand):
            trained, keep = by_entry[entry], config.selection.keep
            trained = trained if keep is None else select(trained, keep)
            parts += [one.logprobs for order in trained.orders for one in order.batch.responses]
        found.append(np.concatenate(parts))
    return found


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("minibatch", [None, 2])
@pytest.mark.parametrize("keep", [None, 2])
def test_each_response_gets_its_own_numbers(
    ranks: int, minibatch: int | None, keep: int | None
) -> None:
    config = TrainerConfig.model_validate(
        {"groups_per_step": 4, "minibatch_groups": minibatch, "selection": {"keep": keep}}
    )
    batch = [held(number) for number in range(4)]

    found = trained_responses(batch, computed(batch, config, ranks), V5, config)

    for one in batch:
        sampled = [r.logprobs for order in one.group.orders for r in order.batch.responses]
        ours = found[one.group.group_id].logprobs
        assert len(ours) == len(sampled) == 4
        assert sum(values is not None for values in ours) == (keep or 4)
        for values, expected in zip(ours, sampled, strict=True):
            assert values is None or np.array_equal(values, expected)
    # After the first update of a step the policy is no version's.
    versions = {found[one.group.group_id].version for one in batch}
    assert versions == ({V5} if minibatch is None else {V5, None})
