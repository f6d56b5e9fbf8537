"""The roots of the traces: each group from its issue until it was trained or dropped."""

import asyncio
import contextlib
import time
from functools import partial

import redis.asyncio

from shared.service.connection import OUTAGE, Patience
from shared.service.tracing import GroupTrace, Spans
from shared.wire.keys import Keys
from shared.wire.messages import PromptTask

_BLOCK_S = 1.0


class GroupSpans:
    """Follows the traced groups of one incarnation; used by the feeder."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, spans: Spans, patient: Patience
    ) -> None:
        self._client, self._keys, self._spans, self._patient = client, keys, spans, patient
        self._in_flight: dict[str, tuple[GroupTrace, float]] = {}
        """Group id to its trace, and when it was issued."""
        self._seen = "0"

    def issued(self, task: PromptTask, began: float) -> None:
        """A group was issued just now, which began at `began`, in seconds since 1970."""
        trace = self._spans.of(task)
        if trace is not None:
            now = time.time()
            trace.span("issue", began, now)
            self._in_flight[task.group_id] = trace, began

    async def run(self) -> None:
        """Look for settled groups until cancelled."""
        while True:
            await self._patient(partial(self._look, _BLOCK_S))

    async def finish(self, running: "asyncio.Task[None]") -> None:
        """End `run`, and look once more: the last step's groups were settled just now."""
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        with contextlib.suppress(*OUTAGE):
            await self._look(0.001)

    async def _look(self, block_s: float) -> None:
        events = {self._keys.events: self._seen}
        answer = await self._client.xread(events, block=int(block_s * 1000))
        for _, found in answer or []:
            for event_id, fields in found:
                await self._settled(fields[b"group"].decode(), event_id.decode())
                self._seen = event_id.decode()

    async def _settled(self, group_id: str, event_id: str) -> None:
        known = self._in_flight.pop(group_id, None)
        if known is None:
            return
        trace, began = known
        state = await self._client.hget(self._keys.ledger, group_id) or b"lost"
        ended = int(event_id.partition("-")[0]) / 1000
        trace.whole(began, ended, **{"perl.state": state.decode()})
