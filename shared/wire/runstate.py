"""The trainer's state in Redis, and what the operator asks of it."""

import time
from typing import Literal

import redis.asyncio
from pydantic import BaseModel

from shared.wire.keys import Keys

Phase = Literal[
    "starting",
    "waiting for groups",
    "training",
    "publishing",
    "checkpointing",
    "paused",
    "done",
    "failed",
]

EVALUATION_TOLD_S = 10.0
"""Whoever evaluates says how far it is more often than this."""


class TrainerState(BaseModel):
    """The trainer's state as ``perl-rl status`` and the launcher show it."""

    incarnation: int = 0
    step: int = 0
    steps: int = 0
    """The last step: ``trainer.steps``, or the one that spent ``trainer.max_responses``."""
    phase: Phase = "starting"
    since: float = 0.0
    """Unix time at which the phase began."""
    detail: str = ""
    dtype: str = ""
    """Number type that the ranks compute in; empty before they have started."""
    device: str = ""
    """What they compute on: cuda or cpu."""
    stalled: str = ""
    """Which stages made no progress for ``trainer.stall_after_s``, in words."""
    logprob_mismatch: float | None = None
    """Mean absolute difference per token between the log-probabilities of trainer and sampler, at
    the last step with tokens of its own policy version."""
    canary_change: float | None = None
    """Mean absolute change of log-probabilities with other pictures, when last measured."""
    alarms: str = ""
    """What the guards raised an alarm for at the last step, separated by commas."""
    guard_alarms: int = 0
    """Alarms of the guards since the ranks started."""
    failed_elsewhere: int = 0
    """The incarnation whose ranks failed last on a worker host; its other hosts end theirs."""
    refused_updates: int = 0
    """Updates since the ranks started that changed nothing, because their gradient norm was not
    finite."""
    evaluating: int = 0
    """The step whose policy is evaluated while training goes on; 0: none."""
    evaluation: str = ""
    """The last evaluation while training, in words."""
    spans_dropped: int = 0
    """Spans of the ranks that no collector took, since they started."""
    record: str = ""
    """Why no more groups are recorded (docs/record.md); empty while they are."""
    beats: int = 0
    """A counter that rises while the trainer's main host is alive; worker hosts watch it."""


class RunState:
    """Reads and writes the trainer's state and the operator's requests."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def update(self, **fields: int | float | str) -> None:
        """Change some fields; a new phase gets the time and an empty detail."""
        if "phase" in fields:
            fields = {"detail": "", **fields, "since": str(time.time())}
        await self._client.hset(self._keys.state, mapping=fields)

    async def beat(self) -> None:
        """Raise the counter that worker hosts watch."""
        await self._client.hincrby(self._keys.state, "beats", 1)

    async def get(self) -> TrainerState:
        """The state now."""
        raw = await self._client.hgetall(self._keys.state)
        return TrainerState.model_validate(
            {key.decode(): value.decode() for key, value in raw.items()}
        )

    async def ask(self, wish: Literal["pause", "checkpoint", "stop"], wanted: bool) -> None:
        """Ask the ranks for something, or withdraw it; they look between two steps."""
        if wanted:
            await self._client.hset(self._keys.control, wish, 1)
        else:
            await self._client.hdel(self._keys.control, wish)

    async def hold(self, seconds: float) -> None:
        """Let the ranks wait before their next step, for `seconds` from now at most."""
        await self._client.set(self._keys.hold, 1, px=int(seconds * 1000))

    async def release(self) -> None:
        """End `hold`."""
        await self._client.delete(self._keys.hold)

    async def tell_evaluation(self, doing: str) -> None:
        """Say how far an evaluation is; forgotten after `EVALUATION_TOLD_S`."""
        await self._client.set(self._keys.evaluation, doing, px=int(EVALUATION_TOLD_S * 1000))

    async def evaluation_ended(self) -> None:
        """End what `tell_evaluation` said."""
        await self._client.delete(self._keys.evaluation)

    async def evaluation(self) -> str:
        """What `tell_evaluation` said last; empty when nothing is being evaluated."""
        return (await self._client.get(self._keys.evaluation) or b"").decode()

    async def wishes(self) -> set[str]:
        """What the operator asks for now, and "hold" while somebody holds the ranks."""
        asked = {name.decode() for name in await self._client.hkeys(self._keys.control)}
        return asked | {"hold"} if await self._client.get(self._keys.hold) else asked

    async def clear_wishes(self) -> None:
        """Forget what was asked before this start."""
        await self._client.delete(self._keys.control)
