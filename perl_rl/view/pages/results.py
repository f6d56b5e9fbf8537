"""Result files of ``perl-rl eval``: one, or two side by side, and one item with its answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.bars import Group, GroupedBars, grouped_bars
from perl_rl.view.render import page
from perl_rl.view.results import (
    FILTERS,
    PER_PAGE,
    Pair,
    chosen,
    compared,
    filters,
    flips,
    pairs,
    read,
)
from shared.errors import UserError

if TYPE_CHECKING:
    from perl_rl.eval.compare import Comparison, Difference
    from perl_rl.eval.results import Result

router = APIRouter()

Place = Annotated[str, Query(max_length=9)]


@router.get("/results")
def choose(request: Request, a: Place = "", b: Place = "") -> HTMLResponse:
    """The results that are named in the query; by default the first two."""
    if not a:
        a, b = "0", "1" if len(request.app.state.results) > 1 else ""
    return show_results(request, a if b in ("", a) else f"{a}-{b}")


@router.get("/results/{which}")
def show_results(
    request: Request,
    which: str,
    show: str = "",
    task: str | None = None,
    at: Annotated[int, Query(alias="page", ge=1)] = 1,
) -> HTMLResponse:
    """One result, or two side by side; two of other questions or orders are refused."""
    opened = _open(request, which)
    both, found, task = opened.results, pairs(*opened.results), task or None
    show = show or ("changed" if len(both) > 1 else "all")
    if show not in FILTERS:
        raise HTTPException(400, f"show: must be one of {', '.join(FILTERS)}")
    kept, names = chosen(found, show, task), filters(len(both) > 1)
    return page(
        request,
        "results.html",
        opened=opened,
        results=both,
        figures=_figures(opened.comparison) if opened.comparison else [],
        slots=_slots(both),
        tasks=sorted({item.task for item in both[0].items}),
        task=task,
        filters=names,
        counts={name: len(chosen(found, name, task)) for name in names},
        show=show,
        found=kept[(at - 1) * PER_PAGE : at * PER_PAGE],
        total=len(kept),
        at=at,
        pages=max(1, -(-len(kept) // PER_PAGE)),
        flips=flips,
    )


@router.get("/results/{which}/items/{name:path}")
def show_item(request: Request, which: str, name: str) -> HTMLResponse:
    """One item: its answers under every order, of one result or two."""
    opened = _open(request, which)
    found = pairs(*opened.results)
    place = next((place for place, pair in enumerate(found) if pair.a.id == name), None)
    if place is None:
        raise HTTPException(404, f"{opened.names[0]} has no item '{name}'.")
    pair = found[place]
    return page(
        request,
        "item.html",
        opened=opened,
        pair=pair,
        rows=list(zip(*(item.answers for item in pair.both), strict=False)),
        before=_id(found, place - 1),
        after=_id(found, place + 1),
    )


def _id(found: list[Pair], place: int) -> str | None:
    return found[place].a.id if 0 <= place < len(found) else None


@dataclass(frozen=True)
class _Opened:
    """The results of a page."""

    files: list[Path]
    """All that are shown, to choose from."""
    places: list[int]
    """Which of them are looked at, one or two."""
    results: list["Result"]
    comparison: "Comparison | None"

    @property
    def path(self) -> str:
        """The address of the page."""
        return "/results/" + "-".join(map(str, self.places))

    @property
    def names(self) -> list[str]:
        """The files that are looked at."""
        return [str(self.files[place]) for place in self.places]


def _open(request: Request, which: str) -> _Opened:
    files: list[Path] = request.app.state.results
    if not files:
        raise HTTPException(
            404, "No result was named; start it with perl-rl view RUN RESULT.json [RESULT.json]."
        )
    names = which.split("-")
    if len(names) > 2 or not all(name.isdecimal() and int(name) < len(files) for name in names):
        raise HTTPException(
            404, f"There are no results {which}: {len(files)} are shown, counted from 0."
        )
    places = [int(name) for name in names]
    try:
        comparison = compared(*(files[place] for place in places)) if len(places) > 1 else None
        return _Opened(files, places, [read(files[place]) for place in places], comparison)
    except UserError as error:
        raise HTTPException(409, str(error)) from None


def _figures(comparison: "Comparison") -> list[tuple[str, "Difference"]]:
    tasks = comparison.tasks if len(comparison.tasks) > 1 else {}
    return [
        ("score, original order", comparison.score),
        *comparison.robustness.items(),
        *((f"task {name}", one) for name, one in tasks.items()),
    ]


def _slots(both: Sequence["Result"]) -> GroupedBars | None:
    """Accuracy by the place of the gold image, as bars; None where orders were not asked."""
    shown = [one.robustness for one in both if one.robustness is not None]
    slots = sorted({slot for one in shown for slot in one.accuracy_by_slot})
    if len(shown) < len(both) or not slots:
        return None
    return grouped_bars(
        [
            Group(
                f"place {slot + 1}",
                tuple(one.accuracy_by_slot.get(slot) for one in shown),
                tuple(one.interval_by_slot.get(slot) for one in shown),
            )
            for slot in slots
        ]
    )
