"""The reward functions that come with the service."""

from services.reward.scoring import RewardContext
from shared.grading.extract import extract_answer, well_formed
from shared.grading.grade import grade, step_shares
from shared.sample import AnswerKind
from shared.wire.messages import PromptTask, Reward


async def accuracy_and_format(
    response: str,
    gold: str,
    kind: AnswerKind,
    task: PromptTask | None,
    context: RewardContext,
) -> Reward:
    r"""PeRL's reward (arXiv 2506.14907): ``0.9 * accuracy + 0.1 * format``, weights configurable.

    Accuracy is 1 when the content of the last ``\boxed{...}`` (or, with ``reward.extraction:
    lenient``, an answer in words) matches `gold`; format is 1 when the whole response is
    ``<think>...</think>`` and then text with a box. Where a judge is configured for the kind, it is
    asked about answers that this does not find right.
    """
    extraction = context.details.extraction or context.config.extraction
    answer = extract_answer(response, kind, strict=extraction == "strict")
    steps, right = await _verdicts(answer, gold, kind, context)
    # Without an answer there is nothing to judge: a model must not learn to do without.
    if not right and answer is not None and await _judged_right(response, gold, kind, context):
        steps, right = steps and (True,) * len(steps), True
    form = float(well_formed(response))
    config = context.config
    return Reward(
        total=config.accuracy_weight * right + config.format_weight * form,
        accuracy=float(right),
        format=form,
        extracted=answer,
        steps=steps,
    )


async def _verdicts(
    answer: str | None, gold: str, kind: AnswerKind, context: RewardContext
) -> tuple[tuple[bool, ...] | None, bool]:
    """The verdict on each step, where there are steps, and on the whole."""
    if kind == "steps":
        steps = tuple(await step_shares(answer, gold, context.expressions))
        return steps, all(steps)
    return None, await grade(answer, gold, kind, context.expressions, context.details.tolerance)


async def _judged_right(response: str, gold: str, kind: AnswerKind, context: RewardContext) -> bool:
    judge, config = context.judge, context.config.judge
    if judge is None or config is None or kind not in config.kinds:
        return False
    return await judge.agrees(context.details.question or "", gold, response)
