"""A stage's report: what it kept, changed and dropped, and why, as JSON and as a printed table."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from shared.errors import UserError


class StageReport(BaseModel):
    """The report of one stage; ``taken = kept + sum(dropped)``.

    It holds no times, so that a repeated run writes the same bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stage: str
    taken: int
    kept: int
    dropped: dict[str, int]
    """Dropped samples, counted by reason."""
    details: dict[str, Any]
    """The stage's own figures: counts and shares by name, nested."""


def counted(reasons: Counter[str]) -> dict[str, int]:
    """The counts, the most frequent first; equal counts by name."""
    return dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0])))


_CHANGE = {
    "kind_not_wanted": "filter.kinds",
    "source_not_wanted": "filter.sources",
    "source_excluded": "filter.exclude_sources",
    "too_few_images": "filter.min_images",
    "too_many_images": "filter.max_images",
    "question_too_short": "filter.min_question_chars",
    "question_too_long": "filter.max_question_chars",
    "image_too_large": "filter.max_image_pixels",
    "image_too_long_and_thin": "filter.max_aspect_ratio",
    "image_not_decodable": "the image files",
    "no_answer": "the answers",
    "answer_not_of_its_kind": "the answers, or their kind",
    "bin_not_wanted": "balance.target",
    "bin_full": "balance.target",
    "endpoint_refused_the_request": "refused",
}
"""What to change where a reason drops everything; else a stage's settings."""


def refuse_nothing_left(report: StageReport) -> None:
    """Refuse to go on without a sample.

    Raises:
        UserError: with the reasons, and what to change.
    """
    if report.kept:
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in report.dropped.items())
    change = [_CHANGE.get(one.partition(":")[0], f"{report.stage}.*") for one in report.dropped]
    named = ", ".join(dict.fromkeys(change)) or "the input"
    raise UserError(
        f"{report.stage}: no sample is left of {report.taken} ({reasons}); change {named}"
    )


def print_report(report: StageReport, console: Console) -> None:
    """Print a report as a table of two columns."""
    table = Table(title=report.stage, title_justify="left", show_header=False)
    table.add_row("taken", str(report.taken))
    table.add_row("kept", str(report.kept))
    for reason, count in report.dropped.items():
        table.add_row(f"dropped: {reason}", str(count))
    for name, value in _flat(report.details, ""):
        table.add_row(name, value)
    console.print(table)


def _flat(details: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in details.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}: ")
        elif isinstance(value, float):
            yield f"{prefix}{name}", f"{value:.4g}"
        else:
            yield f"{prefix}{name}", "-" if value is None else str(value)
