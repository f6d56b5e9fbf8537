"""A process and the parts of its memory, in bytes."""

from dataclasses import dataclass, field

Parts = dict[str, float]
"""What holds memory, and how many bytes, in the order in which it is shown."""


@dataclass(frozen=True)
class Need:
    """The memory of one process."""

    name: str
    held: Parts
    """On its GPU all the time."""
    kept: Parts = field(default_factory=dict)
    """On its GPU while it computes."""
    passing: Parts = field(default_factory=dict)
    """On its GPU for moments, one after the other: only the largest counts."""
    step: float = 0.0
    """On its GPU while the optimizer steps, when nothing is kept."""
    host: Parts = field(default_factory=dict)
    """In host memory."""

    @property
    def computing(self) -> Parts:
        """What is kept, and the largest of what passes."""
        name, size = max(self.passing.items(), key=lambda one: one[1], default=("", 0.0))
        return self.kept | ({name: size} if name else {})

    @property
    def peak(self) -> float:
        """Most bytes on its GPU at a time."""
        return sum(self.held.values()) + max(sum(self.computing.values()), self.step)

    def shown(self) -> Parts:
        """The parts at the moment when most is there."""
        computing = self.computing
        if sum(computing.values()) >= self.step:
            return self.held | computing
        return self.held | {"the optimizer's step": self.step}
