"""The reward functions that come with the service."""

from services.reward.extract import final_answer, well_formed
from services.reward.graders.number import DEFAULT_TOLERANCE
from services.reward.grading import grade
from services.reward.scoring import RewardContext
from shared.messages import PromptTask, Reward
from shared.sample import AnswerKind


async def accuracy_and_format(
    response: str,
    gold: str,
    kind: AnswerKind,
    task: PromptTask | None,
    context: RewardContext,
) -> Reward:
    r"""PeRL's reward (arXiv 2506.14907): ``0.9 * accuracy + 0.1 * format``, weights configurable.

    Accuracy is 1 when the content of the last ``\boxed{...}`` matches `gold`; format is 1 when the
    whole response is ``<think>...</think>`` and then text with a box. Where a judge is configured
    for the kind, it is asked about responses that this does not find right.
    """
    answer = final_answer(response)
    tolerance = context.details.tolerance
    right = await grade(
        answer,
        gold,
        kind,
        context.expressions,
        DEFAULT_TOLERANCE if tolerance is None else tolerance,
    )
    # Without a box there is nothing to judge: a model must not learn to do without.
    judged = answer is not None and not right
    accuracy = float(right or (judged and await _judged_right(response, gold, kind, context)))
    form = float(well_formed(response))
    config = context.config
    return Reward(
        total=config.accuracy_weight * accuracy + config.format_weight * form,
        accuracy=accuracy,
        format=form,
        extracted=answer,
    )


async def _judged_right(response: str, gold: str, kind: AnswerKind, context: RewardContext) -> bool:
    judge, config = context.judge, context.config.judge
    if judge is None or config is None or kind not in config.kinds:
        return False
    return await judge.agrees(context.details.question or "", gold, response)
