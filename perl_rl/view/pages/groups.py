"""Lists of groups: all of a run, filtered and sorted, and those of one step."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.filters import (
    KINDS,
    PER_PAGE,
    SORTS,
    Filters,
    apply,
    choices,
    counts,
    from_query,
)
from perl_rl.view.index import Indexed
from perl_rl.view.render import page
from perl_rl.view.runs import Run, run_of
from perl_rl.view.search import Found, with_response
from shared.errors import UserError

router = APIRouter()

_CHOICES = {"kind": "Kind", "source": "Source", "reason": "Reason"}


@dataclass(frozen=True)
class Sheet:
    """One page of a list."""

    rows: list[dict[str, Any]]
    number: int
    """Of the page, from 1."""
    pages: int
    total: int
    """Groups in the whole list."""


@router.get("/runs/{run}/groups")
def groups(request: Request, run: Annotated[Run, Depends(run_of)]) -> HTMLResponse:
    """The groups of a run."""
    filters = filters_of(request.query_params)
    known = run.groups.read()
    found = listed(run, filters, known.table)
    return page(
        request,
        "groups.html",
        run,
        sheet=_sheet(found.groups, filters.page),
        down_to=found.down_to,
        step=None,
        **_about(known, known.table, filters),
    )


@router.get("/runs/{run}/steps/{step}")
def step(request: Request, run: Annotated[Run, Depends(run_of)], step: int) -> HTMLResponse:
    """The groups that a step trained, and those dropped or skipped while it was collected."""
    known = run.groups.read()
    steps = pc.unique(known.table["step"]).to_pylist()
    filters = filters_of({**request.query_params, "first": str(step), "last": str(step)})
    of_step = known.table.filter(pc.equal(known.table["step"], step))
    found = listed(run, filters, of_step)
    return page(
        request,
        "groups.html",
        run,
        sheet=_sheet(found.groups, filters.page),
        down_to=found.down_to,
        step=step,
        earlier=max((one for one in steps if one < step), default=None),
        later=min((one for one in steps if one > step), default=None),
        **_about(known, of_step, filters),
    )


def filters_of(query: Mapping[str, str]) -> Filters:
    """The filters of an address.

    Raises:
        HTTPException: 400 with a line that says what cannot be read.
    """
    try:
        return from_query(query)
    except ValueError as error:
        raise HTTPException(400, f"This address cannot be read: {error}.") from None


def listed(run: Run, filters: Filters, table: pa.Table) -> Found:
    """The rows of the index that a list with these filters shows."""
    chosen = apply(filters, table)
    if filters.deep and filters.text is not None:
        return with_response(run.folder, chosen, filters.text)
    return Found(chosen, None)


def read_rows(run: Run, names: list[str], columns: list[str] | None = None) -> list[dict[str, Any]]:
    """Whole groups of a run.

    Args:
        names: their ids.
        columns: the ones to read; default: all.

    Raises:
        HTTPException: 404 with a line about the file that cannot be read.
    """
    try:
        return list(run.groups.rows(names, columns))
    except UserError as error:
        raise HTTPException(404, str(error)) from None


def _about(known: Indexed, table: pa.Table, filters: Filters) -> dict[str, Any]:
    return {
        "filters": filters,
        "known": known,
        "kinds": KINDS,
        "counts": counts(table),
        "all": table.num_rows,
        "choices": {name: (title, choices(table, name)) for name, title in _CHOICES.items()},
        "sorts": SORTS,
    }


def _sheet(table: pa.Table, number: int) -> Sheet:
    pages = max(1, -(-table.num_rows // PER_PAGE))
    number = min(number, pages)
    rows = table.slice((number - 1) * PER_PAGE, PER_PAGE).to_pylist()
    return Sheet(rows, number, pages, table.num_rows)
