"""The trainer service with real Redis and real DeepSpeed ranks, on scripted answers."""

import asyncio

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from shared.reaper import descendants, running
from shared.records.groups import image_file
from shared.records.steps import read_lines
from shared.service.connection import connect
from shared.weights.manifest import Manifest
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.integration.trainer_run import (
    RUN_TIMEOUT_S,
    STEPS,
    Run,
    check_export,
    kill_ranks,
    questions,
    write_files,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("trainer"))


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory, redis_server):
    """Losses and the questions asked in a run with one rank, without sharding."""

    async def run():
        client = await connect(redis_server, 10.0)
        await client.flushall()
        one = Run(tmp_path_factory.mktemp("one"), redis_server, files)
        return await one.to_the_end(), one.sampler.issued, one

    return asyncio.run(run())


@pytest.mark.parametrize("stage", [1, 2, 3])
async def test_two_ranks_train_as_one_does(stage, undisturbed, files, tmp_path, redis_url, capsys):
    expected, _, _ = undisturbed
    # Room for two groups without pictures and for one with: in each step one rank makes more passes
    # than the other, and one passes text only while the other passes pictures.
    run = Run(tmp_path, redis_url, files, ranks=2, zero_stage=stage, micro_batch_tokens=340)

    metrics = await run.to_the_end()

    for key in ("loss", "kl", "mean_response_tokens", "grad_norm"):
        ours = [line[key] for line in metrics]
        assert ours == pytest.approx([line[key] for line in expected], rel=1e-3, abs=1e-4)
    check_export(run, STEPS, capsys)
    counts = await (await run.ledger()).counts()
    assert counts.trained == counts.issued == STEPS * 4
    images = {len(task.images) for task in run.sampler.issued}
    assert {0, 1} < images
    per_step = [
        sum(task.source == "sums" for task in run.sampler.issued if task.group_id in step)
        for step in ({f"g{4 * n + i:08d}" for i in range(4)} for n in range(STEPS))
    ]
    assert per_step == [4] * STEPS, "half of each step's four groups, two orders each"
    _recorded_as_one_rank_does(run, undisturbed[2])


def _recorded_as_one_rank_does(run: Run, one: Run) -> None:
    """Each group has the log-probabilities of its own tokens, whichever rank computed them."""
    ours, theirs = run.recorded(), one.recorded()
    assert ours.keys() == theirs.keys()
    for name, row in ours.items():
        assert row["response_token_ids"] == theirs[name]["response_token_ids"]
        for mine, other in zip(
            row["response_trainer_logprobs"],
            theirs[name]["response_trainer_logprobs"],
            strict=True,
        ):
            assert mine == pytest.approx(other, abs=2e-3)


async def test_every_group_is_recorded_with_what_the_trainer_computed(undisturbed, redis_server):
    metrics, _, run = undisturbed
    rows = run.recorded()
    for line in metrics:
        of_step = [row for row in rows.values() if row["step"] == line["step"]]
        assert {row["group_id"] for row in of_step} == set(line["groups"])
        tokens = sum(row["tokens"] for row in of_step)
        assert tokens == line["generated_tokens"]
        differences = [
            abs(one - other)
            for row in of_step
            for mine, sampled in zip(
                row["response_trainer_logprobs"], row["response_sampler_logprobs"], strict=True
            )
            for one, other in zip(mine, sampled, strict=True)
        ]
        assert np.mean(differences) == pytest.approx(line["logprob_mismatch_abs"], rel=1e-3)
        assert np.mean([row["reward"] for row in of_step]) == pytest.approx(line["reward"])
    folder = run.folder / "run"
    assert all(image_file(folder, one) for row in rows.values() for one in row["images"])
    assert (folder / "tokenizer.json").is_file()


async def test_tokens_count_alike_however_groups_are_shared_out(files, tmp_path, redis_url):
    # All tokens alike, and ratios that start from the trainer's own log-probabilities.
    objective = {
        "preset": "dapo",
        "kl_coef": 0.01,
        "old_logprobs": "trainer",
        "importance_cap": 2.0,
    }
    losses = []
    # Two updates a step; and so small a budget that a rank computes a group in several parts.
    for ranks, budget in ((1, 16_384), (2, 100)):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        await (await connect(redis_url, 10.0)).flushall()
        run = Run(
            folder,
            redis_url,
            files,
            ranks=ranks,
            zero_stage=3,
            steps=2,
            minibatch_groups=2,
            micro_batch_tokens=budget,
            objective=objective,
        )
        metrics = await run.to_the_end()
        losses.append([(row["loss"], row["kl"]) for row in metrics])
    assert losses[0] == [pytest.approx(pair, rel=1e-3, abs=1e-4) for pair in losses[1]]


async def test_the_published_weights_are_the_saved_policy(undisturbed):
    _, _, run = undisturbed
    folder = run.folder / "run"
    newest = max((folder / "weights").iterdir(), key=lambda path: int(path.name.split(".")[1]))
    manifest = Manifest.model_validate_json((newest / "manifest.json").read_text())
    data = (newest / "weights.safetensors").read_bytes()

    policy = AutoModelForImageTextToText.from_pretrained(folder / "policy", dtype=torch.float32)

    parameters = dict(policy.named_parameters())
    assert {info.name for info in manifest.tensors} == set(parameters)
    for info in manifest.tensors:
        part = bytearray(data[info.offset : info.offset + info.nbytes])
        published = torch.frombuffer(part, dtype=getattr(torch, info.dtype)).reshape(info.shape)
        assert torch.equal(published, parameters[info.name].detach()), info.name


async def test_killed_ranks_and_a_stopped_run_go_on_and_ask_the_same(
    undisturbed, files, tmp_path, redis_url
):
    _, expected_tasks, _ = undisturbed
    run = Run(tmp_path, redis_url, files, checkpoint={"every_steps": 1})
    state = RunState(await connect(redis_url, 10.0), Keys("test"))

    async with run.started() as process:
        await run.until(lambda: (tmp_path / "run/checkpoints/step-000001").exists())
        kill_ranks(process.pid)
        await _training(state, incarnation=2)
        await state.ask("stop", True)
        assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
    stopped = await state.get()
    assert (stopped.phase, stopped.incarnation) == ("paused", 2)
    assert 1 <= stopped.step < STEPS

    metrics = await run.to_the_end()

    counts = await (await run.ledger()).counts()
    assert counts.balanced()
    assert (counts.trained, counts.in_flight) == (STEPS * 4, 0)
    assert questions(run.sampler.issued) == questions(expected_tasks)
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    starts = [row["incarnation"] for row in metrics]
    assert starts == sorted(starts) and starts[-1] == 3
    lost = read_lines(tmp_path / "run/metrics.lost.jsonl")
    assert all((row["step"], row["incarnation"]) not in enumerate(starts, 1) for row in lost)
    states = {name: f"{row['status']}:{row['step']}" for name, row in run.recorded().items()}
    assert states == await (await run.ledger()).settled()
    done = await state.get()
    assert (done.phase, done.step, done.incarnation) == ("done", STEPS, 3)


async def test_a_killed_trainer_goes_on_from_before_a_damaged_checkpoint(
    undisturbed, files, tmp_path, redis_url
):
    expected, _, _ = undisturbed
    run = Run(tmp_path, redis_url, files, checkpoint={"every_steps": 1})
    checkpoints = tmp_path / "run/checkpoints"
    async with run.started() as process:
        await run.until((checkpoints / "step-000002").exists)
        below = descendants(process.pid)
        process.kill()
        # The ranks end a moment later, and may finish a checkpoint in it.
        await run.until(lambda: not any(running(pid) for pid in below))
    newest = max(checkpoints.glob("step-*"))
    (newest / "state.json").write_text("{}")

    metrics = await run.to_the_end()

    assert newest.with_name(f"damaged-{newest.name}").is_dir()
    counts = await (await run.ledger()).counts()
    assert (counts.trained, counts.in_flight) == (STEPS * 4, 0)
    assert metrics[-1]["step"] == STEPS
    assert metrics[-1]["loss"] == pytest.approx(expected[-1]["loss"], rel=1e-3, abs=1e-4)


async def _training(state: RunState, incarnation: int) -> None:
    """Wait until the ranks of this incarnation take groups."""
    async with asyncio.timeout(RUN_TIMEOUT_S):
        while (found := await state.get()).incarnation < incarnation or found.phase not in (
            "waiting for groups",
            "training",
        ):
            await asyncio.sleep(0.05)
