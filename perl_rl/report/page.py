"""``report.md``: a table and a picture of the model before and after, with training curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

from shared.records.steps import METRICS

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from pydantic import ValidationError

from perl_rl.eval.bootstrap import Estimate
from perl_rl.eval.heldout import HeldOutResult, refuse_unlike
from perl_rl.eval.robustness import OrderRobustness
from perl_rl.report.summary import read_metrics
from shared.errors import UserError
from shared.problems import first_problem
from shared.records.evaluations import evaluation_files
from shared.words import amount

_BEFORE, _AFTER = "#9aa5b1", "#1f6feb"
_CURVES = (
    ("accuracy_all", "accuracy while training, all groups"),
    ("reward", "mean reward"),
    ("kl", "KL to the start model"),
    ("staleness_mean", "staleness (policy versions)"),
    ("tokens_per_s", "response tokens/s of kept groups"),
)
_HELD_OUT = ("heldout", "accuracy on held-out questions")
_SMOOTHED_OVER = 10
"""Steps of training that a curve averages over."""
_HEADLINES = (
    ("accuracy", "accuracy over all orders"),
    ("worst_case", "right under every order"),
    ("flip_rate", "flip rate"),
)


def report_on(folder: Path, title: str) -> str:
    """Write the report of a run that has ended, from the evaluations in its folder.

    Returns:
        The table as plain text, and where the report is.

    Raises:
        UserError: when the evaluations are not all of the same questions in the same orders.
    """
    names = {when: folder / f"eval-{when}.json" for when in ("before", "after")}
    before, after = (_read(file) for file in names.values())
    refuse_unlike(before.asked, after.asked, (str(names["before"]), str(names["after"])))
    meanwhile = {}
    for step, file in evaluation_files(folder).items():
        meanwhile[step] = _read(file)
        refuse_unlike(meanwhile[step].asked, after.asked, (str(file), str(names["after"])))
    table = write_report(folder, before, after, folder / METRICS, title, meanwhile)
    return f"{table}\nreport: {folder / 'report.md'}, {folder / 'report.png'}"


def _read(file: Path) -> HeldOutResult:
    try:
        return HeldOutResult.model_validate_json(file.read_text("utf-8"))
    except ValidationError as error:
        raise UserError(
            f"{file}: is no evaluation ({first_problem(error, HeldOutResult)}); delete it and run "
            "perl-rl report"
        ) from None


def write_report(
    folder: Path,
    before: OrderRobustness,
    after: OrderRobustness,
    metrics: Path,
    title: str = "PeRL on handwritten digits",
    by_step: Mapping[int, HeldOutResult] | None = None,
) -> str:
    """Write `report.md` and `report.png` into `folder` and return the table as plain text.

    Args:
        metrics: ``metrics.jsonl``, one object for each training step; only keys that it holds get a
            curve.
        title: of the page and of the picture.
        by_step: all evaluations of the run, those before and after training included.
    """
    evaluations = by_step or {}
    table = _table(before, after)
    _draw(folder / "report.png", before, after, read_metrics(metrics), title, evaluations)
    text = (
        f"# {title}\n\n{after.items} held-out questions, {after.answers} prompts"
        f" (every question in up to {amount(after.most_orders, 'order')} of its images), greedy "
        "decoding;"
        " 95 % bootstrap intervals in brackets.\n\n"
        f"{_markdown(table)}\n\n![before and after](report.png)\n"
    )
    if len(evaluations) > 2:
        text += f"\n## While training\n\n{_markdown(_by_step(evaluations))}\n"
    (folder / "report.md").write_text(text, encoding="utf-8")
    return _plain(table)


_NO_SOURCE = "no source"
"""What questions without `source` are called."""


def _table(before: OrderRobustness, after: OrderRobustness) -> list[list[str]]:
    rows = [["", "before", "after PeRL"]]
    for name, label in _HEADLINES:
        rows.append([label, *(_interval(getattr(one, name)) for one in (before, after))])
    for slot in sorted(before.accuracy_by_slot):
        values = (one.accuracy_by_slot.get(slot) for one in (before, after))
        rows.append([f"accuracy, gold image in place {slot + 1}", *map(_percent, values)])
    for source in sorted(before.by_source):
        for name in ("accuracy", "flip_rate"):
            values = (getattr(one.by_source[source], name) for one in (before, after))
            rows.append(
                [f"{source or _NO_SOURCE}: {name.replace('_', ' ')}", *map(_percent, values)]
            )
    return rows


def _by_step(evaluations: Mapping[int, HeldOutResult]) -> list[list[str]]:
    rows = [["step", *(label for _, label in _HEADLINES), "answered by versions"]]
    for step, one in sorted(evaluations.items()):
        figures = (_interval(getattr(one, name)) for name, _ in _HEADLINES)
        rows.append([str(step), *figures, " to ".join(one.versions) or "-"])
    return rows


def _interval(one: Estimate) -> str:
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _plain(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _draw(
    file: Path,
    before: OrderRobustness,
    after: OrderRobustness,
    metrics: list[dict[str, Any]],
    title: str,
    evaluations: Mapping[int, HeldOutResult],
) -> None:
    points = [
        {"step": step, _HELD_OUT[0]: one.accuracy.value}
        for step, one in sorted(evaluations.items())
    ]
    curves = [(key, label) for key, label in _CURVES if any(key in row for row in metrics)]
    columns = 3
    rows = 1 + -(-(len(curves) + (len(points) > 2)) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(12, 3.4 * rows), squeeze=False)
    panels = list(grid.flat)
    _headline_bars(panels[0], before, after)
    _slot_bars(panels[1], before, after)
    _source_bars(panels[2], before, after)
    for panel, (key, label) in zip(panels[columns:], curves, strict=False):
        _curve(panel, metrics, key, label)
    rest = panels[columns + len(curves) :]
    if len(points) > 2:
        _curve(rest.pop(0), points, *_HELD_OUT, over=1)
    for panel in rest:
        panel.set_axis_off()
    figure.suptitle(f"{title}: the same questions in other orders of their images")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _headline_bars(panel: Axes, before: OrderRobustness, after: OrderRobustness) -> None:
    pairs = [(getattr(before, name), getattr(after, name)) for name, _ in _HEADLINES]
    _bars(
        panel,
        ["accuracy", "worst case", "flip rate"],
        [one.value for one, _ in pairs],
        [two.value for _, two in pairs],
        spans=[
            [(one.low, one.high) for one, _ in pairs],
            [(two.low, two.high) for _, two in pairs],
        ],
    )
    panel.set_title("held-out questions")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.1), ncol=2, frameon=False)


def _slot_bars(panel: Axes, before: OrderRobustness, after: OrderRobustness) -> None:
    slots = sorted(before.accuracy_by_slot)
    _bars(
        panel,
        [str(slot + 1) for slot in slots],
        [before.accuracy_by_slot[slot] for slot in slots],
        [after.accuracy_by_slot.get(slot, 0.0) for slot in slots],
    )
    panel.set_title("accuracy by place of the gold image")


def _source_bars(panel: Axes, before: OrderRobustness, after: OrderRobustness) -> None:
    sources = sorted(before.by_source)
    _bars(
        panel,
        [source or _NO_SOURCE for source in sources],
        [before.by_source[source].flip_rate for source in sources],
        [after.by_source[source].flip_rate for source in sources],
    )
    panel.set_title("flip rate by kind of question")


def _bars(
    panel: Axes,
    names: Sequence[str],
    before: Sequence[float],
    after: Sequence[float],
    spans: Sequence[Sequence[tuple[float, float]]] | None = None,
) -> None:
    for offset, values, label, colour, side in (
        (-0.2, before, "before", _BEFORE, 0),
        (0.2, after, "after PeRL", _AFTER, 1),
    ):
        places = [place + offset for place in range(len(names))]
        panel.bar(places, values, width=0.4, label=label, color=colour)
        if spans is not None:
            lows = [
                max(0.0, value - low) for value, (low, _) in zip(values, spans[side], strict=True)
            ]
            highs = [
                max(0.0, high - value) for value, (_, high) in zip(values, spans[side], strict=True)
            ]
            panel.errorbar(places, values, yerr=[lows, highs], fmt="none", ecolor="#333333")
    panel.set_xticks(range(len(names)), names)
    panel.set_ylim(0, 1)


def _curve(
    panel: Axes,
    metrics: list[dict[str, Any]],
    key: str,
    label: str,
    over: int = _SMOOTHED_OVER,
) -> None:
    points = [
        (row.get("step", place + 1), float(row[key]))
        for place, row in enumerate(metrics)
        if row.get(key) is not None
    ]
    steps, values = [step for step, _ in points], [value for _, value in points]
    panel.plot(steps, values, color=_AFTER, alpha=0.25)
    panel.plot(steps, _smooth(values, over), color=_AFTER)
    panel.set_title(label)
    panel.set_xlabel("step")


def _smooth(values: Sequence[float], over: int) -> list[float]:
    """Running mean over the last `over` values."""
    starts = (max(0, end - over) for end in range(1, len(values) + 1))
    return [
        sum(values[start : place + 1]) / (place + 1 - start) for place, start in enumerate(starts)
    ]
