"""Which scored orders a reward node holds for groups that wait for others."""

from services.reward.held import HeldOrders
from shared.wire.messages import PolicyVersion, ScoredOrder
from tests.builders import batch, reward


def order(group: str, index: int, incarnation: int = 2) -> ScoredOrder:
    issued_at = PolicyVersion(incarnation=incarnation, step=5)
    carried = batch(group_id=group, order_index=index, issued_at=issued_at)
    return ScoredOrder(batch=carried, rewards=(reward(1.0), reward(0.0)), scored_s=0.0)


def test_the_other_orders_of_a_group_are_held_until_it_is_complete() -> None:
    held, first, second = HeldOrders(), order("g", 0), order("g", 1)
    held.add(first, 100)
    assert held.others(second.batch.task) == {0: first}
    assert held.others(first.batch.task) == {}
    assert held.others(order("g", 1, incarnation=3).batch.task) == {}
    held.forget(second.batch.task)
    assert held.others(second.batch.task) == {}


def test_groups_that_others_complete_are_displaced_the_longest_untouched_first() -> None:
    held = HeldOrders(most_bytes=250)
    for name in ("a", "b"):
        held.add(order(name, 0), 100)
    held.add(order("a", 0), 100)
    held.add(order("c", 0), 100)
    kept = {name for name in "abc" if held.others(order(name, 1).batch.task)}
    assert kept == {"a", "c"}
