"""What a tracker is given, and what it has to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

TABLE_COLUMNS = (
    "group",
    "status",
    "question",
    "gold",
    "answers by order",
    "flipped",
    "reward",
    "accuracy",
    "worst accuracy",
    "best response",
    "worst response",
)
"""What a table of groups shows, besides the pictures."""


@dataclass(frozen=True)
class TrackedRun:
    """The run as a tracker shows it."""

    name: str
    """The run's name; with the number of its history where it has lost one."""
    id: str
    """The same for every start of this tracker on this history of this run folder, and no other."""
    folder: Path
    """Where it may write: ``RUN/trackers/<name>``."""
    project: str
    online: bool
    """Whether it may use the network."""
    url: str | None
    """Where to send to; None: the tracker's own default."""
    config: dict[str, Any]
    """The run's configuration, without secrets."""
    page: str
    """Where the run can be looked at: an address, or the command that serves it."""
    sent: int
    """Last step that a process before has sent, and that still counts; 0: none."""


@dataclass(frozen=True)
class ShownGroup:
    """One sample group, as a row of a table."""

    id: str
    cells: tuple[str | float | None, ...]
    """One for each of `TABLE_COLUMNS`."""
    pictures: tuple[Image.Image, ...]
    """In the original order, small."""
    page: str
    """Where it can be looked at whole: an address or a command."""

    def caption(self) -> str:
        """It in a few words, below its pictures."""
        shown = dict(zip(TABLE_COLUMNS, self.cells, strict=True))
        return (
            f"{self.id}: gold {shown['gold']}, answered {shown['answers by order']}, "
            f"reward {shown['reward']}"
        )


class Tracker(Protocol):
    """One tracker. Everything may raise whatever its library raises: its process is then ended,
    and another one begins with `start`.

    Steps come in rising order. Calls may take as long as ``call_timeout_s``.
    """

    def start(self, run: TrackedRun) -> int:
        """Begin, or go on where the process before has ended.

        Returns the last step that the tracker holds: the steps after it are sent. 0 when it begins
        anew; then evaluations and groups are sent again too.
        """
        ...

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Show the figures of one training step, which ended at `time_s` (seconds since 1970)."""
        ...

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Show an evaluation of the policy after `step`; it may be older than the last step."""
        ...

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Show some groups of a step that was logged."""
        ...

    def flush(self) -> None:
        """Return when what was logged outlives this process, as far as the library can tell."""
        ...

    def finish(self) -> None:
        """Send the rest, and end."""
        ...


def flat(config: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """A configuration as ``section.key`` to text; what is not set is left out."""
    found: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{above}{key}.")
        elif value is not None:
            found[above + key] = str(value)
    return found
