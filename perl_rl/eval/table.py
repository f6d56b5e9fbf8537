"""Results as text for the terminal: figures in percent with their 95 % intervals."""

from collections import Counter
from collections.abc import Iterable, Sequence

from perl_rl.eval.bootstrap import Estimate
from perl_rl.eval.compare import Comparison, Difference
from perl_rl.eval.items import Benchmark
from perl_rl.eval.results import Accuracy, Result
from perl_rl.eval.robustness import OrderRobustness
from perl_rl.eval.rows import skipped_lines
from shared.words import amount


def table(benchmark: Benchmark, result: Result) -> str:
    """The score, its parts, and order robustness where it was measured."""
    summary = result.summary
    over = "all questions" if summary.average == "micro" else f"{len(summary.tasks)} tasks"
    lines = [
        f"{benchmark.title}, {amount(summary.items, 'question')} ({summary.published_items} "
        "published), "
        f"model {result.model}",
        f"graded by {summary.graded_by}: {summary.compares}",
        "",
        f"score, {summary.average} over {over}: {percent(summary.score)} ({summary.interval})",
    ]
    lines[1:1] = skipped_lines(result.skipped)
    if summary.step_accuracy is not None:
        lines.append(f"step accuracy: {percent(summary.step_accuracy)} (bootstrap)")
    if summary.judged_right:
        lines.append(f"right by the judge's word alone: {summary.judged_right}")
    if summary.no_answer:
        lines.append(f"without a final answer: {summary.no_answer}")
    for heading, parts in [("task", summary.tasks), *summary.groups.items()]:
        if parts != {} and not (heading == "task" and len(parts) == 1):
            lines += ["", *columns(_rows(heading, parts))]
    if result.robustness is not None:
        lines += ["", *_robustness(result.robustness)]
    excluded = Counter(item.excluded for item in result.items if item.excluded is not None)
    if result.settings["orders"] > 1 and excluded:
        lines += ["", *columns([("not permuted", "items"), *_counts(excluded)])]
    return "\n".join(lines)


def _rows(heading: str, parts: dict[str, Accuracy]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [(heading, "n", "accuracy (Wilson)")]
    return rows + [(name, str(one.items), percent(one.accuracy)) for name, one in parts.items()]


def _robustness(found: OrderRobustness) -> list[str]:
    rows = [
        (
            "order robustness (bootstrap)",
            f"{amount(found.items, 'item')}, {amount(found.answers, 'answer')}",
        ),
        ("accuracy, mean over orders", percent(found.accuracy)),
        ("worst case, right in every order", percent(found.worst_case)),
        ("flip rate", percent(found.flip_rate)),
        ("floor, the same order again", percent(found.floor) if found.floor else "not measured"),
    ]
    for slot, accuracy in found.accuracy_by_slot.items():
        low, high = found.interval_by_slot[slot]
        estimate = Estimate(value=accuracy, low=low, high=high)
        rows.append((f"accuracy, gold image at place {slot + 1}", percent(estimate)))
    return columns(rows)


def _counts(counted: Counter[str]) -> list[tuple[str, str]]:
    return [(name, str(count)) for name, count in sorted(counted.items())]


def percent(estimate: Estimate) -> str:
    """``41.2 [35.1, 47.0]``, in percent."""
    value, low, high = (100 * one for one in (estimate.value, estimate.low, estimate.high))
    return f"{value:5.1f} [{low:.1f}, {high:.1f}]"


def columns(rows: Sequence[Iterable[str]]) -> list[str]:
    """Rows of cells as lines, each column as wide as its widest cell."""
    cells = [list(row) for row in rows]
    widths = [max(len(row[place]) for row in cells) for place in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def comparison_table(comparison: Comparison) -> str:
    """Both figures, the difference and its p-value, a line each."""
    named = {"score": comparison.score, **comparison.robustness}
    rows: list[tuple[str, ...]] = [("", "n", "A", "B", "B - A", "p", "only A/B", "test")]
    rows += [_compared(name, one) for name, one in named.items()]
    if len(comparison.tasks) > 1:
        rows += [_compared(f"task {name}", one) for name, one in comparison.tasks.items()]
    lines = [
        f"{comparison.benchmark}: {amount(comparison.items, 'question')} in common, "
        f"{comparison.only_in_one} in one result only",
        f"A  {comparison.model_a}",
        f"B  {comparison.model_b}",
        "",
        *columns(rows),
    ]
    return "\n".join(lines)


def _compared(name: str, one: Difference) -> tuple[str, ...]:
    discordant = "" if one.only_a is None else f"{one.only_a}/{one.only_b}"
    a, b = (f"{100 * value:.1f}" for value in (one.a, one.b))
    difference = percent(one.difference)
    p_value = "<0.0001" if one.p_value < 1e-4 else f"{one.p_value:.4f}"
    return (name, str(one.items), a, b, difference, p_value, discordant, one.test)
