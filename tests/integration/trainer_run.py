"""The trainer service as a process, on scripted answers: to start, kill and look at."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

from perl_rl.cli.main import main
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from shared.config import load_config
from shared.prompting import messages
from shared.reaper import descendants
from shared.records.groups import read_groups
from shared.records.steps import StepRecord
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PromptTask
from tests.format_files import IMAGES, digit, write_features, write_json
from tests.scripted_sampler import ScriptedSampler, demo_config, end

RUN_TIMEOUT_S = 150.0
STEPS = 4


def write_files(folder: Path) -> Path:
    """Fill a folder with a tiny random model and a few questions of three sources."""
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


def questions(tasks: list[PromptTask]) -> dict:
    return {
        (task.group_id, task.order_index): (task.sample_id, task.permutation, task.seed)
        for task in tasks
    }


def check_export(run: Run, step: int, capsys: pytest.CaptureFixture[str]) -> None:
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


def kill_ranks(control_plane: int) -> None:
    """SIGKILL to the processes that train, not to the control plane or to torchrun."""
    killed = [pid for pid in descendants(control_plane) if is_rank(pid)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert killed


def is_rank(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return b"services.trainer.rank.main" in words and b"torch.distributed.run" not in words
