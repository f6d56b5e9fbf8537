"""The recorder on a real Redis: every settled group is in the files once, whatever dies when."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from services.trainer.control.recorder import Recorder
from shared.config import Config
from shared.images import digest
from shared.records.groups import groups_folder, image_file, lost_folder, read_groups
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, PromptTask, ScoredGroup, TrainedResponses, encode
from shared.wire.queues import CONSUMER_GROUP, Entry, WorkStream
from shared.wire.runstate import RunState
from tests.builders import group, task
from tests.integration.test_accounting_model import Account
from tests.picture_kinds import kinds
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

PICTURE = next(data for _, data, _ in kinds())


def states(run_dir: Path) -> dict[str, str]:
    """Each recorded group and its state as the ledger words it."""
    rows = read_groups(run_dir, ["group_id", "status", "step", "reason"]).to_pylist()
    found = {row["group_id"]: f"{row['status']}:{row['reason'] or row['step']}" for row in rows}
    assert len(found) == len(rows), "a group was recorded twice"
    return found


@dataclass
class Run:
    """A run's ledger and recorder; groups are put on the streams by hand."""

    client: Any
    keys: Keys
    config: Config
    folder: Path

    def __post_init__(self) -> None:
        self.incarnation = 1
        self.images = {digest(PICTURE): PICTURE}
        self.ledger = Ledger(self.client, self.keys)
        self.recorder = self.new_recorder()

    def new_recorder(self, **record: Any) -> Recorder:
        config = self.config.model_copy(
            update={"record": self.config.record.model_copy(update=record)}
        )
        return Recorder(self.client, self.keys, config, self.folder)

    @property
    def version(self) -> PolicyVersion:
        """At which all groups are issued; of the responses in `group` some tokens have 2.5."""
        return PolicyVersion(incarnation=self.incarnation, step=5)

    async def resume(self, settled: dict[str, str], step: int) -> None:
        """Begin again from a checkpoint, as the control plane does."""
        await self.recorder.catch_up()
        await self.ledger.restore(settled)
        self.incarnation += 1
        await self.recorder.begin(settled, step, self.incarnation)
        await self.at_step(step)

    async def at_step(self, step: int) -> None:
        await RunState(self.client, self.keys).update(step=step)

    async def issue(self, name: str) -> list[PromptTask]:
        names = [*self.images, *self.images]
        tasks = [
            task(group_id=name, order_index=i, images=tuple(names), issued_at=self.version)
            for i in range(2)
        ]
        self.recorder.images.keep(self.images)
        assert await self.ledger.issue(tasks, self.images)
        return tasks

    async def put(self, stream: str, message: Any) -> Entry:
        """An entry that a service has read."""
        payload = message if isinstance(message, bytes) else encode(message)
        await self.client.xadd(stream, {"m": payload})
        answer = await self.client.xreadgroup(CONSUMER_GROUP, "one", {stream: ">"})
        entry_id, _ = answer[0][1][-1]
        return Entry(entry_id.decode(), payload)

    async def scored(self, name: str) -> ScoredGroup:
        tasks, made = await self.issue(name), group()
        orders = tuple(
            order.model_copy(update={"batch": order.batch.model_copy(update={"task": asked})})
            for order, asked in zip(made.orders, tasks, strict=True)
        )
        return ScoredGroup(group_id=name, orders=orders)

    async def train(self, name: str, step: int) -> None:
        scored = await self.scored(name)
        entry = await self.put(self.keys.groups, scored)
        await self.at_step(step)
        ours = [one.logprobs for order in scored.orders for one in order.batch.responses]
        figures = TrainedResponses(version=self.version, logprobs=tuple(one + 0.25 for one in ours))
        assert await self.ledger.train(name, self.version, step, entry.id, figures)

    async def drop(self, name: str, reason: str = "uniform_reward") -> None:
        scored = await self.scored(name)
        entry = await self.put(self.keys.trajectories, scored.orders[1].batch)
        assert await self.ledger.drop(
            *(name, self.version, reason, self.keys.trajectories, entry), group=encode(scored)
        )

    def row(self, name: str) -> dict[str, Any]:
        (row,) = [one for one in read_groups(self.folder).to_pylist() if one["group_id"] == name]
        return row


@pytest.fixture
async def run(redis_url: str, tmp_path: Path) -> AsyncIterator[Run]:
    client = await connect(redis_url, timeout_s=10)
    config = Config.model_validate(demo_config(tmp_path, redis_url))
    run = Run(client, Keys("recorder-test"), config, tmp_path)
    await run.resume({}, 0)
    yield run
    await client.aclose()


async def test_a_trained_group_is_recorded_with_all_that_is_known(run: Run) -> None:
    await run.train("g1", step=6)
    await run.recorder.catch_up()
    row = run.row("g1")
    assert (row["status"], row["step"], row["reason"]) == ("trained", 6, None)
    assert row["incarnation"] == 2 and row["issued_step"] == 5
    assert row["issued_at"] <= row["scored_at"] <= row["settled_at"]
    assert row["responses"] == 4 and row["accuracy"] == 0.5
    # Two responses have a token of version 2.5 each; the others were sampled by 2.4.
    assert row["mismatch"] == pytest.approx(0.25)
    assert [one is None for one in row["response_mismatch"]] == [False, True, False, True]
    ours, theirs = row["response_trainer_logprobs"], row["response_sampler_logprobs"]
    assert np.allclose(np.concatenate(ours), np.concatenate(theirs) + 0.25)
    assert np.allclose(row["response_advantage_pooled"], [1, -1, 1, -1], atol=1e-4)
    assert all(image_file(run.folder, name) for name in row["images"])


async def test_a_dropped_group_is_recorded_with_its_reason_and_step(run: Run) -> None:
    await run.at_step(3)
    await run.drop("g1")
    await run.recorder.catch_up()
    row = run.row("g1")
    assert (row["status"], row["step"], row["reason"]) == ("dropped", 4, "uniform_reward")
    assert row["response_reward"] == [1.0, 0.0, 1.0, 0.0]
    assert row["response_trained"] == [False] * 4 and row["scored_at"] is None


async def test_a_group_without_all_its_answers_has_its_question(run: Run) -> None:
    """One order was scored, the other one's trajectory is damaged."""
    scored = await run.scored("g1")
    first = await run.put(run.keys.trajectories, scored.orders[0].batch)
    assert await run.ledger.collect(first, scored.orders[0], encode(scored.orders[0])) is None
    stream = await run.put(run.keys.trajectories, b"\xc1rubbish")
    broken = Entry(stream.id, stream.payload, "g1", "in_flight:2")
    source = WorkStream(run.client, run.keys.trajectories, "one")
    assert await run.ledger.drop_dead_letter(source, broken, "not a message")
    await run.recorder.catch_up()
    row = run.row("g1")
    assert (row["reason"], row["detail"]) == ("dead_letter", "not a message")
    assert row["orders"] == 2 and row["responses"] == 2
    assert row["order_node"] == ["rollout-0", None]
    assert row["order_question"] == ["<image><image> Welche?"] * 2
    assert row["response_advantage"] == [pytest.approx(1, abs=1e-4), pytest.approx(-1, abs=1e-4)]


async def test_a_group_whose_images_cannot_be_read_is_recorded(run: Run) -> None:
    tasks = [task(group_id="g1", order_index=i, images=("", "")) for i in range(2)]
    assert await run.ledger.refuse(tasks, "image a.png: no such file")
    await run.recorder.catch_up()
    row = run.row("g1")
    assert row["detail"] == "image a.png: no such file" and row["responses"] == 0
    assert row["question"] == "<image><image> Welche?" and row["incarnation"] == 2


async def test_nothing_waits_on_the_stream_when_it_is_written(run: Run) -> None:
    recording = asyncio.create_task(run.recorder.run())
    for number in range(5):
        await run.train(f"g{number}", step=1)
    await run.train("g5", step=2)
    await run.recorder.finish()
    await recording
    assert await run.client.xlen(run.keys.records) == 0
    assert await run.client.hlen(run.keys.group_tasks) == 0
    assert states(run.folder) == await run.ledger.settled()


async def test_a_recorder_that_was_killed_before_it_removed_the_entries(run: Run) -> None:
    await run.train("g1", step=1)
    entries = await run.client.xrange(run.keys.records)
    await run.recorder.catch_up()
    for entry_id, fields in entries:
        await run.client.xadd(run.keys.records, fields, id=entry_id.decode().split("-")[0] + "-9")
    run.recorder = run.new_recorder()
    await run.recorder.catch_up()
    assert states(run.folder) == {"g1": "trained:1"}


async def test_groups_of_a_lost_history_are_set_aside(run: Run) -> None:
    await run.train("g1", step=1)
    checkpoint = await run.ledger.settled()
    await run.drop("g2")
    checkpoint |= {"g2": "dropped:uniform_reward"}
    await run.train("g3", step=2)
    await run.drop("g4")
    run.recorder = run.new_recorder()
    await run.resume(checkpoint, step=1)
    assert states(run.folder) == checkpoint
    lost = read_groups(run.folder, ["group_id"], lost=True)["group_id"].to_pylist()
    assert sorted(lost) == ["g3", "g4"]
    await run.train("g3", step=2)
    await run.recorder.catch_up()
    assert states(run.folder) == await run.ledger.settled()


async def test_only_a_share_is_recorded_and_the_same_one_again(run: Run) -> None:
    run.recorder = run.new_recorder(share=0.5, dropped=0.0)
    await run.resume({}, 0)
    for number in range(20):
        await run.train(f"g{number}", step=1)
    await run.drop("g20")
    await run.recorder.catch_up()
    first = states(run.folder)
    assert 4 <= len(first) <= 16
    shutil.rmtree(groups_folder(run.folder))
    run.recorder = run.new_recorder(share=0.5, dropped=0.0)
    await run.resume({}, 0)
    for number in range(20):
        await run.train(f"g{number}", step=1)
    await run.recorder.catch_up()
    assert states(run.folder) == first


async def test_old_steps_and_their_images_are_deleted(run: Run) -> None:
    run.recorder = run.new_recorder(keep_steps=2)
    await run.resume({}, 0)
    recording = asyncio.create_task(run.recorder.run())
    others = [data for _, data, _ in list(kinds())[1:7]]
    for step, data in enumerate(others, start=1):
        run.images = {digest(data): data}
        await run.train(f"g{step}", step)
        async with asyncio.timeout(20):
            while await run.client.xlen(run.keys.records):
                await asyncio.sleep(0.05)
    await run.recorder.finish()
    await recording
    assert set(read_groups(run.folder, ["step"])["step"].to_pylist()) == {5, 6}
    # An image that was kept lately may belong to a group that is about to be issued.
    assert image_file(run.folder, digest(others[0])) is None
    assert image_file(run.folder, digest(others[5])) is not None


async def test_a_disk_that_fails_stops_nothing_and_is_tried_again(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(groups_folder(run.folder))
    groups_folder(run.folder).write_text("in the way")
    checkpoint: dict[str, str] = {}
    for step in (1, 2):
        await run.train(f"g{step}", step)
        await run.recorder.catch_up()
        checkpoint |= await run.ledger.settled() if step == 1 else {}
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert line.startswith("groups are not recorded: cannot write in ") and "\n" not in line
    assert "training goes on" in line
    state = await RunState(run.client, run.keys).get()
    assert state.record.startswith("groups are not recorded: cannot write in ")

    # What could not be written is not lost, also when the run goes on from a checkpoint meanwhile.
    await run.resume(checkpoint, step=1)
    await run.train("g2", 2)
    groups_folder(run.folder).unlink()
    await run.recorder.catch_up()
    assert states(run.folder) == await run.ledger.settled()
    assert read_groups(run.folder, ["group_id"], lost=True)["group_id"].to_pylist() == ["g2"]
    assert (await RunState(run.client, run.keys).get()).record == ""


async def test_images_that_could_not_be_written_come_later(run: Run) -> None:
    (run.folder / "images").write_text("in the way")
    await run.issue("g1")
    await run.recorder.catch_up()
    assert "cannot write" in (await RunState(run.client, run.keys).get()).record
    (run.folder / "images").unlink()
    await run.recorder.catch_up()
    assert (await RunState(run.client, run.keys).get()).record == ""
    assert all(image_file(run.folder, name) for name in run.images)


async def test_a_full_stream_counts_what_it_leaves_out(run: Run) -> None:
    await run.client.hset(run.keys.recording, "room", 2)
    for number in range(5):
        await run.train(f"g{number}", step=1)
    await run.recorder.catch_up()
    assert len(states(run.folder)) == 2
    assert await run.recorder.missed() == 3


async def test_without_a_recorder_nothing_is_put_on_the_stream(run: Run) -> None:
    run.recorder = run.new_recorder(share=0.0, dropped=0.0)
    await run.resume({}, 0)
    await run.train("g1", step=1)
    await run.drop("g2")
    assert await run.client.exists(run.keys.records, run.keys.group_tasks) == 0
    assert not lost_folder(run.folder).exists()


class RecordedAccount(Account):
    """The random interleavings of the ledger's test, with a recorder that is killed as well."""

    def __init__(self, url: str, folder: Path) -> None:
        super().__init__(url)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.folder = folder
        self.config = Config.model_validate(demo_config(folder, url))
        self.checkpoint_step = 0
        self.new_recorder()
        self.begin()

    def new_recorder(self) -> None:
        self.recorder = Recorder(self.client, self.keys, self.config, self.folder)

    def begin(self) -> None:
        self.do(self.recorder.begin(self.checkpoint, self.checkpoint_step, self.incarnation))
        self.say_step()

    def say_step(self) -> None:
        self.do(RunState(self.client, self.keys).update(step=self.step))

    def train(self, stream: Any, entry: Entry, drop: bool) -> None:
        super().train(stream, entry, drop)
        self.say_step()

    def write_checkpoint(self) -> None:
        super().write_checkpoint()
        self.checkpoint_step = self.step

    def resume(self) -> None:
        """The disk may be full while it resumes, so that the recorder does not catch up first."""
        if len(self.settled) % 2:
            self.do(self.recorder.catch_up())
        super().resume()
        self.step = self.checkpoint_step
        self.begin()

    @rule()
    def record(self) -> None:
        self.do(self.recorder.catch_up())

    @rule(written=st.booleans())
    def kill_recorder(self, written: bool) -> None:
        """Between two writes, or between a write and the removal of what was written."""
        if written:
            entries = self.do(self.client.xrange(self.keys.records))
            self.do(self.recorder.catch_up())
            for entry_id, fields in entries:
                milliseconds, _, sequence = entry_id.decode().partition("-")
                again = f"{milliseconds}-{int(sequence) + 1000}"
                self.do(self.client.xadd(self.keys.records, fields, id=again))
        self.new_recorder()

    def close(self) -> None:
        self.do(self.recorder.catch_up())
        recorded = states(self.folder) if self.settled else {}
        assert recorded == self.settled
        assert self.do(self.client.xlen(self.keys.records)) == 0
        assert self.do(self.client.hlen(self.keys.group_tasks)) == 0
        super().close()


def test_no_interleaving_loses_or_repeats_a_record(redis_url: str, tmp_path: Path) -> None:
    run_state_machine_as_test(
        lambda: RecordedAccount(redis_url, tmp_path / "run"),
        settings=settings(
            max_examples=20,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
