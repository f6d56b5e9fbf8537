"""A study in words: its tables as Markdown, made from its results alone."""

from collections.abc import Sequence

import numpy as np

from perl_rl.eval.bootstrap import Estimate
from perl_rl.study.intervals import FIGURES, arm_figure, at_equal_groups, difference
from perl_rl.study.results import RunResult, StudyResults

_BARE = "not measured"


def study_page(results: StudyResults, command: str, picture: str) -> str:
    """Everything a study shows, from its table to the runs that failed.

    Args:
        command: what makes it again.
        picture: the picture's file, relative to the page.
    """
    parts = [
        f"## {results.title}",
        _about(results, command),
        f"### At {results.responses:,} sampled responses a run",
        "Means over seeds, with 95 % intervals (bootstrap over seeds, and questions within each).",
        markdown(_table(results)),
        f"Differences to **{results.arms[results.baseline]}**, question by question of the same "
        "seed. A difference whose interval includes 0 is not shown by these runs.",
        markdown(_differences(results)),
        *_equal_groups(results),
        "### What it cost",
        markdown(_costs(results)),
        f"![learning curves, order robustness and accuracy by place]({picture})",
        *_failures(results),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its head."""
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _about(results: StudyResults, command: str) -> str:
    seeds = sorted({run.seed for run in results.runs})
    done = sum(run.done for run in results.runs)
    hours = sum(run.wall_s for run in results.runs) / 3600
    machine = "; ".join(f"{name}: {value}" for name, value in results.machine.items())
    return (
        f"`{command}`: {len(results.arms)} arms, seeds {', '.join(map(str, seeds))}, {done} of "
        f"{len(results.runs)} runs done, {hours:.1f} hours of training. {machine}"
    )


def _table(results: StudyResults) -> list[list[str]]:
    rows = [["arm", "seeds", *FIGURES.values()], _start(results)]
    for name, title in results.arms.items():
        runs = results.of(name)
        figures = [shown(arm_figure(runs, figure)) if runs else _BARE for figure in FIGURES]
        rows.append([title, str(len(runs)), *figures])
    return rows


def _start(results: StudyResults) -> list[str]:
    """The start model's row: it is the same for all arms of a seed."""
    by_seed = {run.seed: run for run in results.runs if run.done and run.points}
    firsts = [run.points[0] for run in by_seed.values()]
    means = [
        f"{np.mean([getattr(point, figure) for point in firsts]):.3f}" if firsts else _BARE
        for figure in FIGURES
    ]
    return ["*start model*", str(len(by_seed)), *means]


def _differences(results: StudyResults) -> list[list[str]]:
    rows = [["arm", *FIGURES.values()]]
    baseline = results.of(results.baseline)
    for name, title in results.arms.items():
        if name != results.baseline:
            found = [difference(results.of(name), baseline, figure) for figure in FIGURES]
            rows.append([title, *(_BARE if one is None else _signed(one) for one in found)])
    return rows


def _equal_groups(results: StudyResults) -> list[str]:
    step, arms = at_equal_groups(results)
    if step == 0:
        return []
    groups = max(
        point.trained_groups for run in results.runs for point in run.points if point.step == step
    )
    rows = [["arm", *FIGURES.values()]]
    rows += [
        [results.arms[name], *(shown(figures[figure]) for figure in FIGURES)]
        for name, figures in arms.items()
    ]
    return [
        f"### At {groups:,} trained groups (step {step})",
        "The last step at which all runs were evaluated; intervals over seeds alone.",
        markdown(rows),
    ]


def _costs(results: StudyResults) -> list[list[str]]:
    rows = [["arm", "steps", "trained groups", "dropped", "skipped", "minutes a run"]]
    for name, title in results.arms.items():
        runs = list(results.of(name).values())
        if runs:
            rows.append([title, *_cost(runs)])
    return rows


def _cost(runs: Sequence[RunResult]) -> list[str]:
    dropped = [sum(run.dropped.values()) for run in runs]
    trained = [run.trained for run in runs]
    share = sum(dropped) / max(1, sum(dropped) + sum(trained))
    return [
        f"{np.mean([run.steps for run in runs]):.0f}",
        f"{np.mean(trained):.0f}",
        f"{share:.0%}",
        f"{np.mean([run.skipped for run in runs]):.0f}",
        f"{np.mean([run.wall_s for run in runs]) / 60:.1f}",
    ]


def _failures(results: StudyResults) -> list[str]:
    lines = [
        f"- {results.arms[run.arm]}, seed {run.seed}: {run.outcome}"
        for run in results.runs
        if not run.done
    ]
    return ["### Runs without a result", "\n".join(lines)] if lines else []


def shown(one: Estimate) -> str:
    """A figure with its interval."""
    return f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _signed(one: Estimate) -> str:
    return f"{one.value:+.3f} [{one.low:+.3f}, {one.high:+.3f}]"
