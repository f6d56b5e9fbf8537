"""The account of every prompt group: issued, then trained once or dropped with a reason.

``issued = trained + dropped + in flight`` at every moment: each change of state is one script in
Redis, together with the queue operation that causes it. A group leaves "in flight" once; a second
caller gets False and changes nothing.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import redis.asyncio
from redis.asyncio.client import Pipeline

from shared.wire.counts import (
    DROPPED,
    IN_FLIGHT,
    TRAINED,
    Counts,
    Scores,
    skip_counters,
    tally,
)
from shared.wire.keys import Keys
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    ScoredGroup,
    ScoredOrder,
    TrainedResponses,
    encode,
    group_identity,
)
from shared.wire.queues import CONSUMER_GROUP, Entry, WorkStream
from shared.wire.scripts import Script
from shared.wire.verdicts import KEPT, Verdict

DEAD_LETTER = "dead_letter"
"""Drop reason of a group with an order that no service could process."""
STALE = "stale"
"""Drop reason of a scored group that was older than ``trainer.max_staleness`` at its turn."""
NONFINITE_GRADIENT = "nonfinite_gradient"
"""Drop reason of a group whose update changed nothing: its gradient norm was not finite."""
DROPPED_BY_TRAINER = (STALE, NONFINITE_GRADIENT)
"""Drop reasons of groups that passed the filters."""


Trained = tuple[str, PolicyVersion, str, TrainedResponses | None]
"""Group id, version at issue, entry id and figures of a group, as `Ledger.train` wants them."""

_SENT_TOGETHER = 64


class ImagesWanted(Exception):
    """A group cannot be issued without the bytes of these images: Redis does not have them."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"images {', '.join(name[:12] for name in names)} are not in Redis")
        self.names = tuple(names)


class Ledger:
    """Reads and changes the account of one run."""

    def __init__(self, client: redis.asyncio.Redis, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self._issue = Script(client, "issue")
        self._refuse = Script(client, "refuse")
        self._settle = Script(client, "settle")
        self._collect = Script(client, "collect")
        self._forward = Script(client, "forward")

    async def issue(
        self,
        tasks: list[PromptTask],
        images: Mapping[str, bytes | None],
        letters: Sequence[str] = (),
    ) -> bool:
        """Enter a group as in flight and queue its orders; False when it was issued before.

        Args:
            tasks: one for each order of the group.
            images: SHA-256 to bytes, for every image of the group; None where Redis should have
                them, because another group in flight shows the image.
            letters: ids of the dead letters that this group replaces. They are removed in the same
                script; when all of them are gone already, the group is not issued.

        Raises:
            ImagesWanted: when Redis lacks an image whose bytes are not given; nothing is changed.
        """
        keys, first = self._keys, tasks[0]
        given = {name: data for name, data in images.items() if data is not None}
        done = await self._issue(
            ledger=keys.ledger,
            counts=keys.counts,
            prompts=keys.prompts,
            image_refs=keys.image_refs,
            group_images=keys.group_images,
            dead_letters=keys.dead_letters,
            recording=keys.recording,
            group_tasks=keys.group_tasks,
            group_id=first.group_id,
            state=_in_flight(first.issued_at),
            image_prefix=keys.image_prefix,
            image_names=list(images),
            given=list(given),
            images=list(given.values()),
            tasks=[encode(task) for task in tasks],
            letters=letters,
        )
        if isinstance(done, list):
            raise ImagesWanted([name.decode() for name in done])
        return bool(done)

    async def refuse(self, tasks: Sequence[PromptTask], why: str) -> bool:
        """Enter a group that cannot be asked as dropped; False when it was issued before.

        The drop reason is ``dead_letter``, and a dead letter says `why`.
        """
        keys, first = self._keys, tasks[0]
        done = await self._refuse(
            ledger=keys.ledger,
            counts=keys.counts,
            events=keys.events,
            prompts=keys.prompts,
            dead_letters=keys.dead_letters,
            verdicts=keys.verdicts,
            records=keys.records,
            recording=keys.recording,
            trainer=keys.state,
            group_id=first.group_id,
            state=f"{DROPPED}:{DEAD_LETTER}",
            reason=why,
            verdict=str(Verdict(DEAD_LETTER)),
            incarnation=first.issued_at.incarnation,
            tasks=[encode(task) for task in tasks],
        )
        return bool(done)

    async def collect(
        self, entry: Entry, order: ScoredOrder, scored: bytes, held: Sequence[int] = ()
    ) -> list[bytes] | None:
        """Add one scored order to its group; returns its scored orders when it is complete.

        Otherwise it finishes `entry` and returns None.

        Args:
            held: indices of orders that the caller has and that are not returned.
        """
        keys, task = self._keys, order.batch.task
        answer = await self._collect(
            trajectories=keys.trajectories,
            assembly=keys.assembly(task.group_id),
            ledger=keys.ledger,
            consumer_group=CONSUMER_GROUP,
            entry_id=entry.id,
            group_id=task.group_id,
            expected_state=_in_flight(task.issued_at),
            order_index=task.order_index,
            scored=scored,
            orders=task.orders,
            held=held,
        )
        return answer if isinstance(answer, list) else None

    async def forward(self, entry: Entry, group: ScoredGroup, issued_at: PolicyVersion) -> bool:
        """Hand a complete group to the trainer and finish `entry` in one script."""
        keys, sums = self._keys, group.score_sums()
        done = await self._forward(
            trajectories=keys.trajectories,
            assembly=keys.assembly(group.group_id),
            groups=keys.groups,
            ledger=keys.ledger,
            verdicts=keys.verdicts,
            score_sums=keys.scores,
            consumer_group=CONSUMER_GROUP,
            entry_id=entry.id,
            group_id=group.group_id,
            expected_state=_in_flight(issued_at),
            group=encode(group),
            verdict=str(Verdict.of_scores(KEPT, sums)),
            scores=_pairs(sums),
        )
        return bool(done)

    async def drop(
        self,
        group_id: str,
        issued_at: PolicyVersion,
        reason: str,
        stream: str,
        entry: Entry,
        scores: Mapping[str, float] = MappingProxyType({}),
        group: bytes = b"",
        detail: str = "",
    ) -> bool:
        """Drop a group for `reason` and finish the entry of `stream` that carried it.

        Args:
            scores: `ScoredGroup.score_sums`, when the group is dropped right after its scoring.
            group: the `ScoredGroup`, for the record, when `entry` does not hold it.
            detail: more about the reason, in words, for the record.
        """
        state, expected = f"{DROPPED}:{reason}", _in_flight(issued_at)
        verdict = Verdict.of_scores(reason, scores or {})
        return await self._settle_one(
            *(group_id, expected, state, state, verdict, stream, entry.id),
            scores=scores,
            group=group,
            detail=detail,
        )

    async def drop_dead_letter(self, stream: WorkStream, entry: Entry, why: str) -> bool:
        """Move an entry that cannot be processed to the dead-letter stream; drop its group.

        The drop reason is ``dead_letter``. When the entry names no group, only the entry is moved.
        Returns False when another consumer has finished the entry, or its group is not in flight.
        """
        group_id, expected = entry.group, entry.state
        if not group_id:
            identity = group_identity(entry.payload)
            if identity is None:
                return await stream.bury(entry, self._keys.dead_letters, why)
            group_id, expected = identity[0], _in_flight(identity[1])
        state, verdict = f"{DROPPED}:{DEAD_LETTER}", Verdict(DEAD_LETTER)
        return await self._settle_one(
            *(group_id, expected, state, state, verdict, stream.name, entry.id),
            dead_letter=(entry.payload, why),
            detail=why,
        )

    async def train(
        self,
        group_id: str,
        issued_at: PolicyVersion,
        step: int,
        entry_id: str,
        figures: TrainedResponses | None = None,
        via: Pipeline | None = None,
    ) -> bool:
        """Record that optimizer step `step` trained the group, and finish its entry.

        Args:
            figures: what the trainer computed, for the record.
            via: a pipeline that sends this with others, and gives the answer.
        """
        state, expected = f"{TRAINED}:{step}", _in_flight(issued_at)
        return await self._settle_one(
            *(group_id, expected, state, TRAINED, Verdict(KEPT), self._keys.groups, entry_id),
            figures=b"" if figures is None else encode(figures),
            via=via,
        )

    async def train_all(self, step: int, groups: Sequence[Trained]) -> None:
        """`train` for all groups of a step, in few round trips."""
        for start in range(0, len(groups), _SENT_TOGETHER):
            async with self._client.pipeline(transaction=False) as pipe:
                for group_id, issued_at, entry_id, figures in groups[start:][:_SENT_TOGETHER]:
                    await self.train(group_id, issued_at, step, entry_id, figures, via=pipe)
                await pipe.execute()

    async def _settle_one(
        self,
        group_id: str,
        expected: str,
        state: str,
        counter: str,
        verdict: Verdict,
        stream: str,
        entry_id: str,
        *,
        dead_letter: tuple[()] | tuple[bytes, str] = (),
        scores: Mapping[str, float] = MappingProxyType({}),
        group: bytes = b"",
        figures: bytes = b"",
        detail: str = "",
        via: Pipeline | None = None,
    ) -> bool:
        keys = self._keys
        done = await self._settle(
            via,
            ledger=keys.ledger,
            counts=keys.counts,
            events=keys.events,
            image_refs=keys.image_refs,
            group_images=keys.group_images,
            stream=stream,
            groups=keys.groups,
            assembly=keys.assembly(group_id),
            dead_letters=keys.dead_letters,
            verdicts=keys.verdicts,
            score_sums=keys.scores,
            records=keys.records,
            recording=keys.recording,
            group_tasks=keys.group_tasks,
            trainer=keys.state,
            group_id=group_id,
            expected_state=expected,
            new_state=state,
            counter=counter,
            verdict=str(verdict),
            image_prefix=keys.image_prefix,
            consumer_group=CONSUMER_GROUP,
            entry_id=entry_id,
            share=counter.partition(":")[0],
            incarnation=expected.partition(":")[2],
            detail=detail,
            group=group,
            figures=figures,
            dead_letter=dead_letter,
            scores=_pairs(scores),
        )
        return bool(done)

    async def groups(self) -> list[str]:
        """Ids of all groups that were ever issued in this history."""
        return [group.decode() for group in await self._client.hkeys(self._keys.ledger)]

    async def are_in_flight(self, groups: Sequence[tuple[str, PolicyVersion]]) -> list[bool]:
        """Whether each of these groups is in flight in the incarnation that issued it."""
        if not groups:
            return []
        states = await self._client.hmget(self._keys.ledger, [group for group, _ in groups])
        return [
            state is not None and state.decode() == _in_flight(issued_at)
            for state, (_, issued_at) in zip(states, groups, strict=True)
        ]

    async def counts(self) -> Counts:
        """The totals now."""
        raw = await self._client.hgetall(self._keys.counts)
        return Counts.read({key.decode(): int(value) for key, value in raw.items()})

    async def scores(self) -> Scores:
        """The sums of the scores, since the ledger was last restored."""
        raw = await self._client.hgetall(self._keys.scores)
        return Scores.model_validate({name.decode(): float(sum) for name, sum in raw.items()})

    async def settled(self) -> dict[str, str]:
        """Group id to ``trained:<step>`` or ``dropped:<reason>``, for groups not in flight.

        This is what a checkpoint keeps of the ledger.
        """
        raw = (await self._client.hgetall(self._keys.ledger)).items()
        states = {group.decode(): state.decode() for group, state in raw}
        return {group: state for group, state in states.items() if not state.startswith(IN_FLIGHT)}

    async def restore(
        self,
        settled: Mapping[str, str],
        verdicts: Mapping[str, str] = {},
        skipped: Mapping[str, int] = {},
    ) -> None:
        """Replace the account by a checkpoint's and empty the queues in one step.

        Groups that were in flight at the checkpoint, or settled after it, are left out, so the
        feeder issues them again. Nodes may still finish work of the lost history: its groups are
        not in flight in that incarnation, so it is discarded on arrival.

        Args:
            settled: see `settled`.
            verdicts: see `Verdicts.all`.
            skipped: see `Counts.skipped`.
        """
        keys = self._keys
        # A settled group without a verdict is of a checkpoint that an earlier release wrote.
        known = {group: str(Verdict.of_state(state)) for group, state in settled.items()} | dict(
            verdicts
        )
        groups = await self._client.hkeys(keys.group_images)
        images = await self._client.hkeys(keys.image_refs)
        stale = [keys.assembly(group.decode()) for group in groups]
        stale += [keys.image_prefix + name.decode() for name in images]
        async with self._client.pipeline(transaction=True) as pipe:
            pipe.delete(keys.ledger, keys.counts, keys.image_refs, keys.group_images, keys.events)
            pipe.delete(keys.scores, keys.group_tasks, keys.hints, keys.verdicts)
            for start in range(0, len(stale), 500):
                pipe.delete(*stale[start : start + 500])
            for stream in (keys.prompts, keys.trajectories, keys.groups):
                pipe.delete(stream)
                pipe.xgroup_create(stream, CONSUMER_GROUP, id="0", mkstream=True)
            if settled:
                pipe.hset(keys.ledger, mapping=dict(settled))
                pipe.hset(keys.counts, mapping=tally(settled.values()))
            if skipped:
                pipe.hset(keys.counts, mapping=skip_counters(skipped))
            if known:
                pipe.hset(keys.verdicts, mapping=known)
            await pipe.execute()


def _pairs(scores: Mapping[str, float]) -> list[str | float]:
    return [item for pair in scores.items() for item in pair]


def _in_flight(issued_at: PolicyVersion) -> str:
    return f"{IN_FLIGHT}:{issued_at.incarnation}"
