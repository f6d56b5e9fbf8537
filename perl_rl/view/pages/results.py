"""Result files of ``perl-rl eval``: one, or two side by side, and one item with its answers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from perl_rl.view.bars import Group, grouped_bars
from perl_rl.view.render import page
from perl_rl.view.results import FILTERS, Pair, chosen, compared, filters, flips, pairs, read
from shared.errors import UserError

if TYPE_CHECKING:
    from perl_rl.eval.compare import Comparison, Difference
    from perl_rl.eval.results import Result

router = APIRouter()

PER_PAGE = 100

Which = Annotated[int, Query(ge=0)]


@router.get("/results")
def show_results(
    request: Request,
    a: Which = 0,
    b: Annotated[int | None, Query(ge=0)] = None,
    show: str = "",
    task: str | None = None,
    at: Annotated[int, Query(alias="page", ge=1)] = 1,
) -> HTMLResponse:
    """One result, or two side by side; two of other questions or orders are refused."""
    files, first, second, comparison = _opened(request, a, b)
    found, task = pairs(first, second), task or None
    show = show or ("all" if second is None else "changed")
    if show not in FILTERS:
        raise HTTPException(400, f"show: must be one of {', '.join(FILTERS)}")
    kept = chosen(found, show, task)
    counts = {name: len(chosen(found, name, task)) for name in filters(second is not None)}
    return page(
        request,
        "results.html",
        files=files,
        a=a,
        b=b,
        results=[first] if second is None else [first, second],
        figures=_figures(comparison) if comparison else [],
        slots=_slots(first, second),
        tasks=sorted({item.task for item in first.items}),
        task=task,
        filters=filters(second is not None),
        counts=counts,
        show=show,
        found=kept[(at - 1) * PER_PAGE : at * PER_PAGE],
        total=len(kept),
        at=at,
        pages=max(1, -(-len(kept) // PER_PAGE)),
        flips=flips,
    )


@router.get("/results/item")
def show_item(
    request: Request, id: str, a: Which = 0, b: Annotated[int | None, Query(ge=0)] = None
) -> HTMLResponse:
    """One item: its answers under every order, of one result or two."""
    files, first, second, _ = _opened(request, a, b)
    found = pairs(first, second)
    place = next((place for place, pair in enumerate(found) if pair.a.id == id), None)
    if place is None:
        raise HTTPException(404, f"{files[a]} has no item '{id}'.")
    pair = found[place]
    return page(
        request,
        "item.html",
        files=files,
        a=a,
        b=b,
        pair=pair,
        rows=list(zip(*(item.answers for item in pair.both), strict=True)),
        before=_id(found, place - 1),
        after=_id(found, place + 1),
    )


def _id(found: list[Pair], place: int) -> str | None:
    return found[place].a.id if 0 <= place < len(found) else None


def _opened(
    request: Request, a: int, b: int | None
) -> tuple[list[Path], "Result", "Result | None", "Comparison | None"]:
    files: list[Path] = request.app.state.results
    if not files:
        raise HTTPException(
            404, "No result was named; start it with perl-rl view RUN RESULT.json [RESULT.json]."
        )
    for name, place in (("a", a), ("b", b)):
        if place is not None and place >= len(files):
            raise HTTPException(404, f"{name}: there is no result {place}: {len(files)} are shown.")
    try:
        comparison = None if b is None else compared(files[a], files[b])
        return files, read(files[a]), None if b is None else read(files[b]), comparison
    except UserError as error:
        raise HTTPException(409, str(error)) from None


def _figures(comparison: "Comparison") -> list[tuple[str, "Difference"]]:
    tasks = comparison.tasks if len(comparison.tasks) > 1 else {}
    return [
        ("score, original order", comparison.score),
        *comparison.robustness.items(),
        *((f"task {name}", one) for name, one in tasks.items()),
    ]


def _slots(first: "Result", second: "Result | None") -> object:
    """Accuracy by the place of the gold image, as bars; None where orders were not asked."""
    both = [one.robustness for one in (first, second) if one is not None]
    shown = [one for one in both if one is not None and one.accuracy_by_slot]
    if len(shown) < len(both):
        return None
    slots = sorted({slot for one in shown for slot in one.accuracy_by_slot})
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
