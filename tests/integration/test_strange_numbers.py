"""Numbers that are none, end to end: a real reward service, real Redis and two DeepSpeed ranks.

The sampler is scripted, so that each group has the numbers that the test wants.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText

from perl_rl.demo.digits import write_data
from shared.config import load_config
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PromptTask, TrajectoryBatch
from shared.wire.runstate import RunState
from tests.scripted_sampler import ScriptedSampler, demo_config, end

pytestmark = pytest.mark.anyio

RUN_TIMEOUT_S = 200.0
FAR, NONE = "g00000000", "g00000001"
STRANGE = {FAR: -95.0, NONE: float("nan")}
"""Log-probabilities: the first is that of a token whose ratio float32 cannot hold."""


class StrangeSampler(ScriptedSampler):
    """Gives the first token of some groups a strange log-probability."""

    def _answer(self, task: PromptTask, pictures: list) -> TrajectoryBatch:
        batch = super()._answer(task, pictures)
        if task.group_id not in STRANGE:
            return batch
        responses = []
        for one in batch.responses:
            logprobs = np.array(one.logprobs)
            logprobs[0] = STRANGE[task.group_id]
            responses.append(one.model_copy(update={"logprobs": logprobs}))
        return batch.model_copy(update={"responses": tuple(responses)})


class Run:
    """A trainer, a reward service, and the scripted sampler."""

    def __init__(
        self, folder: Path, model: Path, redis_url: str, function: str, **trainer: object
    ) -> None:
        self.folder, self._redis_url = folder, redis_url
        (folder / "model").symlink_to(model)
        write_data(folder / "data", train=30, held_out=3, skew=0.8, seed=1)
        settings = demo_config(folder, redis_url, ranks=2, **trainer)
        settings["reward"] = {"function": f"tests.integration.strange_rewards:{function}"}
        self._config_file = folder / "config.yaml"
        self._config_file.write_text(yaml.safe_dump(settings))
        self._sampler = StrangeSampler(load_config(self._config_file), scores=False)

    @contextlib.asynccontextmanager
    async def _process(self, *words: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A command in a session of its own; nothing of it is left after."""
        with (self.folder / f"{words[0]}.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "perl_rl", *words[:2], str(self._config_file)),
                *("--run-dir", str(self.folder / "run"), "--port", "0"),
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def to_the_end(self) -> int:
        """Run the trainer to its end; returns its exit status."""
        async with self._process("reward", "serve"), self._process("trainer", "serve") as trainer:
            answering = asyncio.create_task(self._sampler.run())
            try:
                return await asyncio.wait_for(trainer.wait(), RUN_TIMEOUT_S)
            finally:
                await end(answering)

    def log(self, service: str) -> str:
        return (self.folder / f"{service}.log").read_text()

    async def ledger(self) -> Ledger:
        return Ledger(await connect(self._redis_url, 10.0), Keys("test"))


async def test_strange_numbers_are_refused_and_the_others_trained(
    tiny_models: tuple[Path, Path], tmp_path: Path, redis_url: str
) -> None:
    # Two updates a step, a group on each rank. Stage 0 in fp32 is where DeepSpeed checks nothing.
    run = Run(
        *(tmp_path, tiny_models[0], redis_url, "score"),
        zero_stage=0,
        steps=3,
        minibatch_groups=2,
        objective={"normalise": "none"},
    )

    assert await run.to_the_end() == 0, run.log("trainer")[-2000:]

    ledger = await run.ledger()
    counts = await ledger.counts()
    assert counts.dropped == {"dead_letter": 1, "bad_reward": 1, "nonfinite_gradient": 6}
    assert counts.balanced() and (counts.trained, counts.in_flight) == (10, 0)
    states = {
        int(group.removeprefix("g")): state for group, state in (await ledger.settled()).items()
    }
    dropped = {number for number, state in states.items() if state == "dropped:nonfinite_gradient"}
    assert dropped == {6, 7, 10, 11, 12, 13}, "6 took 7 along, its update; 10 to 13 a whole step"
    assert states[0] == "trained:1", "a ratio beyond float32 is bounded"
    assert "reward.function 'tests.integration.strange_rewards:score' returned a" in run.log(
        "reward"
    )
    assert "an update's gradient norm is not finite; it changes nothing, and its groups" in run.log(
        "trainer"
    )
    assert "g00000006, g00000007" in run.log("trainer")
    rows = [json.loads(row) for row in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3]
    assert [row["refused_updates"] for row in rows] == [0, 1, 3]
    assert rows[1]["groups"] == ["g00000008", "g00000009"]
    assert all(np.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    trained = AutoModelForImageTextToText.from_pretrained(tmp_path / "run/policy")
    start = AutoModelForImageTextToText.from_pretrained(tiny_models[0])
    pairs = list(zip(trained.parameters(), start.parameters(), strict=True))
    assert all(torch.isfinite(one).all() for one, _ in pairs)
    assert any((one != two).any() for one, two in pairs)


async def test_a_run_ends_when_no_update_is_finite(
    tiny_models: tuple[Path, Path], tmp_path: Path, redis_url: str
) -> None:
    run = Run(
        *(tmp_path, tiny_models[0], redis_url, "always_too_large"),
        zero_stage=1,
        groups_per_step=2,
        objective={"normalise": "none"},
        guard={"max_nonfinite_steps": 2, "mismatch_stop_above": None, "canary_every_steps": 0},
    )

    assert await run.to_the_end() == 2, run.log("trainer")[-2000:]

    client = await connect(redis_url, 10.0)
    state = await RunState(client, Keys("test")).get()
    assert state.phase == "failed"
    assert "step 1: the gradient norm was not finite in 2 steps in a row" in state.detail
    counts = await (await run.ledger()).counts()
    assert counts.balanced() and counts.trained == 0
    assert counts.dropped["nonfinite_gradient"] == 2, "of the first try; the second ended the run"
    assert not (tmp_path / "run/metrics.jsonl").exists()
