"""One question in all steps that asked it."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.filters import Filters, apply
from perl_rl.view.group import group_shown
from perl_rl.view.images import sizes
from perl_rl.view.pages.groups import read_rows
from perl_rl.view.render import page
from perl_rl.view.runs import Run, run_of
from shared.records.groups import GROUP_COLUMNS, ORDER_COLUMNS

router = APIRouter()

_MOST = 100
"""Groups that are shown, the newest."""

_COLUMNS = [
    *(one.name for one in (*GROUP_COLUMNS, *ORDER_COLUMNS)),
    *("response_order", "response_index", "response_answer", "response_original_answer"),
]


@router.get("/runs/{run}/samples/{sample:path}")
def sample(request: Request, run: Annotated[Run, Depends(run_of)], sample: str) -> HTMLResponse:
    """The groups that asked this sample, oldest first."""
    known = run.groups.read()
    found = apply(Filters(sample=sample, sort="step", up=True), known.table)
    ids = found["group_id"].to_pylist()
    if not ids:
        raise HTTPException(404, f"No recorded group of {run.name} asks a sample of this name.")
    rows = {row["group_id"]: row for row in read_rows(run, ids[-_MOST:], _COLUMNS)}
    shown = [group_shown(rows[one]) for one in ids[-_MOST:] if one in rows]
    if not shown:
        raise HTTPException(404, f"{run.name} has just deleted the groups of this sample.")
    return page(
        request,
        "sample.html",
        run,
        sample=sample,
        groups=shown,
        sizes=sizes(run.folder, shown[-1]),
        left_out=max(0, len(ids) - _MOST),
    )
