"""How far a response agrees with those that the group's other orders got.

Answers are compared after they are mapped back to the original order: under an order that swaps the
images at A and B, "A" agrees with "B" of the original order. Each function gives one number a
response, order by order.
"""

from collections import Counter
from collections.abc import Callable, Mapping

from shared.config.reward import Consistency
from shared.records.answers import original_answer
from shared.wire.messages import ScoredGroup

Answers = list[list[str | int | None]]
"""Of each order, the responses' answers in the original order's names; None without an answer."""


def share(group: ScoredGroup) -> list[float]:
    """The share of the responses of all other orders whose answer is this response's.

    After the consistency-aware reward of PA-GRPO (arXiv 2603.21016). 0 for a response without an
    answer; all 0 in a group of one order.
    """
    answers = _answers(group)
    everywhere = Counter(answer for order in answers for answer in order)
    total = everywhere.total()
    agreement = []
    for order in answers:
        here, others = Counter(order), total - len(order)
        for answer in order:
            alike = 0 if answer is None else everywhere[answer] - here[answer]
            agreement.append(alike / others if others else 0.0)
    return agreement


def unique_mode(group: ScoredGroup) -> list[float]:
    """1 for a response whose answer is the group's single most frequent one, else -1.

    The consistency reward of PA-GRPO (arXiv 2603.21016). When two answers are equally frequent,
    none is the most frequent one. No answer is no answer that others could share.
    """
    answers = [answer for order in _answers(group) for answer in order]
    most = Counter(answer for answer in answers if answer is not None).most_common(2)
    single = bool(most) and (len(most) == 1 or most[0][1] > most[1][1])
    return [1.0 if single and answer == most[0][0] else -1.0 for answer in answers]


def paired(group: ScoredGroup) -> list[float]:
    """-1 for a right answer whose counterparts are not all right, else 0.

    A response's counterparts are those with its number under the other orders. With
    ``consistency_weight`` equal to ``accuracy_weight``, accuracy is rewarded only where all views
    are right, which makes them consistent too: after the abstract of ConsistRoll (arXiv
    2606.29812), whose full text was not consulted.
    """
    rights = [[reward.accuracy == 1 for reward in order.rewards] for order in group.orders]
    everywhere = [all(views) for views in zip(*rights, strict=True)]
    return [
        -1.0 if right and not all_right else 0.0
        for order in rights
        for right, all_right in zip(order, everywhere, strict=True)
    ]


CONSISTENCY: Mapping[Consistency, Callable[[ScoredGroup], list[float]]] = {
    "share": share,
    "unique_mode": unique_mode,
    "paired": paired,
}
"""By the values of ``reward.consistency``."""


def _answers(group: ScoredGroup) -> Answers:
    return [
        [
            None if one.extracted is None else original_answer(one.extracted, order.batch.task)
            for one in order.rewards
        ]
        for order in group.orders
    ]
