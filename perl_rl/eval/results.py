"""The result file: settings, summary, order robustness, and every question with its answer."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from perl_rl.eval.bootstrap import Estimate
from perl_rl.eval.robustness import OrderRobustness
from perl_rl.report.summary import write_json
from shared.errors import UserError
from shared.problems import in_words
from shared.records.evaluations import FIGURES


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AnswerResult(_Part):
    """One question with the response and its grade."""

    order: int
    """0 is the original order."""
    repeat: int
    """Above 0: the same order, asked again for the floor of the flip rate."""
    permutation: tuple[int, ...]
    """``permutation[slot]`` is the original index of the image that is shown there."""
    prompt: str
    images: tuple[str, ...]
    """SHA-256 of the images, in the order shown."""
    gold: str
    response: str
    extracted: str | None
    """The final answer as it reads in the response."""
    given: str | None
    """The final answer in canonical form; equal answers to one item are equal texts."""
    in_original: str | None
    """``given`` in the labels of the original order. If these differ, the answer flips."""
    right: bool
    steps_right: float | None = None
    """Share of right steps, for an answer of several steps."""
    judged: bool = False
    """Whether the judge found it right after the rules had found it wrong."""


class ItemResult(_Part):
    """One item of the benchmark."""

    id: str
    task: str
    kind: str
    groups: dict[str, str]
    excluded: str | None
    """Why it was asked only in its original order."""
    answers: tuple[AnswerResult, ...]

    @property
    def right(self) -> bool:
        """Whether the answer in the original order is right; the benchmark's score counts these."""
        return self.answers[0].right

    @property
    def in_orders(self) -> tuple[AnswerResult, ...]:
        """One answer for each order."""
        return tuple(answer for answer in self.answers if not answer.repeat)

    @property
    def accuracy(self) -> float:
        """Share of the orders with the right answer."""
        return sum(answer.right for answer in self.in_orders) / len(self.in_orders)

    @property
    def flips(self) -> bool:
        """Whether the answer changes with the order."""
        return len({answer.in_original for answer in self.in_orders}) > 1


class Accuracy(_Part):
    """Share of right answers over some items, with Wilson's 95 % interval."""

    items: int
    right: int
    accuracy: Estimate


class Summary(_Part):
    """The benchmark's own score, in the original order."""

    items: int
    published_items: int
    """Questions in the published split."""
    right: int
    no_answer: int
    """Responses without a final answer; they count as wrong."""
    average: Literal["micro", "macro"]
    score: Estimate
    interval: Literal["Wilson", "bootstrap"]
    graded_by: str
    """"rules", or the rules and a judge by name."""
    judged_right: int
    """Answers that only the judge found right."""
    compares: str
    tasks: dict[str, Accuracy]
    groups: dict[str, dict[str, Accuracy]]
    step_accuracy: Estimate | None = None
    """Mean share of right steps over the items that have several."""


class Result(_Part):
    """Everything that one evaluation found."""

    schema_version: Literal[1] = 1
    benchmark: str
    model: str
    settings: dict[str, Any]
    summary: Summary
    robustness: OrderRobustness | None
    items: tuple[ItemResult, ...]
    skipped: dict[str, tuple[str, ...]] = {}
    """Rows that do not fit and were left out, named by file, row and column, by reason."""


def write_result(result: Result, file: Path) -> None:
    """Write in one step: a reader sees the old file or the new one."""
    write_json(file, result.model_dump(mode="json"))


def read_result(file: Path) -> Result:
    """Read what `write_result` wrote.

    Raises:
        UserError: when the file is not the result of an evaluation.
    """
    content: Any = None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Result.model_validate(content)
    except OSError as error:
        raise UserError(f"{file}: cannot read the result ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        if isinstance(content, dict) and content.keys() >= FIGURES.keys():
            raise UserError(
                f"{file}: is an evaluation of a run on its held-out questions, not a result of "
                "perl-rl eval; perl-rl view RUN shows two of them side by side"
            ) from None
        problem = "not JSON"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            problem = f"field '{'.'.join(map(str, first['loc']))}': {in_words(first)}"
        raise UserError(
            f"{file}: not a result of perl-rl eval ({problem}); name the file of its --out"
        ) from None
