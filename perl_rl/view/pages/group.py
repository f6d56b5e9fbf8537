"""One group as a matrix of orders and responses, and one response with its tokens."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.filters import Filters
from perl_rl.view.group import GroupShown, group_shown
from perl_rl.view.images import sizes
from perl_rl.view.pages.groups import filters_of, listed, read_rows
from perl_rl.view.render import page
from perl_rl.view.runs import Run, run_of
from perl_rl.view.tokens import response_tokens, ways

router = APIRouter()


@router.get("/runs/{run}/groups/{group}")
def group(request: Request, run: Annotated[Run, Depends(run_of)], group: str) -> HTMLResponse:
    """The group's matrix. Filters in the address say which groups come before and after it."""
    filters = filters_of(request.query_params)
    shown = _read(run, group)
    return page(
        request,
        "group.html",
        run,
        group=shown,
        filters=filters,
        sizes=sizes(run.folder, shown),
        **_neighbours(run, group, filters),
    )


@router.get("/runs/{run}/groups/{group}/responses/{number}")
def response(
    request: Request, run: Annotated[Run, Depends(run_of)], group: str, number: int
) -> HTMLResponse:
    """A response, with its tokens coloured."""
    filters = filters_of(request.query_params)
    shown = _read(run, group)
    if not 0 <= number < len(shown.responses):
        raise HTTPException(
            404, f"Group {group} has no response {number}; it has {len(shown.responses)}."
        )
    one = shown.responses[number]
    return page(
        request,
        "response.html",
        run,
        group=shown,
        response=one,
        order=shown.orders[one.order],
        filters=filters,
        sizes=sizes(run.folder, shown),
        tokens=response_tokens(run.folder, dict(one.values)),
        ways=ways(dict(one.values)),
    )


def _read(run: Run, group: str) -> GroupShown:
    rows = read_rows(run, [group])
    if not rows:
        known = run.groups.read()
        still = " Not all files are read yet: try again in a moment." if known.unread else ""
        raise HTTPException(404, f"There is no record of group {group} in {run.name}.{still}")
    return group_shown(rows[0])


def _neighbours(run: Run, group: str, filters: Filters) -> dict[str, Any]:
    """The groups before and after this one in its list, and its place there, from 1."""
    found = listed(run, filters, run.groups.read().table)
    ids = found.groups["group_id"].to_pylist()
    if group not in ids:
        return {"before": None, "after": None, "place": None, "of": len(ids)}
    place = ids.index(group)
    return {
        "before": ids[place - 1] if place else None,
        "after": ids[place + 1] if place + 1 < len(ids) else None,
        "place": place + 1,
        "of": len(ids),
    }
