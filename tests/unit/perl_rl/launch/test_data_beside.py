"""The data check beside the start of the engines."""

import asyncio
import json
from pathlib import Path

import pytest

from perl_rl.demo.digits import write_data
from perl_rl.launch import data_beside
from perl_rl.launch.data_beside import DataBeside
from shared.config import Config
from shared.errors import UserError
from tests.paths import START_MODEL
from tests.unit.perl_rl.launch.test_launcher_session import Quiet

PATIENCE_S = 60.0


@pytest.fixture
def config(tmp_path: Path) -> Config:
    write_data(tmp_path / "data", seed=0, train=12, held_out=2)
    content = {
        "run": "r",
        "model": {"path": START_MODEL},
        "data": {"train": tmp_path / "data" / "train.jsonl"},
        "trainer": {},
    }
    return Config.model_validate(content)


@pytest.mark.slow
async def test_engines_may_start_before_the_prompts_are_checked(
    config: Config, tmp_path: Path
) -> None:
    progress = Quiet()
    beside = DataBeside(config, tmp_path / "run", progress)
    checking = asyncio.create_task(beside.check())
    await asyncio.wait_for(beside.only_prompts_left.wait(), PATIENCE_S)
    assert not checking.done(), "prompts are rendered in a process that takes seconds to start"
    await asyncio.wait_for(checking, PATIENCE_S)
    assert "12 questions" in progress.notes[-1]


async def test_no_engine_starts_for_bad_rows(config: Config, tmp_path: Path) -> None:
    row = {"id": "a", "question": "<image>", "images": ["gone.png"], "answer": "1", "kind": "text"}
    (tmp_path / "data" / "train.jsonl").write_text(json.dumps(row))
    beside = DataBeside(config, tmp_path / "run", Quiet())
    with pytest.raises(UserError, match=r"train\.jsonl.*gone\.png"):
        await beside.check()
    assert not beside.only_prompts_left.is_set()


async def test_a_check_that_is_cancelled_ends_with_the_next_thing_it_checks(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def check_until_stopped(config, folder, progress, pictures_done, stopped) -> None:
        loop.call_soon_threadsafe(begun.set)
        while not stopped():
            pass
        loop.call_soon_threadsafe(ended.set)

    monkeypatch.setattr(data_beside, "check_data_shown", check_until_stopped)
    checking = asyncio.create_task(DataBeside(config, tmp_path / "run", Quiet()).check())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    checking.cancel()
    await asyncio.wait_for(ended.wait(), PATIENCE_S)
