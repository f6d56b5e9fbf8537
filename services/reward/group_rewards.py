"""Rewards that depend on a whole group: added to its responses' totals before it is filtered.

A custom function is ``def f(group: ScoredGroup, config: RewardConfig) -> Sequence[float]``,
named in ``reward.group_function``: the new totals, order by order, as `ScoredGroup.rewards`. It
runs in a thread, for ``reward.function_timeout_s``. Accuracy, form and the extracted answer stay
what they were.
"""

from collections.abc import Callable, Sequence
from textwrap import shorten

import numpy as np

from services.reward.consistency import CONSISTENCY
from services.reward.plain_calls import CallTimeout
from services.reward.scoring import BadReward, RewardTimeout, plain_calls
from shared.config import RewardConfig
from shared.functions import load_function
from shared.wire.messages import LARGEST, ScoredGroup

GroupReward = Callable[[ScoredGroup, RewardConfig], Sequence[float]]
"""The new total rewards of a group's responses, order by order."""

ARGUMENTS = ("group", "config")
"""What a group's reward function is called with."""


class GroupRewards:
    """What a configuration asks for: consistency first, then the custom function.

    Raises:
        UserError: when ``reward.group_function`` is not found.
    """

    def __init__(self, config: RewardConfig) -> None:
        self._config = config
        self._functions: list[tuple[str, GroupReward]] = []
        self._calls = plain_calls(f"reward.group_function '{config.group_function}'", config)
        if config.consistency_weight > 0:
            self._functions.append(("reward.consistency_weight", with_consistency))
        path = config.group_function
        if path is not None:
            function = load_function(path, "reward.group_function", ARGUMENTS)
            self._functions.append((f"reward.group_function '{path}'", function))

    async def apply(self, group: ScoredGroup) -> ScoredGroup:
        """The group with its new totals.

        Raises:
            BadReward: when a function returns something other than one finite number a response.
            RewardTimeout: when it does not return in time.
        """
        for name, function in self._functions:
            try:
                given = await self._calls.call(function, group, self._config)
            except CallTimeout as late:
                raise RewardTimeout(str(late)) from None
            group = _with_totals(group, given, name)
        return group


def with_consistency(group: ScoredGroup, config: RewardConfig) -> list[float]:
    """Each total plus ``reward.consistency_weight`` times what ``reward.consistency`` gives."""
    agreement = np.array(CONSISTENCY[config.consistency](group))
    return list(group.rewards() + config.consistency_weight * agreement)


def _with_totals(group: ScoredGroup, given: Sequence[float], name: str) -> ScoredGroup:
    wanted = len(group.rewards())
    try:
        totals = np.asarray(given, dtype=float)
    except (TypeError, ValueError):
        raise BadReward(f"{name} returned {_shown(given)}, not {wanted} finite numbers") from None
    if totals.shape != (wanted,):
        raise BadReward(f"{name} returned {_shown(given)}, not {wanted} finite numbers")
    # Written so that NaN is found too.
    strange = np.flatnonzero(~(np.abs(totals) <= LARGEST))
    if len(strange):
        raise BadReward(
            f"{name} returned {totals[strange[0]]:g} as reward {strange[0] + 1} of {wanted}, not "
            "a finite number"
        )
    remaining = iter(totals.tolist())
    orders = tuple(
        order.model_copy(
            update={
                "rewards": tuple(
                    one.model_copy(update={"total": next(remaining)}) for one in order.rewards
                )
            }
        )
        for order in group.orders
    )
    return group.model_copy(update={"orders": orders})


def _shown(given: object) -> str:
    return shorten(repr(given), 80)
