"""Compares responses with gold answers the benchmark's way: by rules, then by the judge if any."""

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perl_rl.eval.items import Item
from perl_rl.eval.judge import agrees, is_open
from services.reward.judge import Judge
from shared.errors import UserError
from shared.grading.extract import extract_answer
from shared.grading.grade import (
    ExpressionGrader,
    UngradableGold,
    canonical,
    grade,
    step_shares,
)
from shared.grading.kinds.letter import read_letter
from shared.grading.kinds.number import read_number, read_quantity
from shared.grading.kinds.text import read_text
from shared.grading.kinds.wrapping import unwrap
from shared.sample import AnswerKind


@dataclass(frozen=True)
class Verdict:
    """The grade of one response."""

    extracted: str | None
    """The final answer as it reads in the response."""
    given: str | None
    """The final answer in canonical form; None when it cannot be read."""
    right: bool
    steps_right: float | None = None
    """Share of right steps, for an answer of several steps."""
    judged: bool = False
    """Whether the judge found it right after the rules had found it wrong."""


def extracted(response: str, kind: AnswerKind) -> str | None:
    """The final answer of a response, in a box or in words; None without one."""
    return extract_answer(response, kind, strict=False)


async def score(item: Item, gold: str, response: str, expressions: ExpressionGrader) -> Verdict:
    """Compare a response with `gold`, the item's answer in the order that was asked.

    Raises:
        UserError: when the gold answer is not of the item's kind.
    """
    answer = extracted(response, item.sample.kind)
    try:
        return await _SCORES[item.rule](item, gold, answer, expressions)
    except UngradableGold as error:
        raise UserError(f"question {item.sample.id}: {error}") from None


async def score_and_judge(
    item: Item, gold: str, response: str, expressions: ExpressionGrader, judge: Judge | None
) -> Verdict:
    """As `score`, but the judge decides on open answers that the rules find wrong.

    Raises:
        UserError: when the judge gives no verdict.
    """
    verdict = await score(item, gold, response, expressions)
    if judge is None or verdict.right or not response.strip() or not is_open(item):
        return verdict
    if not await agrees(judge, item, gold, response):
        return verdict
    steps_right = None if verdict.steps_right is None else 1.0
    return replace(verdict, given=read_text(gold), right=True, steps_right=steps_right, judged=True)


async def same_answers(
    item: Item, given: Sequence[str | None], expressions: ExpressionGrader
) -> list[str | None]:
    """Replace each expression by the first that equals it, so that equal answers are equal texts.

    Answers of other kinds are equal texts already.
    """
    if item.sample.kind != "math":
        return list(given)
    distinct: list[str] = []
    unified: list[str | None] = []
    for answer in given:
        alike = None
        for known in distinct if answer is not None else ():
            if await _same_expression(item, known, answer or "", expressions):
                alike = known
                break
        if answer is not None and alike is None:
            distinct.append(answer)
        unified.append(alike or answer)
    return unified


async def _score_kind(
    item: Item, gold: str, answer: str | None, expressions: ExpressionGrader
) -> Verdict:
    kind = item.sample.kind
    given = None if answer is None else canonical(answer, kind)
    if kind == "math":
        right = answer is not None and await _same_expression(item, gold, answer, expressions)
    else:
        right = await grade(answer, gold, kind, expressions, item.sample.tolerance)
    return Verdict(answer, given, right)


async def _same_expression(
    item: Item, gold: str, answer: str, expressions: ExpressionGrader
) -> bool:
    if item.absolute is not None:
        right, given = read_number(gold), read_number(answer)
        if right is not None and given is not None and abs(right - given) <= item.absolute:
            return True
    return await grade(answer, gold, "math", expressions)


async def _score_choice(
    item: Item, gold: str, answer: str | None, expressions: ExpressionGrader
) -> Verdict:
    """By the letter, or else by the choice with the fewest edits, as MathVista does."""
    letter = None if answer is None else _chosen(answer, item.choices)
    return Verdict(answer, letter, letter == gold)


def _chosen(answer: str, choices: Sequence[str]) -> str | None:
    letters = string.ascii_uppercase[: len(choices)]
    letter = read_letter(answer)
    if letter is not None and letter in letters:
        return letter
    text = read_text(answer)
    if text is None:
        return None
    edits = [_edits(text, read_text(choice) or "") for choice in choices]
    return letters[edits.index(min(edits))]


_MOST_COMPARED = 400


def _edits(one: str, other: str) -> int:
    """Levenshtein's distance between the first `_MOST_COMPARED` characters of two texts."""
    one, other = one[:_MOST_COMPARED], other[:_MOST_COMPARED]
    row = list(range(len(other) + 1))
    for count, left in enumerate(one, start=1):
        before, row = row, [count]
        for place, right in enumerate(other):
            row.append(min(before[place] + (left != right), before[place + 1] + 1, row[place] + 1))
    return row[-1]


async def _score_rounded(
    item: Item, gold: str, answer: str | None, expressions: ExpressionGrader
) -> Verdict:
    """Compare numbers after rounding to the decimals that the question asks for."""
    right, given = read_number(gold), None if answer is None else _number_in(answer)
    if right is None:
        raise UngradableGold(f"the gold answer {gold[:80]!r} is no number")
    if given is None:
        return Verdict(answer, None, False)
    rounded = f"{round(given, item.precision):.{item.precision}f}"
    return Verdict(answer, rounded, rounded == f"{round(right, item.precision):.{item.precision}f}")


def _number_in(answer: str) -> float | None:
    """The number in an answer, with or without a unit."""
    quantity = read_quantity(answer)
    return None if quantity is None else quantity.value


async def _score_list(
    item: Item, gold: str, answer: str | None, expressions: ExpressionGrader
) -> Verdict:
    """Compare item by item, in order; brackets around the list do not count."""
    if answer is None:
        return Verdict(None, None, False)
    bare = unwrap(answer).strip().strip("[]()").strip()
    right = await grade(bare, gold.strip().strip("[]()"), "math", expressions)
    return Verdict(answer, read_text(bare), right)


async def _score_steps(
    item: Item, gold: str, answer: str | None, expressions: ExpressionGrader
) -> Verdict:
    """Right only when every step is right; a missing step is wrong."""
    rights = await step_shares(answer, gold, expressions)
    given = None if answer is None else canonical(answer, "steps")
    return Verdict(answer, given, all(rights), sum(rights) / len(rights))


_SCORES = {
    "kind": _score_kind,
    "choice": _score_choice,
    "rounded": _score_rounded,
    "list": _score_list,
    "steps": _score_steps,
}
