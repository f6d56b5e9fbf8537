"""Which stage bounds a run: the one that the others wait for, by the time that each stood idle."""

from collections.abc import Mapping

STAGES = ("rollout", "reward", "trainer")

HAND_OVER = "hand-over"
"""No stage bounds the run: they wait for each other in turns."""

_BUSY_SHARE = 0.75


def bound_by(idle: Mapping[str, float | None]) -> str | None:
    """The stage that stood idle least, or `HAND_OVER`; None when a stage was not measured.

    Args:
        idle: share of time for which each of `STAGES` stood idle.
    """
    shares = {stage: idle[stage] for stage in STAGES}
    known = {stage: share for stage, share in shares.items() if share is not None}
    if len(known) < len(shares):
        return None
    least = min(known, key=lambda stage: known[stage])
    return least if known[least] <= 1 - _BUSY_SHARE else HAND_OVER
