"""Which charts a run's page shows, from which figures of ``metrics.jsonl`` and the record."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from perl_rl.report.summary import resumed_after
from perl_rl.view.axes import Size, percent, short
from perl_rl.view.charts import SMALL, Chart, line_chart, stacked_bars
from perl_rl.view.series import Row, Series, by_reason, series

Bounds = tuple[float | None, float | None]

_SHARE: Bounds = (0.0, 1.0)
_POSITIVE: Bounds = (0.0, None)


@dataclass(frozen=True)
class Panel:
    """One chart of a run."""

    id: str
    """In the chart's address."""
    title: str
    about: str
    """What it shows, in a sentence."""
    curves: tuple[tuple[str, str], ...] = ()
    """Its figures, each with its name in the legend; none: it is `HELD_OUT` or `LEFT_OUT`."""
    bounds: Bounds = (None, None)
    words: Callable[[float], str] = short


HELD_OUT = Panel(
    "heldout",
    "Held-out questions",
    "Evaluations of the policy, greedily, with 95 % intervals.",
    bounds=_SHARE,
)
LEFT_OUT = Panel(
    "dropped",
    "Dropped and skipped groups",
    "Groups that were not trained, by reason.",
)

PANELS: tuple[Panel, ...] = (
    Panel(
        "accuracy",
        "Accuracy",
        "Share of right answers. The worst order's is the mean over the recorded groups.",
        (
            ("accuracy_all", "all groups"),
            ("accuracy", "trained groups"),
            ("worst_accuracy", "under the worst order"),
        ),
        _SHARE,
    ),
    Panel(
        "flips",
        "Flip rate within groups",
        "Share of recorded groups whose most frequent answer changes with the order.",
        (("flip_rate", "groups that flip"),),
        _SHARE,
    ),
    HELD_OUT,
    Panel(
        "reward",
        "Reward",
        "Mean total reward of the responses; filters keep only some groups.",
        (("reward_all", "all groups"), ("reward", "trained groups")),
    ),
    Panel(
        "kl",
        "KL to the start model",
        "Mean divergence from the reference model, in nats per trained token (k3).",
        (("kl", "KL"),),
        _POSITIVE,
    ),
    Panel(
        "entropy",
        "Entropy",
        "Mean negative log-probability of the trained tokens, in nats.",
        (("entropy", "entropy"),),
        _POSITIVE,
    ),
    Panel(
        "length",
        "Response length",
        "Mean length of a response, in tokens.",
        (("mean_response_tokens", "tokens"),),
        _POSITIVE,
    ),
    Panel(
        "clipped",
        "Clipped tokens",
        "Share of trained tokens whose ratio was clipped.",
        (("clip_fraction", "clipped"), ("importance_outside", "importance weight at a bound")),
        _SHARE,
        percent,
    ),
    Panel(
        "gradient",
        "Gradient norm",
        "L2 norm of the step's last update, before clipping.",
        (("grad_norm", "norm"),),
        _POSITIVE,
    ),
    Panel(
        "mismatch",
        "Sampler against trainer",
        "Mean absolute difference of their log-probabilities, in nats per token.",
        (("logprob_mismatch_abs", "difference"),),
        _POSITIVE,
    ),
    Panel(
        "staleness",
        "Staleness",
        "Policy versions between a group's oldest token and the step that trained it.",
        (("staleness_mean", "mean"), ("staleness_max", "oldest group")),
        _POSITIVE,
    ),
    LEFT_OUT,
    Panel(
        "tokens",
        "Tokens a second",
        "Response tokens of the trained groups, per second of the step.",
        (("tokens_per_s", "tokens/s"),),
        _POSITIVE,
    ),
    Panel(
        "idle",
        "Idle shares",
        "Share of time for which each stage had nothing to do. The least idle one is the "
        "bottleneck.",
        (
            ("rollout_idle_share", "rollout"),
            ("reward_idle_share", "reward"),
            ("trainer_idle_share", "trainer"),
        ),
        _SHARE,
        percent,
    ),
    Panel(
        "times",
        "Seconds of a step",
        "Waiting for groups, training on them, and handing over the new weights.",
        (("wait_s", "wait"), ("train_s", "train"), ("sync_s", "new weights")),
        _POSITIVE,
    ),
)
"""In the order of the page: how good, how the policy changes, which groups, how fast."""

_REASONS = {"groups_dropped_step": "", "groups_skipped_step": "skipped: "}


def find_panel(name: str) -> Panel | None:
    """The panel with this id."""
    return next((one for one in PANELS if one.id == name), None)


def panel_series(panel: Panel, rows: Sequence[Row], evaluations: Sequence[Series]) -> list[Series]:
    """The curves of a panel; those without a value are left out."""
    if panel is HELD_OUT:
        return list(evaluations)
    if panel is LEFT_OUT:
        return by_reason(rows, _REASONS)
    curves = [series(rows, key, label, place) for place, (key, label) in enumerate(panel.curves)]
    return [one for one in curves if one.known()]


def panel_chart(
    panel: Panel,
    rows: Sequence[Row],
    evaluations: Sequence[Series],
    smooth: int = 1,
    size: Size = SMALL,
) -> Chart:
    """The chart of a panel for one run."""
    found, marks = panel_series(panel, rows, evaluations), resumed_after(list(rows))
    if panel is LEFT_OUT:
        return stacked_bars(found, size, marks)
    return line_chart(found, size, smooth, marks, panel.words, panel.bounds)


def compared(
    panel: Panel, runs: Mapping[str, tuple[Sequence[Row], Sequence[Series]]]
) -> dict[str, list[Series]]:
    """The curves of a panel for several runs: for each curve's name one series for each run.

    Args:
        runs: rows and evaluations by the run's label.
    """
    found: dict[str, list[Series]] = {}
    for place, (run, (rows, evaluations)) in enumerate(runs.items()):
        curves = panel_series(panel, rows, evaluations)
        if panel is LEFT_OUT:
            curves = [_total(curves)] if curves else []
        for one in curves:
            mine = Series(run, one.steps, one.values, one.spans, place)
            found.setdefault(one.label, []).append(mine)
    return found


def _total(reasons: Sequence[Series]) -> Series:
    sums = (
        sum(value or 0.0 for value in at) for at in zip(*(r.values for r in reasons), strict=True)
    )
    return Series("all reasons", reasons[0].steps, tuple(sums))
