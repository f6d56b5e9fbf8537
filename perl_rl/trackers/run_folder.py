"""What a tracker shows of a run, read from its folder while it goes on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from perl_rl.folder_lock import is_held
from perl_rl.trackers.base import ShownGroup
from shared.errors import UserError
from shared.images import PILLOW_MAX_PIXELS, decode_image, to_rgb
from shared.jsonlines import parse_json
from shared.records.evaluations import FIGURES, read_evaluation
from shared.records.groups import (
    TRAINED,
    check_file,
    group_files,
    groups_folder,
    image_file,
    step_and_part,
)
from shared.records.steps import METRICS, is_after

_COMPARED_BYTES = 256
_PICTURE_SIDE = 256
"""Longest side of a picture that is shown, in pixels."""
_CHARS = 2_000
"""Longest text of a cell."""
_NOT_SHOWN = ("step", "time", "heldout_step", *(f"heldout_{name}" for name in FIGURES))
"""What is shown otherwise."""
_GROUP_COLUMNS = (
    *("group_id", "status", "reason", "question", "answer", "images", "reward", "accuracy"),
    *("worst_accuracy", "flipped", "order_majority", "response_text", "response_reward"),
)


class MetricsTail:
    """Reads the lines that are added to ``metrics.jsonl``; notices when it is replaced.

    The trainer replaces the file when it goes on from a checkpoint and steps are lost.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = 0
        self._before = b""
        """The last bytes before the offset."""

    def new(self) -> list[dict[str, Any]] | None:
        """The complete lines since the last call; None when the lines before are others now: then
        the next call returns all lines.

        Raises:
            UserError: naming the file, when a line is no record of a step.
        """
        if not self._file.exists():
            return []
        with self._file.open("rb") as stream:
            stream.seek(self._offset - len(self._before))
            if stream.read(len(self._before)) != self._before:
                self._offset, self._before = 0, b""
                return None
            added = stream.read()
        whole = added[: added.rfind(b"\n") + 1]
        self._offset += len(whole)
        self._before = (self._before + whole)[-_COMPARED_BYTES:]
        return [self._row(line) for line in whole.splitlines()]

    def _row(self, line: bytes) -> dict[str, Any]:
        try:
            row = parse_json(line.decode())
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            begins = line[:60].decode(errors="replace")
            raise UserError(
                f"{self._file}: a line is no record of a step (it begins '{begins}'); remove it"
            )
        return row


def figures_of(row: dict[str, Any]) -> dict[str, float]:
    """The numbers in a step's line by name; of a mapping ``name/key``; of alarms how many."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if name in _NOT_SHOWN:
            continue
        if name == "alarms":
            found["alarms"] = float(len(value))
        elif isinstance(value, dict):
            found |= {f"{name}/{key}": float(one) for key, one in value.items()}
        elif isinstance(value, int | float):
            found[name] = float(value)
    return {f"train/{name}": value for name, value in found.items()}


def evaluation_figures(file: Path) -> dict[str, float]:
    """An evaluation's main figures by name.

    Raises:
        UserError: naming the file, when it is something else.
        FileNotFoundError: when it is not there any more.
    """
    try:
        content = read_evaluation(file)
        return {f"heldout/{name}": float(content[name]["value"]) for name in FIGURES}
    except (ValueError, LookupError, TypeError):
        raise UserError(f"{file}: is no evaluation of a run; remove it") from None


def is_over(run_dir: Path) -> bool:
    """Whether the run has ended: it has a summary of its last step, and nobody launches it."""
    summary, metrics = run_dir / "summary.json", run_dir / METRICS
    if not summary.exists() or is_held(run_dir):
        return False
    return is_after(summary, metrics)


def recorded_until(run_dir: Path) -> int:
    """The newest step of which groups are recorded; those of steps before are all there."""
    files = group_files(groups_folder(run_dir))
    found = step_and_part(files[-1]) if files else None
    return found[0] if found else 0


def groups_to_show(run_dir: Path, step: int, most: int, page: str | None) -> list[ShownGroup]:
    """Some of the groups that were settled in a step; none when none are recorded.

    Those that flip between orders come first, then those that were trained.

    Args:
        page: address of the run's pages; None: name the command that shows a group.

    Raises:
        UserError: when a file of the record cannot be read.
    """
    rows = list(_rows(run_dir, step))
    rows.sort(key=lambda row: (not row["flipped"], row["status"] != TRAINED, row["group_id"]))
    return [_shown(run_dir, row, page) for row in rows[:most]]


def _rows(run_dir: Path, step: int) -> Iterator[dict[str, Any]]:
    for file in group_files(groups_folder(run_dir)):
        named = step_and_part(file)
        if named is None or named[0] != step:
            continue
        try:
            check_file(file)
            table = pq.read_table(file, columns=list(_GROUP_COLUMNS))
        except FileNotFoundError:
            # The recorder keeps the newest steps only, or the step is trained again.
            continue
        yield from table.to_pylist()


def _shown(run_dir: Path, row: dict[str, Any], page: str | None) -> ShownGroup:
    responses = sorted(
        zip(row["response_reward"] or [], row["response_text"] or [], strict=True),
        key=lambda one: -1.0 if one[0] is None else one[0],
    )
    majority = ", ".join(one if one is not None else "none" for one in row["order_majority"] or [])
    group = row["group_id"]
    cells: Sequence[str | float | None] = (
        group,
        row["status"] if row["reason"] is None else f"{row['status']}: {row['reason']}",
        _text(row["question"]),
        _text(row["answer"]),
        _text(majority),
        {True: "yes", False: "no", None: None}[row["flipped"]],
        *(_rounded(row[name]) for name in ("reward", "accuracy", "worst_accuracy")),
        _text(responses[-1][1]) if responses else None,
        _text(responses[0][1]) if responses else None,
    )
    shown_at = f"{page.rstrip('/')}/groups/{group}" if page else f"perl-rl show {group}"
    return ShownGroup(group, tuple(cells), tuple(_pictures(run_dir, row["images"])), shown_at)


def _rounded(value: float | None) -> float | None:
    """Without the digits that a column of 32 bits does not have."""
    return None if value is None else round(value, 6)


def _text(text: str) -> str:
    return text if len(text) <= _CHARS else f"{text[:_CHARS]} ..."


def _pictures(run_dir: Path, digests: Sequence[str] | None) -> Iterator[Image.Image]:
    for digest in digests or ():
        file = image_file(run_dir, digest)
        if file is None:
            continue
        picture = to_rgb(decode_image(file, file.name, PILLOW_MAX_PIXELS))
        picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
        yield picture
