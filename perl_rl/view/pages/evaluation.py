"""The evaluations of a run on its held-out questions: all of them, and two side by side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import ValidationError

from perl_rl.view.bars import Group, GroupedBars, grouped_bars
from perl_rl.view.charts import SMALL, Chart
from perl_rl.view.figures import read_figures
from perl_rl.view.pages.run import ThisRun
from perl_rl.view.panels import HELD_OUT, panel_chart
from perl_rl.view.questions import FILTERS, PER_PAGE, Question, questions
from perl_rl.view.render import page
from perl_rl.view.runs import Run
from shared.errors import UserError
from shared.records.evaluations import FIGURES, evaluation_files

if TYPE_CHECKING:
    from perl_rl.eval.heldout import HeldOutResult

router = APIRouter()

Step = Annotated[int | None, Query(ge=0)]


@dataclass(frozen=True)
class Two:
    """Two evaluations side by side."""

    steps: tuple[int, int]
    figures: list[tuple[str, tuple[str, str], float]]
    """A figure's name, both values with their intervals, and the difference."""
    slots: GroupedBars | None
    flips: GroupedBars | None
    """The flip rate by source."""


@dataclass(frozen=True)
class Asked:
    """A page of the questions of two evaluations."""

    show: str
    filters: dict[str, tuple[str, int]]
    """By name: what the questions are called, and how many there are."""
    questions: list[Question]
    at: int
    pages: int


@router.get("/runs/{run}/evaluations")
def show_evaluations(
    request: Request,
    run: ThisRun,
    a: Step = None,
    b: Step = None,
    show: str = "flips",
    at: Annotated[int, Query(alias="page", ge=1)] = 1,
) -> HTMLResponse:
    """All evaluations of the run; `a` and `b` side by side, by default the first and the last.

    Args:
        show: which of their questions are listed, by `perl_rl.view.questions.FILTERS`.
        at: the page of the list.
    """
    if show not in FILTERS:
        raise HTTPException(400, f"show: must be one of {', '.join(FILTERS)}")
    found, notes = _read(run)
    steps = sorted(found)
    if not steps:
        return page(request, "evaluations.html", run, found={}, two=None, notes=notes)
    first, last = (steps[0] if a is None else a, steps[-1] if b is None else b)
    for step in (first, last):
        if step not in found:
            known = ", ".join(map(str, steps))
            raise HTTPException(404, f"Step {step} was not evaluated; these were: {known}.")
    return page(
        request,
        "evaluations.html",
        run,
        found=found,
        labels=FIGURES,
        chart=_chart(run),
        two=_two(found, first, last),
        asked=_asked(questions(found[first], found[last]), show, at),
        notes=notes,
    )


def _asked(both: list[Question], show: str, at: int) -> Asked:
    kept = [one for one in both if FILTERS[show][1](one)]
    pages = max(1, -(-len(kept) // PER_PAGE))
    at = min(at, pages)
    return Asked(
        show,
        {name: (label, sum(map(chooses, both))) for name, (label, chooses) in FILTERS.items()},
        kept[(at - 1) * PER_PAGE : at * PER_PAGE],
        at,
        pages,
    )


def _chart(run: Run) -> Chart:
    figures = read_figures(run)
    return panel_chart(HELD_OUT, figures.rows, figures.heldout.series, size=SMALL)


def _read(run: Run) -> tuple[dict[int, "HeldOutResult"], list[str]]:
    from perl_rl.eval.heldout import HeldOutResult

    found, notes = {}, []
    for step, file in evaluation_files(run.folder).items():
        try:
            found[step] = HeldOutResult.model_validate_json(file.read_text("utf-8"))
        except FileNotFoundError:
            continue  # Set aside meanwhile: the run goes on from an earlier step.
        except (OSError, ValidationError, UnicodeDecodeError):
            notes.append(f"{file}: is no evaluation of a run; remove it")
    return found, notes


def _two(found: dict[int, "HeldOutResult"], first: int, last: int) -> Two:
    from perl_rl.eval.heldout import refuse_unlike

    a, b = found[first], found[last]
    try:
        refuse_unlike(a.asked, b.asked, (f"The evaluation of step {first}", f"of step {last}"))
    except UserError as error:
        raise HTTPException(409, str(error)) from None
    figures = []
    for name, label in FIGURES.items():
        one, other = getattr(a, name), getattr(b, name)
        words = (f"{each.value:.3f} [{each.low:.3f}, {each.high:.3f}]" for each in (one, other))
        figures.append((label, (next(words), next(words)), other.value - one.value))
    slots = sorted({*a.accuracy_by_slot, *b.accuracy_by_slot})
    by_slot = [
        Group(
            f"place {slot + 1}",
            (a.accuracy_by_slot.get(slot), b.accuracy_by_slot.get(slot)),
            (a.interval_by_slot.get(slot), b.interval_by_slot.get(slot)),
        )
        for slot in slots
    ]
    sources = sorted({*a.by_source, *b.by_source})
    by_source = [
        Group(
            source,
            tuple(
                one.by_source[source].flip_rate if source in one.by_source else None
                for one in (a, b)
            ),
        )
        for source in sources
    ]
    return Two(
        (first, last),
        figures,
        grouped_bars(by_slot) if by_slot else None,
        grouped_bars(by_source) if by_source else None,
    )
