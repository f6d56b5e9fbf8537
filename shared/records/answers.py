"""Answers under several orders of the same images, mapped back to the original order."""

from collections import Counter
from collections.abc import Iterable, Sequence

from shared.permutation import answer_in_original, gold_slot, identity
from shared.sample import Sample
from shared.wire.messages import PromptTask


def original_answer(extracted: str, task: PromptTask) -> str | int:
    """What an answer means whatever the order: the original index of the image it names.

    An answer that names no single image is its text, without case, spacing and a last full stop,
    with the images that it lists named as in the original order.
    """
    slot = gold_slot(_as_sample(extracted, task), identity(len(task.images)))
    if slot is not None:
        return task.permutation[slot]
    return "".join(original_text(extracted, task).split()).casefold().rstrip(".")


def original_text(extracted: str, task: PromptTask) -> str:
    """The answer as it is written, with the images that it names named as in the original order."""
    return answer_in_original(extracted, _as_sample(extracted, task), task.permutation)


def most_frequent(answers: Iterable[str | int | None]) -> str | int | None:
    """The most frequent answer, of equally frequent ones the first; None without an answer."""
    counts = Counter(answer for answer in answers if answer is not None)
    return counts.most_common(1)[0][0] if counts else None


def flipped(answers_by_order: Sequence[Sequence[str | int | None]]) -> bool | None:
    """Whether the orders' most frequent answers differ.

    Args:
        answers_by_order: `original_answer` of each order's responses; None for no answer.

    Returns:
        None when fewer than two orders have an answer.
    """
    majorities = [most_frequent(answers) for answers in answers_by_order]
    given = [answer for answer in majorities if answer is not None]
    return None if len(given) < 2 else len(set(given)) > 1


def _as_sample(extracted: str, task: PromptTask) -> Sample:
    return Sample(
        id=task.sample_id,
        question=task.question,
        images=task.images,
        answer=extracted,
        kind=task.kind,
        order=task.order,
        fixed=task.fixed,
    )
