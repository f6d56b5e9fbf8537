"""How far a tracker has come: ``RUN/trackers/<name>.json``."""

import bisect
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from shared.errors import UserError
from shared.files import write_atomically

FOLDER = "trackers"


class Cursor(BaseModel):
    """What has been sent. A process that begins reads it, so that nothing is sent twice."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex[:16])
    """Names the run to the tracker; made with the first process."""
    history: int = 0
    """How often steps were lost that had been sent already."""
    spans: list[tuple[int, int]] = []
    """Of each incarnation of the trainer that trained steps that were sent: its number, and the
    last of these steps; in rising order."""
    evaluations: list[int] = []
    """The steps whose evaluation was sent."""
    groups_step: int = 0
    """The last step whose groups were sent."""
    problem: str = ""
    """What went wrong last, in one line; empty while all is well."""

    @property
    def sent(self) -> int:
        """The last step that was sent; 0: none."""
        return self.spans[-1][1] if self.spans else 0

    def add(self, incarnation: int, step: int) -> None:
        """A step was sent."""
        if self.spans and self.spans[-1][0] == incarnation:
            self.spans[-1] = (incarnation, step)
        else:
            self.spans.append((incarnation, step))

    def surviving(self, rows: Sequence[dict[str, Any]]) -> int:
        """The last step that was sent and is still there as it was sent; 0: none.

        Args:
            rows: all lines of ``metrics.jsonl``, in rising order of their steps.
        """
        ends = [last for _, last in self.spans]
        last = 0
        for row in rows:
            place = bisect.bisect_left(ends, row["step"])
            if place == len(ends) or self.spans[place][0] != row.get("incarnation", 0):
                break
            last = row["step"]
        return last

    def cut(self, step: int) -> None:
        """Forget what was sent of later steps; with 0, everything."""
        kept = [(one, min(last, step)) for one, last in self.spans]
        starts = [0, *(last for _, last in self.spans)]
        self.spans = [span for span, start in zip(kept, starts, strict=False) if start < step]
        self.evaluations = [one for one in self.evaluations if one <= step and step > 0]
        self.groups_step = min(self.groups_step, step)

    def came_as_far_as(self, other: "Cursor") -> bool:
        """Whether nothing was sent between `other` and now."""
        return (self.history, self.spans, self.evaluations, self.groups_step) == (
            other.history,
            other.spans,
            other.evaluations,
            other.groups_step,
        )


def cursor_file(run_dir: Path, name: str) -> Path:
    """Where a tracker's cursor is."""
    return run_dir / FOLDER / f"{name}.json"


def read_cursor(file: Path) -> Cursor:
    """The cursor; a new one when there is none.

    Raises:
        UserError: when it cannot be read.
    """
    try:
        return Cursor.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return Cursor()
    except ValidationError:
        raise UserError(
            f"{file}: not a tracker's state; delete it: the tracker then begins a new run"
        ) from None


def save_cursor(cursor: Cursor, file: Path) -> None:
    """Write it in one step."""
    write_atomically(file, cursor.model_dump_json(indent=1) + "\n")
