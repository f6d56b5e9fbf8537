"""Several runs over each other: their curves, their figures, and where their settings differ."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.axes import Size
from perl_rl.view.charts import NARROW, SMALL, WIDE, Chart, line_chart
from perl_rl.view.figures import HEADLINES, Figures, headlines, read_figures, read_state
from perl_rl.view.pages.run import SMOOTHING, Smooth, default_smoothing, panel_of
from perl_rl.view.panels import HELD_OUT, PANELS, Panel, compared
from perl_rl.view.render import page
from perl_rl.view.runs import Run, run_of
from perl_rl.view.series import Series, by_step
from perl_rl.view.settings import differences, side_by_side

router = APIRouter()

Chosen = Annotated[list[str] | None, Query(alias="runs", max_length=64)]


@router.get("/compare")
def compare(
    request: Request, chosen: Chosen = None, smooth: Smooth = None, every: bool = False
) -> HTMLResponse:
    """The chosen runs over each other; default: all."""
    runs = _chosen(request, chosen)
    found = {run.name: read_figures(run) for run in runs}
    over = smooth or _smoothing(found)
    curves, refusal = _all_curves(found)
    charts = [
        (panel, label, _chart(panel, several, over, SMALL)) for panel, label, several in curves
    ]
    settings = [figures.settings for figures in found.values()]
    return page(
        request,
        "compare.html",
        chosen=runs,
        states=[read_state(run, found[run.name]) for run in runs],
        headlines=HEADLINES,
        figures=[{one.key: one.last for one in headlines(found[run.name].rows)} for run in runs],
        steps=[found[run.name].step for run in runs],
        charts=charts,
        notes=[*_notes(found), *refusal],
        settings=side_by_side(settings) if every else differences(settings),
        every=every,
        query=",".join(str(run.index) for run in runs),
        smooth=over,
        smoothing=SMOOTHING,
    )


@router.get("/compare/{panel}")
def compare_curve(
    request: Request, panel: str, chosen: Chosen = None, smooth: Smooth = None
) -> HTMLResponse:
    """One chart of the chosen runs, large, with all its values."""
    shown, runs = panel_of(panel), _chosen(request, chosen)
    found = {run.name: read_figures(run) for run in runs}
    over, refusal = smooth or _smoothing(found), _refusal(found) if shown is HELD_OUT else []
    return page(
        request,
        "curve.html",
        panel=shown,
        drawn=[
            (
                label,
                _chart(shown, several, over, WIDE),
                _chart(shown, several, over, NARROW),
                several,
                by_step(several),
            )
            for label, several in ({} if refusal else _curves(shown, found)).items()
        ],
        notes=[*_notes(found), *refusal],
        smooth=over,
        smoothing=SMOOTHING,
        base=f"/compare/{shown.id}",
        chosen=",".join(str(run.index) for run in runs),
        steps=[],
    )


def _chosen(request: Request, names: list[str] | None) -> list[Run]:
    runs: list[Run] = request.app.state.runs
    if names is None:
        return runs
    numbers = [number for name in names for number in name.split(",")]
    if not all(number.isdecimal() for number in numbers):
        raise HTTPException(400, "runs: must be numbers of runs, such as runs=0,1")
    return [run_of(request, number) for number in dict.fromkeys(map(int, numbers))]


def _curves(panel: Panel, found: dict[str, Figures]) -> dict[str, list[Series]]:
    return compared(panel, {name: (one.rows, one.heldout.series) for name, one in found.items()})


def _all_curves(
    found: dict[str, Figures],
) -> tuple[list[tuple[Panel, str, list[Series]]], list[str]]:
    refusal = _refusal(found)
    shown = [panel for panel in PANELS if panel is not HELD_OUT or not refusal]
    curves = [(one, label, some) for one in shown for label, some in _curves(one, found).items()]
    return curves, refusal


def _refusal(found: dict[str, Figures]) -> list[str]:
    """Why held-out accuracies are not shown over each other: the runs asked different things."""
    asked = {name: one.heldout.asked for name, one in found.items() if one.heldout.asked}
    if len(set(asked.values())) < 2:
        return []
    words = "; ".join(f"{name}: {one.words()}" for name, one in asked.items() if one)
    return [f"The held-out evaluations asked different things, so they are left out. {words}"]


def _notes(found: dict[str, Figures]) -> list[str]:
    return [f"{name}: {note}" for name, one in found.items() for note in one.notes]


def _chart(panel: Panel, several: list[Series], over: int, size: Size) -> Chart:
    return line_chart(several, size, over, words=panel.words, bounds=panel.bounds)


def _smoothing(found: dict[str, Figures]) -> int:
    return default_smoothing(max((len(one.rows) for one in found.values()), default=0))
