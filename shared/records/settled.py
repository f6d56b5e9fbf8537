"""A settled group, as much of it as is known: what one row of the record is made from."""

from dataclasses import dataclass

from shared.wire.messages import PromptTask, ScoredOrder, TrainedResponses, TrajectoryBatch


@dataclass(frozen=True)
class SettledGroup:
    """A group that was trained, dropped or skipped."""

    group_id: str
    state: str
    """In the ledger: ``trained:<step>``, ``dropped:<reason>`` or ``skipped:<reason>``."""
    step: int
    """The step that trained it, or that was being collected when it was dropped."""
    incarnation: int
    """Of the trainer that settled it."""
    settled_ms: int
    """Times are in milliseconds since 1970."""
    tasks: tuple[PromptTask, ...]
    """What the feeder asked, one for each order; none when the sample's images cannot be read."""
    orders: tuple[ScoredOrder, ...] = ()
    """The orders that were scored."""
    unscored: tuple[TrajectoryBatch, ...] = ()
    """The orders that were sampled but not scored."""
    trained: TrainedResponses | None = None
    detail: str | None = None
    """More about the reason of a drop, in words."""
    issued_ms: int | None = None
    scored_ms: int | None = None
    """None when it was dropped before it was handed to the trainer."""

    @property
    def status(self) -> str:
        """``trained``, ``dropped`` or ``skipped``."""
        return self.state.partition(":")[0]

    @property
    def reason(self) -> str | None:
        """Why it was dropped or skipped; None when it was trained."""
        return None if self.status == "trained" else self.state.partition(":")[2]
