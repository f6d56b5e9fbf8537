"""The reward functions that come with the service."""

from services.reward.extract import final_answer, well_formed
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
    whole response is ``<think>...</think>`` and then text with a box.
    """
    answer = final_answer(response)
    accuracy = float(await grade(answer, gold, kind, context.expressions))
    form = float(well_formed(response))
    config = context.config
    return Reward(
        total=config.accuracy_weight * accuracy + config.format_weight * form,
        accuracy=accuracy,
        format=form,
        extracted=answer,
    )
