"""The trainer service with real Redis and real DeepSpeed ranks, on scripted answers."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from perl_rl.cli.main import main
from perl_rl.cli.status import describe
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.report.observe import look
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import load_config
from shared.prompting import messages
from shared.reaper import descendants, running
from shared.records.groups import image_file, read_groups
from shared.records.steps import StepRecord, read_lines
from shared.service.connection import connect
from shared.weights.manifest import ADAPTER_FILE, Manifest
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PromptTask
from shared.wire.runstate import RunState
from tests.format_files import IMAGES, digit, write_features, write_json
from tests.scripted_sampler import ScriptedSampler, demo_config, end

pytestmark = pytest.mark.anyio

RUN_TIMEOUT_S = 150.0
STEPS = 4
STAYS_S = 10.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder with a tiny random model and a few questions of three sources."""
    folder = tmp_path_factory.mktemp("trainer")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    write_data(folder / "data", train=30, held_out=3, skew=0.8, seed=1)
    sums = [
        {
            "data_source": "sums",
            "prompt": [{"role": "user", "content": f"What is {number} + 1?"}],
            "reward_model": {"ground_truth": str(number + 1)},
        }
        for number in range(5)
    ]
    write_json(folder / "text" / "train.jsonl", sums)
    single = [
        {"images": [digit(number)], "problem": "<image>Which digit?", "answer": str(number)}
        for number in range(5)
    ]
    write_features(folder / "single" / "train-0.parquet", single, images=IMAGES)
    return folder


def mixed(files: Path) -> list[dict]:
    """Text only for half of the groups, one picture inside parquet, and the demo's several."""
    return [
        {"path": str(files / "text"), "format": "verl", "weight": 2},
        {"path": str(files / "single"), "format": "geometry3k"},
        {"path": str(files / "data" / "train.jsonl"), "name": "digits"},
    ]


class Run:
    """One trainer process and the scripted sampler that answers it."""

    def __init__(
        self,
        folder: Path,
        redis_url: str,
        files: Path,
        solved: Sequence[str] = (),
        lora: dict[str, object] | None = None,
        **trainer: object,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.redis_url = redis_url
        self.config_file = folder / "config.yaml"
        settings = demo_config(files, redis_url, **{"steps": STEPS, **trainer})
        settings["data"]["train"] = mixed(files)
        settings["model"]["lora"] = lora
        self.config_file.write_text(yaml.safe_dump(settings))
        self.config = load_config(self.config_file)
        self.sampler = ScriptedSampler(self.config, solved=solved)

    @contextlib.asynccontextmanager
    async def started(self) -> AsyncIterator[asyncio.subprocess.Process]:
        """The trainer's control plane, in a session of its own; nothing of it is left after."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "perl_rl", "trainer", "serve", str(self.config_file)),
            *("--run-dir", str(self.folder / "run"), "--port", "0"),
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self.answering = asyncio.create_task(self.sampler.run())
        try:
            yield process
        finally:
            await end(self.answering)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def to_the_end(self) -> list[dict]:
        """Run to the end; the lines of ``metrics.jsonl``."""
        async with self.started() as process:
            assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
        return self.metrics()

    def metrics(self) -> list[dict]:
        file = self.folder / "run" / "metrics.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        for row in rows:
            assert set(row) == set(StepRecord.model_fields), "the page about the fields is wrong"
        return rows

    def recorded(self) -> dict[str, dict]:
        """The row of each recorded group."""
        rows = read_groups(self.folder / "run").to_pylist()
        found = {row["group_id"]: row for row in rows}
        assert len(found) == len(rows), "a group was recorded twice"
        return found

    async def ledger(self) -> Ledger:
        return Ledger(await connect(self.redis_url, 10.0), Keys("test"))

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a condition on the run's files."""
        async with asyncio.timeout(RUN_TIMEOUT_S):
            while not reached():
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory, redis_server):
    """Losses and the questions asked in a run with one rank, without sharding."""

    async def run():
        client = await connect(redis_server, 10.0)
        await client.flushall()
        one = Run(tmp_path_factory.mktemp("one"), redis_server, files)
        return await one.to_the_end(), one.sampler.issued, one

    return asyncio.run(run())


def _asked(tasks: list[PromptTask]) -> dict:
    return {
        (task.group_id, task.order_index): (task.sample_id, task.permutation, task.seed)
        for task in tasks
    }


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
    _check_export(run, STEPS, capsys)
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


def _check_export(run: Run, step: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The last checkpoint gives the run's `policy`: the same processor, and the same logits."""
    folder, out = run.folder / "run", run.folder / "exported"
    assert main(["export", str(folder), "--step", str(step), "--out", str(out)]) == 0
    assert f"exported step {step} of {folder} to {out} (" in capsys.readouterr().out
    logits, processed = [], []
    for model_folder in (folder / "policy", out):
        processor = AutoProcessor.from_pretrained(model_folder)
        text = processor.apply_chat_template(
            messages("<image>Which digit?", "Box it."), add_generation_prompt=True, tokenize=False
        )
        seen = processor(text=[text], images=[digit(3)], return_tensors="pt")
        model = AutoModelForImageTextToText.from_pretrained(model_folder, dtype=torch.float32)
        with torch.no_grad():
            logits.append(model(**seen).logits)
        processed.append(seen)
    assert torch.equal(processed[0]["input_ids"], processed[1]["input_ids"])
    assert torch.equal(processed[0]["pixel_values"], processed[1]["pixel_values"])
    assert torch.equal(*logits)
    assert main(["export", str(folder), "--step", "99", "--out", str(out / "new")]) == 2
    refused = capsys.readouterr().err
    assert re.search(rf"there is no checkpoint of step 99; there are those .*\b{step}$", refused)


async def test_a_run_with_an_adapter_goes_on_with_the_same_losses_and_leaves_it(
    files, tmp_path, redis_url, capsys
):
    lora = {"rank": 4, "targets": ["*_proj", "qkv"], "vision": True, "dropout": 0.1}
    settings = {"zero_stage": 2, "steps": 3, "checkpoint": {"every_steps": 1}}
    losses = []
    for name in ("undisturbed", "killed"):
        await (await connect(redis_url, 10.0)).flushall()
        run = Run(tmp_path / name, redis_url, files, lora=lora, **settings)
        async with run.started() as process:
            if name == "killed":
                await run.until((run.folder / "run/checkpoints/step-000001").exists)
                _kill_ranks(process.pid)
            assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
        losses.append([(row["loss"], row["kl"], row["grad_norm"]) for row in run.metrics()])
    assert losses[0] == losses[1]
    assert losses[0][-1][1] > 0, "away from the start model"

    folder = run.folder / "run"
    newest = max((folder / "weights").iterdir(), key=lambda path: int(path.name.split(".")[1]))
    manifest = Manifest.model_validate_json((newest / "manifest.json").read_text())
    assert manifest.adapter is not None
    published, saved = (
        load_file(file)
        for file in (newest / "weights.safetensors", folder / "policy" / ADAPTER_FILE)
    )
    assert published.keys() == saved.keys()
    assert all(torch.equal(published[name], one) for name, one in saved.items())
    _check_export(run, 3, capsys)
    merged = run.folder / "merged"
    assert main(["export", str(folder), "--merged", "--out", str(merged)]) == 0
    _logits_agree(folder / "policy", merged, 1e-4)
    assert not (merged / ADAPTER_FILE).exists()


def _logits_agree(one: Path, other: Path, bound: float) -> None:
    ids = torch.arange(30)[None]
    with torch.no_grad():
        logits = [
            AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)(
                input_ids=ids
            ).logits
            for folder in (one, other)
        ]
    torch.testing.assert_close(*logits, atol=bound, rtol=0)


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
        _kill_ranks(process.pid)
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
    assert _asked(run.sampler.issued) == _asked(expected_tasks)
    assert [row["step"] for row in metrics] == list(range(1, STEPS + 1))
    starts = [row["incarnation"] for row in metrics]
    assert starts == sorted(starts) and starts[-1] == 3
    lost = read_lines(tmp_path / "run/metrics.lost.jsonl")
    assert all((row["step"], row["incarnation"]) not in enumerate(starts, 1) for row in lost)
    states = {name: f"{row['status']}:{row['step']}" for name, row in run.recorded().items()}
    assert states == await (await run.ledger()).settled()
    done = await state.get()
    assert (done.phase, done.step, done.incarnation) == ("done", STEPS, 3)


async def test_killed_ranks_skip_and_train_what_an_undisturbed_run_does(files, tmp_path, redis_url):
    settings = {"solved": ["sums"], "steps": 6, "checkpoint": {"every_steps": 2}}
    asked, losses = [], []
    for name in ("undisturbed", "killed"):
        await (await connect(redis_url, 10.0)).flushall()
        run = Run(tmp_path / name, redis_url, files, **settings)
        async with run.started() as process:
            if name == "killed":
                await run.until((run.folder / "run/checkpoints/step-000004").exists)
                _kill_ranks(process.pid)
            assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
        by_step = {row["step"]: row for row in run.metrics()}
        losses.append([row["loss"] for row in by_step.values()])
        asked.append(_asked(run.sampler.issued))
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


async def test_a_trainer_that_is_to_stay_serves_the_final_weights_until_told_to_stop(
    files, tmp_path, redis_url, capsys
):
    run = Run(tmp_path, redis_url, files, steps=1, serve_after_end=True, zero_stage=0)
    client = await connect(redis_url, 10.0)
    async with run.started() as process:
        await run.until((tmp_path / "run/policy/config.json").exists)
        await run.until(lambda: not any(map(_is_rank, descendants(process.pid))))
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

    _check_export(run, 1, capsys)
    assert str(manifest.version) == "1.1"
    assert len(data) == manifest.nbytes
    assert healthy.status_code == 200
    assert (await RunState(client, Keys("test")).get()).phase == "done"


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


def _kill_ranks(control_plane: int) -> None:
    """SIGKILL to the processes that train, not to the control plane or to torchrun."""
    killed = [pid for pid in descendants(control_plane) if _is_rank(pid)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed


def _is_rank(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"services.trainer.rank.main" in words and b"torch.distributed.run" not in words
