"""One row of the record from a settled group; the columns are in ``shared/records/groups.py``."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.trainer.compute.advantages import group_advantages
from shared.config import ObjectiveConfig
from shared.records.answers import flipped, most_frequent, original_answer, original_text
from shared.records.settled import SettledGroup
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    Response,
    Reward,
    ScoredOrder,
    TrajectoryBatch,
)

Values = dict[str, Any]

_NONE = np.zeros(0, dtype=np.float32)
_WAYS = {
    "response_advantage": None,
    "response_advantage_pooled": "pooled",
    "response_advantage_per_order": "per_order",
}


@dataclass(frozen=True)
class _Order:
    """One order, as far as it got: asked, sampled, scored."""

    task: PromptTask
    batch: TrajectoryBatch | None
    scored: ScoredOrder | None

    @property
    def responses(self) -> tuple[Response, ...]:
        return () if self.batch is None else self.batch.responses

    @property
    def rewards(self) -> tuple[Reward | None, ...]:
        return (None,) * len(self.responses) if self.scored is None else self.scored.rewards


@dataclass(frozen=True)
class _Answer:
    """A response and what became of it."""

    order: _Order
    index: int
    response: Response
    reward: Reward | None
    trained: np.ndarray | None
    """(T,) the trainer's log-probabilities."""
    original: str | int | None
    """`original_answer`."""
    text: str | None
    """`original_text`."""
    mismatch: np.ndarray
    """Absolute differences of its log-probabilities, on the tokens that can be compared."""


def group_row(settled: SettledGroup, run: str, objective: ObjectiveConfig, tokens: bool) -> Values:
    """The row of one group.

    Args:
        tokens: whether token ids and log-probabilities are written.
    """
    orders = _orders(settled)
    answers = _answers(orders, settled)
    row = {"run": run, "orders": len(orders), "responses": len(answers)}
    row |= _settlement(settled) | _question(orders) | _scores(orders, answers)
    row |= _order_lists(orders, answers) | _response_lists(answers, tokens)
    return row | _advantages(orders, answers, objective, selected=settled.trained is not None)


def _orders(settled: SettledGroup) -> list[_Order]:
    scored = {one.batch.task.order_index: one for one in settled.orders}
    sampled = {one.task.order_index: one for one in settled.unscored}
    sampled |= {index: one.batch for index, one in scored.items()}
    # A group whose tasks were lost is known by what was sampled.
    tasks = {index: one.task for index, one in sampled.items()}
    tasks |= {task.order_index: task for task in settled.tasks}
    return [_Order(tasks[i], sampled.get(i), scored.get(i)) for i in sorted(tasks)]


def _answers(orders: list[_Order], settled: SettledGroup) -> list[_Answer]:
    trained = settled.trained
    logprobs = iter(() if trained is None else trained.logprobs)
    version = None if trained is None else trained.version
    found = []
    for order in orders:
        meaning = _meanings(order.task)
        for index, (response, reward) in enumerate(
            zip(order.responses, order.rewards, strict=True)
        ):
            ours = next(logprobs, None)
            extracted = None if reward is None else reward.extracted
            found.append(
                _Answer(
                    *(order, index, response, reward, ours),
                    **meaning(extracted),
                    mismatch=_mismatch(order.task, response, ours, version),
                )
            )
    return found


def _meanings(task: PromptTask) -> Callable[[str | None], Values]:
    """A reader of answers to one task; the same answer is read once."""
    known: dict[str | None, Values] = {None: {"original": None, "text": None}}

    def meaning(extracted: str | None) -> Values:
        if extracted is not None and extracted not in known:
            known[extracted] = {
                "original": original_answer(extracted, task),
                "text": original_text(extracted, task),
            }
        return known[extracted]

    return meaning


def _mismatch(
    task: PromptTask, response: Response, ours: np.ndarray | None, version: PolicyVersion | None
) -> np.ndarray:
    if ours is None or version is None or task.clean_images:
        return _NONE
    same = [np.full(span.tokens, span.version == version) for span in response.versions]
    return np.abs(ours - response.logprobs)[np.concatenate([*same, np.zeros(0, dtype=bool)])]


def _settlement(settled: SettledGroup) -> Values:
    first = settled.tasks[0] if settled.tasks else None
    return {
        "group_id": settled.group_id,
        "step": settled.step,
        "status": settled.status,
        "reason": settled.reason,
        "detail": settled.detail,
        "incarnation": settled.incarnation,
        "issued_step": None if first is None else first.issued_at.step,
        "issued_at": settled.issued_ms,
        "scored_at": settled.scored_ms,
        "settled_at": settled.settled_ms,
    }


def _question(orders: list[_Order]) -> Values:
    if not orders:
        return {"images": []}
    first = orders[0].task
    return {
        "sample_id": first.sample_id,
        "source": first.source,
        "kind": first.kind,
        "rule": first.order,
        "question": first.question,
        "answer": first.answer,
        "images": list(first.trained_images()),
    }


def _scores(orders: list[_Order], answers: list[_Answer]) -> Values:
    rewards = [one.reward for one in answers if one.reward is not None]
    by_order = [[one.accuracy for one in order.rewards if one] for order in orders]
    versions = [span.version.step for one in answers for span in one.response.versions]
    totals = [one.total for one in rewards]
    return {
        "reward": _mean(totals),
        "reward_std": float(np.std(totals)) if totals else None,
        "accuracy": _mean([one.accuracy for one in rewards]),
        "worst_accuracy": min((float(np.mean(one)) for one in by_order if one), default=None),
        "format": _mean([one.format for one in rewards]),
        "flipped": flipped([_originals(answers, order) for order in orders]),
        "truncated": sum(one.response.finish_reason == "length" for one in answers),
        "tokens": sum(len(one.response.token_ids) for one in answers),
        "oldest_step": min(versions, default=None),
        "newest_step": max(versions, default=None),
        "mismatch": _mean(np.concatenate([_NONE, *(one.mismatch for one in answers)])),
    }


def _originals(answers: list[_Answer], order: _Order) -> list[str | int | None]:
    return [one.original for one in answers if one.order is order]


def _order_lists(orders: list[_Order], answers: list[_Answer]) -> Values:
    batches = [one.batch for one in orders]
    return {
        "order_permutation": [list(one.task.permutation) for one in orders],
        "order_question": [one.task.question for one in orders],
        "order_answer": [one.task.answer for one in orders],
        "order_images": [list(one.task.images) for one in orders],
        "order_noisy": [bool(one.task.clean_images) for one in orders],
        "order_node": [one and one.node for one in batches],
        "order_prompt_tokens": [one and len(one.prompt_token_ids) for one in batches],
        "order_patches": [one and [grid[1:] for grid in one.image_grids] for one in batches],
        "order_reward": [_mean([r.total for r in one.rewards if r]) for one in orders],
        "order_accuracy": [_mean([r.accuracy for r in one.rewards if r]) for one in orders],
        "order_majority": [_majority(answers, one) for one in orders],
        "order_sampled_s": [one and one.sampled_s for one in batches],
        "order_scored_s": [one.scored and one.scored.scored_s for one in orders],
    }


def _majority(answers: list[_Answer], order: _Order) -> str | None:
    """The most frequent answer as one of the responses words it."""
    wanted = most_frequent(_originals(answers, order))
    return next(
        (one.text for one in answers if one.order is order and one.original == wanted), None
    )


def _response_lists(answers: list[_Answer], tokens: bool) -> Values:
    steps = [[span.version.step for span in one.response.versions] for one in answers]
    rewards = [one.reward for one in answers]
    lists = {
        "response_order": [one.order.task.order_index for one in answers],
        "response_index": [one.index for one in answers],
        "response_text": [one.response.text for one in answers],
        "response_answer": [one and one.extracted for one in rewards],
        "response_original_answer": [one.text for one in answers],
        "response_reward": [one and one.total for one in rewards],
        "response_accuracy": [one and one.accuracy for one in rewards],
        "response_format": [one and one.format for one in rewards],
        "response_penalty": [one and one.penalty for one in rewards],
        "response_trained": [one.trained is not None for one in answers],
        "response_finish": [one.response.finish_reason for one in answers],
        "response_tokens": [len(one.response.token_ids) for one in answers],
        "response_oldest_step": [min(one, default=None) for one in steps],
        "response_newest_step": [max(one, default=None) for one in steps],
        "response_mismatch": [_mean(one.mismatch) for one in answers],
    }
    return lists | (_token_lists(answers) if tokens else {})


def _token_lists(answers: list[_Answer]) -> Values:
    return {
        "response_token_ids": [one.response.token_ids for one in answers],
        "response_token_steps": [_token_steps(one.response) for one in answers],
        "response_sampler_logprobs": [one.response.logprobs for one in answers],
        "response_trainer_logprobs": [one.trained for one in answers],
    }


def _token_steps(response: Response) -> np.ndarray:
    steps = np.array([span.version.step for span in response.versions], dtype=np.int32)
    return np.repeat(steps, [span.tokens for span in response.versions])


def _advantages(
    orders: list[_Order], answers: list[_Answer], objective: ObjectiveConfig, selected: bool
) -> Values:
    """Advantages, where every response has a reward.

    Args:
        selected: whether the objective's advantages compare only the responses that were trained.
    """
    if not answers or any(one.reward is None for one in answers):
        return {}
    lists: Values = {}
    for column, way in _WAYS.items():
        changed = objective if way is None else objective.model_copy(update={"advantage": way})
        compared = [one.trained is not None or not selected or way is not None for one in answers]
        lists[column] = _spread(compared, _compared(orders, answers, compared, changed))
    return lists


def _compared(
    orders: list[_Order], answers: list[_Answer], kept: list[bool], objective: ObjectiveConfig
) -> np.ndarray:
    rewards = [
        np.array(
            [
                one.reward.total
                for one, keep in zip(answers, kept, strict=True)
                if keep and one.order is order and one.reward is not None
            ]
        )
        for order in orders
    ]
    return group_advantages([one for one in rewards if len(one)], objective)


def _spread(kept: Sequence[bool], values: Iterable[float]) -> list[float | None]:
    given = iter(values)
    return [next(given) if keep else None for keep in kept]


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    return float(np.mean(values)) if len(values) else None
