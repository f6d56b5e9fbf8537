"""Compares responses with gold answers the benchmark's way: by rules, then by the judge if any."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from perl_rl.eval.choices import lettered_choice, letters_of, named_choice, same_choice
from perl_rl.eval.items import Item, several_letters
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
from shared.grading.plain import plain
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
    try:
        return await _SCORES[item.rule](item, gold, response, expressions)
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
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    kind = item.sample.kind
    answer = extracted(response, kind)
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
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """By the letter, or else by the choice that the reply names."""
    answer, letter = named_choice(response, item.choices)
    right = letter is not None and same_choice(letter, gold, item.choices)
    return Verdict(answer, gold if right else letter, right)


async def _score_value(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """By the letter, or else by the value of the right choice, as MathVision does."""
    answer = extracted(response, "letter")
    letter = lettered_choice(response, item.choices)
    value = item.choices[letters_of(item.choices).index(gold)]
    if letter is not None and same_choice(letter, gold, item.choices):
        return Verdict(answer, gold, True)
    if letter is None:
        answer = extracted(response, "math")
    comparable = answer is not None and canonical(value, "math") is not None
    if comparable and await grade(answer, value, "math", expressions):
        return Verdict(answer, gold, True)
    return Verdict(answer, letter or (answer and canonical(answer, "math")), False)


async def _score_letters(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """Right when the answer names all the letters of the gold answer and no other."""
    answer = extracted(response, "letter") or extracted(response, "list")
    text = None if answer is None else unwrap(plain(answer)).rstrip(".;")
    letters = text and (several_letters(text) or read_letter(text))
    return Verdict(answer, letters or None, letters == gold)


async def _score_rounded(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """Compare numbers after rounding to the decimals that the question asks for."""
    answer, right, given = _numbers(item, gold, response)
    if given is None:
        return Verdict(answer, None, False)
    rounded = f"{round(given, item.precision):.{item.precision}f}"
    return Verdict(answer, rounded, rounded == f"{round(right, item.precision):.{item.precision}f}")


async def _score_truncated(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """Compare numbers without their decimals, as MathVista does with integers."""
    answer, right, given = _numbers(item, gold, response)
    if given is None:
        return Verdict(answer, None, False)
    return Verdict(answer, str(int(given)), int(given) == int(right))


def _numbers(item: Item, gold: str, response: str) -> tuple[str | None, float, float | None]:
    """The final answer, the gold number and the given one.

    Raises:
        UngradableGold: when the gold answer is no number.
    """
    right = read_number(gold)
    if right is None:
        raise UngradableGold(f"the gold answer {gold[:80]!r} is no number")
    answer = extracted(response, item.sample.kind)
    return answer, right, None if answer is None else _number_in(answer)


def _number_in(answer: str) -> float | None:
    """The number in an answer, with or without a unit."""
    quantity = read_quantity(answer)
    return None if quantity is None else quantity.value


async def _score_list(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """Compare item by item, in order; brackets around the list do not count."""
    answer = extracted(response, item.sample.kind)
    if answer is None:
        return Verdict(None, None, False)
    bare = unwrap(answer).strip().strip("[]()").strip()
    right = await grade(bare, gold.strip().strip("[]()"), "math", expressions)
    return Verdict(answer, read_text(bare), right)


async def _score_steps(
    item: Item, gold: str, response: str, expressions: ExpressionGrader
) -> Verdict:
    """Right only when every step is right; a missing step is wrong."""
    answer = extracted(response, item.sample.kind)
    rights = await step_shares(answer, gold, expressions)
    given = None if answer is None else canonical(answer, "steps")
    return Verdict(answer, given, all(rights), sum(rights) / len(rights))


_SCORES = {
    "kind": _score_kind,
    "choice": _score_choice,
    "value": _score_value,
    "letters": _score_letters,
    "rounded": _score_rounded,
    "truncated": _score_truncated,
    "list": _score_list,
    "steps": _score_steps,
}
