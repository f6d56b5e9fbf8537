"""One trained step in one line of at most 100 columns: how good, how far off, how fast, how long.

``metrics.jsonl`` has all figures (docs/metrics.md).
"""

from collections import deque

from perl_rl.report.summary import Metrics

_PARTS = ("wait_s", "train_s", "sync_s")
"""Of a step; together they are the whole."""

_LOOKED_AT = 10
"""How many of the last steps the time left is judged by."""


class TimeLeft:
    """How long the steps to come will take, by the pace of the last ones."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, float]] = deque(maxlen=_LOOKED_AT)

    def after(self, row: Metrics, steps: int) -> float | None:
        """Seconds from the step `row` to the last one; None before there are two steps.

        A step that is not the next one begins anew: a resumed run goes back.
        """
        step, ended = row["step"], row.get("time")
        if ended is None:
            return None
        if self._seen and step != self._seen[-1][0] + 1:
            self._seen.clear()
        self._seen.append((step, ended))
        first, began = self._seen[0]
        return None if step == first else (ended - began) / (step - first) * (steps - step)


def step_line(row: Metrics, steps: int, left_s: float | None = None) -> str:
    """One step in one line: its figures in groups. An alarm takes the place of pace and time.

    Args:
        left_s: seconds to the last step; None before that is known.
    """
    groups = [f"step {row['step']}/{steps}", _quality(row), _distance(row)]
    if row.get("alarms"):
        groups.append(f"ALARM {', '.join(row['alarms'])}")
    else:
        groups += [_speed(row), "" if not left_s else f"{_rough(left_s)} left"]
    return "  ".join(group for group in groups if group)


def _quality(row: Metrics) -> str:
    """Accuracy is that of all groups, where it is known: that of the kept ones hangs on filters."""
    accuracy = row.get("accuracy") if row.get("accuracy_all") is None else row["accuracy_all"]
    figures = [("reward", row.get("reward")), ("acc", accuracy)]
    return " ".join(f"{name} {value:.2f}" for name, value in figures if value is not None)


def _distance(row: Metrics) -> str:
    dropped, skipped, kl = row.get("dropped_share"), row.get("skipped_share"), row.get("kl")
    figures = ["" if dropped is None else f"drop {dropped:.0%}"]
    figures.append("" if not skipped else f"skip {skipped:.0%}")
    figures.append("" if kl is None else f"kl {_short(kl, 3)}")
    return " ".join(filter(None, figures))


def _speed(row: Metrics) -> str:
    """Tokens a second, and the stage that bounds the run; the wait, before that is measured."""
    tokens, parts = row.get("tokens_per_s"), [row.get(name) for name in _PARTS]
    figures = [] if tokens is None else [f"{_short(tokens, 0)} tok/s"]
    lasted_s = sum(part for part in parts if part is not None)
    if row.get("bound_by") is not None:
        figures.append(f"{row['bound_by']}-bound")
    elif parts[0] is not None and lasted_s > 0:
        figures.append(f"wait {parts[0] / lasted_s:.0%}")
    return " ".join(figures)


def _short(number: float, decimals: int) -> str:
    """In about four characters: 0.007, 9.8, 148, 1.7k, 124k."""
    if abs(number) < 100:
        return f"{number:.{decimals}f}"
    if abs(number) < 1000:
        return f"{number:.0f}"
    return f"{number / 1000:.1f}k" if abs(number) < 10_000 else f"{number / 1000:.0f}k"


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f}m"
    return f"{seconds / 3600:.{0 if seconds >= 36_000 else 1}f}h"
