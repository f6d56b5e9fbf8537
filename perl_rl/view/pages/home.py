"""The first page: the runs to choose from, or the only one itself."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.charts import SPARK, line_chart
from perl_rl.view.figures import headlines, read_figures, read_state
from perl_rl.view.pages.run import Smooth, show_run
from perl_rl.view.render import page
from perl_rl.view.runs import Run
from perl_rl.view.series import series

router = APIRouter()

_SHOWN = "accuracy_all"
"""The figure whose curve a run's card shows."""


@router.get("/")
def home(request: Request, smooth: Smooth = None) -> HTMLResponse:
    """All runs that this view was started with."""
    runs: list[Run] = request.app.state.runs
    results: list[Path] = request.app.state.results
    if len(runs) == 1 and not results:
        return show_run(request, runs[0], smooth)
    cards = []
    for run in runs:
        figures = read_figures(run)
        curve = line_chart([series(figures.rows, _SHOWN, "accuracy, all groups")], SPARK)
        found = headlines(figures.rows)
        cards.append((run, figures, read_state(run, figures), curve, found))
    return page(request, "home.html", cards=cards, shown=_SHOWN, results=results)
