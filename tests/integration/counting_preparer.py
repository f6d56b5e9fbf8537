"""In place of `GroupPreparer`: says which groups it was asked for, and for which version."""

from types import SimpleNamespace

from services.trainer.compute.prepare import TokenMismatch
from shared.wire.messages import PolicyVersion, ScoredGroup

BYTES = 600 << 10
"""Of a group's pictures."""


class CountingPreparer:
    """Prepares nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.broken = ""

    def for_step(self, step: int) -> list[str]:
        """The groups that were prepared to train version 2.`step`."""
        return [name for name, version in self.asked if version == step]

    def prepare(self, group: ScoredGroup, pictures: dict, current: PolicyVersion) -> object:
        """A stand-in for the prepared group."""
        self.asked.append((group.group_id, current.step))
        if group.group_id == self.broken:
            raise TokenMismatch(f"group {group.group_id}, order 0: other tokens")
        pixels = SimpleNamespace(nbytes=BYTES)
        return SimpleNamespace(name=group.group_id, step=current.step, pixel_values=pixels)
