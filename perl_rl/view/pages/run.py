"""A run's page: what it does, its curves, its account of groups, its nodes, its settings."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from perl_rl.report.progress import duration
from perl_rl.report.summary import resumed_after
from perl_rl.view.axes import short
from perl_rl.view.charts import NARROW, WIDE
from perl_rl.view.figures import headlines, read_figures, read_state, warnings
from perl_rl.view.panels import PANELS, Panel, find_panel, panel_chart, panel_series
from perl_rl.view.render import add_filters, page
from perl_rl.view.runs import Run, run_of
from perl_rl.view.series import by_step
from perl_rl.view.settings import sections, side_by_side
from perl_rl.view.state import Ledger

router = APIRouter()

add_filters({"short": short})

SMOOTHING = (1, 5, 10, 25)
"""Over how many steps curves may be averaged, as the page offers it."""

_SMOOTHED_FROM = 40
"""Steps from which curves are smoothed unless asked otherwise."""

Smooth = Annotated[int | None, Query(ge=1, le=1000)]
ThisRun = Annotated[Run, Depends(run_of)]


@router.get("/runs/{run}")
def show_run(request: Request, run: ThisRun, smooth: Smooth = None) -> HTMLResponse:
    """The run's own page."""
    figures = read_figures(run)
    over = smooth or default_smoothing(len(figures.rows))
    charts = [
        (panel, chart)
        for panel in PANELS
        if not (chart := panel_chart(panel, figures.rows, figures.heldout.series, over)).empty
    ]
    left_s, state = figures.left_s(), read_state(run, figures)
    return page(
        request,
        "run.html",
        run,
        figures=figures,
        state=state,
        ledger_bar=ledger_bar(state.ledger) if state.ledger else [],
        left=None if left_s is None else duration(left_s),
        headlines=headlines(figures.rows),
        charts=charts,
        steps=linked_steps(request, run),
        resumed=resumed_after(figures.rows),
        warned=warnings(run, figures),
        smooth=over,
        smoothing=SMOOTHING,
    )


@router.get("/runs/{run}/curves/{panel}")
def show_curve(request: Request, run: ThisRun, panel: str, smooth: Smooth = None) -> HTMLResponse:
    """One chart, large, with all its values."""
    shown, figures = panel_of(panel), read_figures(run)
    over = smooth or default_smoothing(len(figures.rows))
    wide, narrow = (
        panel_chart(shown, figures.rows, figures.heldout.series, over, size)
        for size in (WIDE, NARROW)
    )
    curves = panel_series(shown, figures.rows, figures.heldout.series)
    return page(
        request,
        "curve.html",
        run,
        panel=shown,
        drawn=[] if wide.empty else [(shown.title, wide, narrow, curves, by_step(curves))],
        notes=figures.notes,
        smooth=over,
        smoothing=SMOOTHING,
        base=f"{run.path}/curves/{shown.id}",
        chosen=None,
        steps=linked_steps(request, run),
    )


@router.get("/runs/{run}/settings")
def show_settings(request: Request, run: ThisRun) -> HTMLResponse:
    """The run's configuration, key by key."""
    figures = read_figures(run)
    return page(
        request,
        "settings.html",
        run,
        sections=sections(side_by_side([figures.settings])),
        names=[run.name],
        notes=figures.notes,
    )


def linked_steps(request: Request, run: Run) -> list[int] | None:
    """The steps that have a page: in an export those of the groups it shows; None: all."""
    if request.app.state.exported is None:
        return None
    return sorted(set(run.groups.read().table["step"].to_pylist()))


def panel_of(name: str) -> Panel:
    """The panel that an address names.

    Raises:
        HTTPException: 404 when there is none.
    """
    found = find_panel(name)
    if found is None:
        raise HTTPException(404, f"There is no chart '{name}'.")
    return found


def default_smoothing(steps: int) -> int:
    """Over how many steps curves are averaged unless asked otherwise."""
    return 10 if steps >= _SMOOTHED_FROM else 1


@dataclass(frozen=True)
class Part:
    """One part of the bar that shows the ledger's sum, 1000 wide."""

    look: str
    x: float
    width: float


def ledger_bar(ledger: Ledger) -> list[Part]:
    """The ledger's sum as a bar: trained, dropped, in flight."""
    counts = {
        "trained": ledger.trained,
        "dropped": sum(ledger.dropped.values()),
        "flight": ledger.in_flight,
    }
    whole, parts, x = sum(counts.values()) or 1, [], 0.0
    for look, count in counts.items():
        width = round(1000 * count / whole, 1)
        if count:
            parts.append(Part(look, round(x, 1), width))
        x += width
    return parts
