"""The stage that the others wait for."""

import pytest

from shared.records.bounds import HAND_OVER, bound_by


@pytest.mark.parametrize(
    ("rollout", "reward", "trainer", "stage"),
    [
        (0.02, 0.9, 0.5, "rollout"),
        (0.4, 0.9, 0.01, "trainer"),
        (0.4, 0.1, 0.3, "reward"),
        (0.45, 0.9, 0.5, HAND_OVER),
        (None, 0.9, 0.1, None),
    ],
)
def test_it_is_the_one_that_stood_idle_least(
    rollout: float | None, reward: float, trainer: float, stage: str | None
) -> None:
    assert bound_by({"rollout": rollout, "reward": reward, "trainer": trainer}) == stage
