"""The reward function of a run: loaded by its dotted path, called for every response.

A reward function of one's own is ``def function(response, gold, kind, task, context)``, plain or
``async``, that returns a ``shared.messages.Reward``:

- ``response`` (str): the whole text that was sampled; untrusted.
- ``gold`` (str) and ``kind`` (``AnswerKind``): the right answer, for the order that was shown.
- ``task`` (``PromptTask | None``): the question with its images' hashes and permutation; None
  when the score was asked for over HTTP or from a file.
- ``context`` (``RewardContext``): the configuration, and the grader of expressions.

A plain function runs in a thread, so that it may wait for something.
"""

import asyncio
import importlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from services.reward.grading import ExpressionGrader
from shared.config import RewardConfig
from shared.errors import UserError
from shared.messages import PromptTask, Reward
from shared.sample import AnswerKind


@dataclass(frozen=True)
class RewardContext:
    """What a reward function may use."""

    config: RewardConfig
    expressions: ExpressionGrader
    """Hand it to ``services.reward.grading.grade``."""


RewardFunction = Callable[
    [str, str, AnswerKind, PromptTask | None, RewardContext], Reward | Awaitable[Reward]
]


class Scorer:
    """Scores single responses with the configured reward function."""

    def __init__(self, config: RewardConfig, expressions: ExpressionGrader) -> None:
        self._function: RewardFunction = load_function(config.function)
        self._waits = not inspect.iscoroutinefunction(self._function)
        self._context = RewardContext(config, expressions)

    async def score(
        self, response: str, gold: str, kind: AnswerKind, task: PromptTask | None = None
    ) -> Reward:
        """The reward of one response.

        Raises:
            UngradableGold: when `gold` is not of kind `kind`.
            TypeError: when the reward function returns something other than a `Reward`.
        """
        arguments = (response, gold, kind, task, self._context)
        if self._waits:
            reward = await asyncio.to_thread(self._function, *arguments)
        else:
            reward = self._function(*arguments)
        if inspect.isawaitable(reward):
            reward = await reward
        if not isinstance(reward, Reward):
            raise TypeError(
                f"reward.function '{self._context.config.function}' returned "
                f"{type(reward).__name__}, not shared.messages.Reward"
            )
        return reward


def load_function(path: str, key: str = "reward.function") -> Callable[..., Any]:
    """The function at ``module:function``, which the configuration names under `key`.

    Raises:
        UserError: when there is no such module or function.
    """
    module_name, separator, name = path.partition(":")
    if not separator or not module_name or not name:
        raise UserError(f"{key} '{path}': write it as package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UserError(
            f"{key} '{path}': cannot import {module_name} ({error}); install it or put "
            "its folder on PYTHONPATH"
        ) from None
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{key} '{path}': {module_name} has no function '{name}'")
    return function
