"""The reward function of a run: loaded by its dotted path, called for every response.

A custom reward function is ``def function(response, gold, kind, task, context)``, plain or
``async``, and returns a ``shared.wire.messages.Reward``:

- ``response`` (str): the whole text that was sampled; untrusted.
- ``gold`` (str) and ``kind`` (``AnswerKind``): the right answer, in the order that was shown.
- ``task`` (``PromptTask | None``): the question with its images' hashes and permutation; None
  when the request came over HTTP or from a file.
- ``context`` (``RewardContext``): the configuration, the grader of expressions, the judge, and the
  details of the response beyond its text.

A plain function runs in a thread, so it may block, for ``reward.function_timeout_s``. The penalty
for the length of the response (``penalties.py``) is added to the reward of any function.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import Any, TypeGuard

from pydantic import ValidationError

from services.reward.judge import Judge, JudgeUnavailable
from services.reward.penalties import UNKNOWN, Details, penalty
from services.reward.plain_calls import CallTimeout, PlainCalls
from shared.config import RewardConfig
from shared.errors import UserError
from shared.functions import load_function
from shared.grading.grade import ExpressionGrader, UngradableGold
from shared.problems import in_words
from shared.sample import AnswerKind
from shared.wire.messages import PromptTask, Reward


@dataclass(frozen=True)
class RewardContext:
    """What a reward function may use."""

    config: RewardConfig
    expressions: ExpressionGrader
    """Hand it to ``shared.grading.grade.grade``."""
    judge: Judge | None = None
    """The judge of ``reward.judge``; let its ``JudgeUnavailable`` pass, do not catch it."""
    details: Details = UNKNOWN
    """Of this response: its question, its length in tokens, why it ended, and more."""


RewardFunction = Callable[
    [str, str, AnswerKind, PromptTask | None, RewardContext], Reward | Awaitable[Reward]
]


_REWARD_FIELDS = frozenset(Reward.model_fields)

ARGUMENTS = ("response", "gold", "kind", "task", "context")
"""What a reward function is called with."""


class FunctionFailed(Exception):
    """The reward function raised or returned no `Reward`: there is no score."""


class BadReward(FunctionFailed):
    """A function returned something else than a reward of finite numbers: no try gets another."""


class RewardTimeout(FunctionFailed):
    """A function did not return in time: another try would wait as long."""


class Scorer:
    """Scores single responses with the configured reward function.

    Args:
        judge: asked as ``reward.judge`` says.
        max_tokens: the longest response in tokens, where its details do not say.
    """

    def __init__(
        self,
        config: RewardConfig,
        expressions: ExpressionGrader,
        judge: Judge | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._function = load_function(config.function, "reward.function", ARGUMENTS)
        self._waits = not inspect.iscoroutinefunction(self._function)
        self._name = f"reward.function '{config.function}'"
        self._calls = plain_calls(self._name, config)
        self._context = RewardContext(config, expressions, judge)
        self._max_tokens = max_tokens

    async def score(
        self,
        response: str,
        gold: str,
        kind: AnswerKind,
        task: PromptTask | None = None,
        details: Details = UNKNOWN,
    ) -> Reward:
        """The reward of one response.

        Raises:
            UngradableGold: when `gold` is not of kind `kind`.
            MissingDetail: when a penalty needs a length that `details` does not have.
            JudgeUnavailable: when the judge gives no verdict.
            FunctionFailed: when the reward function raises.
            BadReward: when it returns no `Reward`, or one with a number that is none.
            RewardTimeout: when it does not return in time.
        """
        if details.max_tokens is None:
            details = replace(details, max_tokens=self._max_tokens)
        added = penalty(self._context.config, details)
        context = replace(self._context, details=details)
        reward = await self._call(response, gold, kind, task, context)
        if added == 0.0:
            return reward
        changes = {"total": reward.total + added, "penalty": reward.penalty + added}
        return reward.model_copy(update=changes)

    async def _call(self, *arguments: Any) -> Reward:
        name = self._name
        try:
            if self._waits:
                reward = await self._calls.call(self._function, *arguments)
            else:
                reward = self._function(*arguments)
            if inspect.isawaitable(reward):
                reward = await reward
        except (UngradableGold, JudgeUnavailable, UserError):
            raise
        except CallTimeout as late:
            raise RewardTimeout(str(late)) from None
        except Exception as error:
            if _is_of_reward(error):
                raise BadReward(f"{name} returned {_refusal(error)}") from None
            why = " ".join(f"{type(error).__name__}: {error}".split())
            raise FunctionFailed(f"{name} failed with {why}") from error
        if not isinstance(reward, Reward):
            kind = type(reward).__name__
            raise BadReward(f"{name} returned {kind}, not shared.wire.messages.Reward")
        try:
            # Copies and objects made without validation are checked here.
            return Reward.model_validate(_fields(reward))
        except ValidationError as error:
            raise BadReward(f"{name} returned {_refusal(error)}") from None


def plain_calls(name: str, config: RewardConfig) -> PlainCalls:
    """The calls of the custom function `name`, limited as `config` says."""
    return PlainCalls(name, config.function_timeout_s, "reward.function_timeout_s")


def _fields(reward: Reward) -> dict[str, Any]:
    return {name: value for name, value in vars(reward).items() if name in _REWARD_FIELDS}


def _is_of_reward(error: Exception) -> TypeGuard[ValidationError]:
    return isinstance(error, ValidationError) and error.title == Reward.__name__


def _refusal(error: ValidationError) -> str:
    """What is wrong with a reward: "a Reward whose field 'total' must be a finite number"."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    shown = "" if first["type"] == "missing" else f" (got {shorten(repr(first['input']), 80)})"
    return f"a Reward whose field '{field}' {in_words(first)}{shown}"
