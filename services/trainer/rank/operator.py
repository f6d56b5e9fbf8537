"""The operator's view of the ranks: what phase they are in, and what they were asked to do.

Rank 0 speaks for all; every rank learns of a request between the same two steps.
"""

import torch

from services.trainer.compute import collective
from services.trainer.rank.link import Link
from shared.wire.messages import PolicyVersion
from shared.wire.runstate import Phase, RunState

_REQUESTS = ("checkpoint", "pause", "stop", "hold")


class Operator:
    """Reports to the operator and hears requests; every rank has one and calls it alike."""

    def __init__(self, link: Link, steps: int, device: torch.device) -> None:
        self._link = link
        self._steps = steps
        self._device = device
        self._state = RunState(link.client, link.keys)

    def ends_at(self, step: int) -> None:
        """From now on show `step` as the last one."""
        self._steps = step

    def report(self, phase: Phase, version: PolicyVersion, detail: str = "") -> None:
        """Show what the ranks do now."""
        if collective.is_first():
            self._link.do(
                lambda: self._state.update(
                    phase=phase,
                    detail=detail,
                    step=version.step,
                    steps=self._steps,
                    incarnation=version.incarnation,
                )
            )

    def report_figures(self, **figures: float | str) -> None:
        """Show the guards' latest figures."""
        if collective.is_first():
            self._link.do(lambda: self._state.update(**figures))

    def requests(self) -> set[str]:
        """What is asked for now, the same on every rank; a checkpoint is asked for once."""
        flags = None
        if collective.is_first():
            asked = self._link.do(self._state.wishes)
            if "checkpoint" in asked:
                self._link.do(lambda: self._state.ask("checkpoint", False))
            flags = [int(name in asked) for name in _REQUESTS]
        agreed = collective.broadcast_integers(flags, self._device)
        return {name for name, flag in zip(_REQUESTS, agreed, strict=True) if flag}
