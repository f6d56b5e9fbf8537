"""A study's picture: learning curves, order robustness, and accuracy by place."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from perl_rl.study.intervals import FIGURES, arm_figure
from perl_rl.study.results import RunResult, StudyResults

_PLACES = 60
"""Points of a curve, over the sampled responses."""


def draw(results: StudyResults, file: Path) -> None:
    """Write the picture; arms without a run that is done are left out."""
    arms = {name: runs for name in results.arms if (runs := results.of(name))}
    figure, panels = plt.subplots(2, 3, figsize=(15, 8.4))
    palette = plt.get_cmap("tab10")
    colours = {name: to_rgb(palette(place % 10)) for place, name in enumerate(results.arms)}
    for panel, (key, label) in zip(panels[0], FIGURES.items(), strict=True):
        for name, runs in arms.items():
            _curve(panel, runs, key, colours[name], results.arms[name])
        panel.set_title(f"{label}, while training")
        panel.set_xlabel("sampled responses")
    for panel, key in zip(panels[1], ("worst_case", "flip_rate"), strict=False):
        _bars(panel, arms, key, colours, results.arms)
        panel.set_title(f"{FIGURES[key]}, after training")
    _by_slot(panels[1][2], arms, colours)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="lower center", ncol=4)
    figure.suptitle(results.title)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    figure.savefig(file, dpi=90)
    plt.close(figure)


def _curve(
    panel: Axes,
    runs: Mapping[int, RunResult],
    key: str,
    colour: tuple[float, float, float],
    title: str,
) -> None:
    """The mean over seeds, with the band from the lowest to the highest seed."""
    most = min(run.points[-1].responses for run in runs.values())
    places = np.linspace(0, most, _PLACES)
    values = np.array(
        [
            np.interp(
                places,
                [one.responses for one in run.points],
                [getattr(one, key) for one in run.points],
            )
            for run in runs.values()
        ]
    )
    panel.fill_between(places, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15)
    panel.plot(places, values.mean(axis=0), color=colour, label=title)
    panel.grid(alpha=0.3)


def _bars(
    panel: Axes,
    arms: Mapping[str, Mapping[int, RunResult]],
    key: str,
    colours: Mapping[str, tuple[float, float, float]],
    titles: Mapping[str, str],
) -> None:
    for place, (name, runs) in enumerate(arms.items()):
        one = arm_figure(runs, key)
        sides = [[one.value - one.low], [one.high - one.value]]
        panel.barh(place, one.value, xerr=sides, color=colours[name], ecolor="#333333")
    panel.set_yticks(range(len(arms)), [titles[name] for name in arms])
    panel.invert_yaxis()


def _by_slot(
    panel: Axes,
    arms: Mapping[str, Mapping[int, RunResult]],
    colours: Mapping[str, tuple[float, float, float]],
) -> None:
    for name, runs in arms.items():
        slots = sorted({slot for run in runs.values() for slot in run.points[-1].by_slot})
        means = [
            np.mean([run.points[-1].by_slot.get(slot, np.nan) for run in runs.values()])
            for slot in slots
        ]
        panel.plot([slot + 1 for slot in slots], means, marker="o", color=colours[name])
    panel.set_title("accuracy by place of the gold image, after training")
    panel.set_xlabel("place")
    panel.grid(alpha=0.3)
