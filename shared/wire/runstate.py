"""What the trainer tells the world through Redis, and what the operator asks of it."""

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


class TrainerState(BaseModel):
    """The trainer's state as ``perl-rl status`` and the launcher show it."""

    incarnation: int = 0
    step: int = 0
    steps: int = 0
    phase: Phase = "starting"
    since: float = 0.0
    """Unix time at which the phase began."""
    detail: str = ""
    stalled: str = ""
    """Which stages have stood still for ``trainer.stall_after_s``, in words."""
    logprob_mismatch: float | None = None
    """Mean absolute difference between trainer and sampler a token, at the last step that had
    tokens of its own version."""
    canary_change: float | None = None
    """Mean absolute change of log-probabilities with other pictures, when last looked at."""
    guard_alarms: int = 0
    """Alarms of the guards since the ranks started."""
    beats: int = 0
    """Counts on while the trainer's own host is there; further hosts watch it."""


class RunState:
    """Reads and writes the trainer's state and the operator's wishes."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def update(self, **fields: int | float | str) -> None:
        """Change some fields; a new phase is stamped with the time."""
        if "phase" in fields:
            fields = {"detail": "", **fields, "since": str(time.time())}
        await self._client.hset(self._keys.state, mapping=fields)

    async def beat(self) -> None:
        """Count on, for the further hosts."""
        await self._client.hincrby(self._keys.state, "beats", 1)

    async def get(self) -> TrainerState:
        """The state now."""
        raw = await self._client.hgetall(self._keys.state)
        return TrainerState.model_validate(
            {key.decode(): value.decode() for key, value in raw.items()}
        )

    async def ask(self, wish: Literal["pause", "checkpoint", "stop"], wanted: bool) -> None:
        """Ask the ranks for something; they look between two steps."""
        if wanted:
            await self._client.hset(self._keys.control, wish, 1)
        else:
            await self._client.hdel(self._keys.control, wish)

    async def wishes(self) -> set[str]:
        """What the operator asks for now."""
        return {name.decode() for name in await self._client.hkeys(self._keys.control)}

    async def clear_wishes(self) -> None:
        """Forget what was asked of an earlier start."""
        await self._client.delete(self._keys.control)
