"""How the trainer service ends: told to, by a guard, killed; real Redis and DeepSpeed ranks."""

import asyncio
import re

import httpx
import pytest
import torch

from perl_rl.cli.status import describe
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.report.observe import look
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.reaper import descendants
from shared.service.connection import connect
from shared.weights.manifest import Manifest
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.integration.trainer_run import (
    RUN_TIMEOUT_S,
    Run,
    check_export,
    is_rank,
    kill_ranks,
    questions,
    write_files,
)
from tests.scripted_sampler import end

pytestmark = pytest.mark.anyio

STAYS_S = 10.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("trainer"))


async def test_killed_ranks_skip_and_train_what_an_undisturbed_run_does(files, tmp_path, redis_url):
    settings = {"solved": ["sums"], "steps": 6, "checkpoint": {"every_steps": 2}}
    asked, losses = [], []
    for name in ("undisturbed", "killed"):
        await (await connect(redis_url, 10.0)).flushall()
        run = Run(tmp_path / name, redis_url, files, **settings)
        async with run.started() as process:
            if name == "killed":
                await run.until((run.folder / "run/checkpoints/step-000004").exists)
                kill_ranks(process.pid)
            assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
        by_step = {row["step"]: row for row in run.metrics()}
        losses.append([row["loss"] for row in by_step.values()])
        asked.append(questions(run.sampler.issued))
        counts = await (await run.ledger()).counts()
        assert counts.balanced() and counts.trained == 24
        last = 1 + max(int(group[1:]) for group, _ in asked[-1])
        assert counts.issued + sum(counts.skipped.values()) == last
        assert counts.skipped["easy"] > 5 and by_step[6]["groups_skipped"] == counts.skipped
    assert asked[0] == asked[1]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3, abs=1e-4)


async def test_a_trainer_that_is_told_to_stop_saves_the_step_it_has_reached(
    files, tmp_path, redis_url
):
    run = Run(tmp_path, redis_url, files, steps=1000, checkpoint={"every_steps": 1000})
    state = RunState(await connect(redis_url, 10.0), Keys("test"))
    async with run.started() as process:
        await run.until(lambda: len(run.metrics()) >= 2)
        # It may be waiting for groups, which no longer come.
        await end(run.answering)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
    reached = run.metrics()[-1]["step"]
    assert CheckpointFolder(tmp_path / "run/checkpoints", keep=1).newest_step() == reached
    stopped = await state.get()
    assert (stopped.phase, stopped.step) == ("paused", reached)


async def test_a_trainer_that_is_to_stay_serves_the_final_weights_until_told_to_stop(
    files, tmp_path, redis_url, capsys
):
    # Its four groups of eight responses spend the budget, so the first step is the last one.
    run = Run(
        tmp_path, redis_url, files, steps=9, max_responses=32, serve_after_end=True, zero_stage=0
    )
    client = await connect(redis_url, 10.0)
    async with run.started() as process:
        await run.until((tmp_path / "run/policy/config.json").exists)
        await run.until(lambda: not any(map(is_rank, descendants(process.pid))))
        # Others end a moment after their ranks.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(process.wait()), STAYS_S)
        newest = await VersionBoard(client, Keys("test")).current()
        assert newest is not None
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(f"{newest.url}/manifest")
            manifest = Manifest.model_validate_json(answer.content)
            data = (await http.get(f"{newest.url}/data")).content
            healthy = await http.get(f"{newest.url.partition('/weights')[0]}/healthz")
        process.terminate()
        assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0

    check_export(run, 1, capsys)
    assert str(manifest.version) == "1.1"
    assert len(data) == manifest.nbytes
    assert healthy.status_code == 200
    state = await RunState(client, Keys("test")).get()
    assert (state.phase, state.step, state.steps) == ("done", 1, 1)


@pytest.fixture
def blind(files, tmp_path):
    """The same files with a model whose vision tower gives the same features for all pictures."""
    processor = build_processor()
    model = build_model(processor, seed=0)
    with torch.no_grad():
        for parameter in model.model.visual.merger.parameters():
            parameter.zero_()
    save(model, processor, tmp_path / "model")
    for data in files.iterdir():
        if data.name != "model":
            (tmp_path / data.name).symlink_to(data)
    return tmp_path


@pytest.mark.parametrize(
    ("sees", "guard", "message"),
    [
        # The scripted sampler's log-probabilities are nobody's.
        (
            True,
            {"mismatch_stop_above": 0.5, "window": 1, "canary_every_steps": 0},
            r"step 1: log-probabilities of trainer and sampler differ by \d.* check that every "
            r"rollout node has the trainer's model folder",
        ),
        (
            False,
            {"mismatch_stop_above": None, "canary_every_steps": 1, "canary_stop_below": 1e-6},
            r"step 1: with other pictures .* change by 0 a token .*: the policy does not look at "
            r"its pictures; check that the model's vision weights were loaded",
        ),
    ],
    ids=["other log-probabilities", "no sight"],
)
async def test_a_guard_ends_a_run_before_its_weights_are_published(
    sees, guard, message, files, blind, tmp_path, redis_url
):
    run = Run(tmp_path / "it", redis_url, files if sees else blind, guard=guard)
    async with run.started() as process:
        assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 2

    client = await connect(redis_url, 10.0)
    told = describe("test", await look(client, Keys("test")))
    assert re.search(f"^now +trainer: failed .*{message}", told, re.MULTILINE), told
    published = await VersionBoard(client, Keys("test")).current()
    assert published is not None and published.version.step == 0
    counts = await (await run.ledger()).counts()
    assert counts.balanced() and counts.trained == 0
    assert run.metrics() == []
