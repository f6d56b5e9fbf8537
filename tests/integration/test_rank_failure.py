"""A rank that fails ends the others, which wait for it, within seconds: real torchrun."""

import sys
import time
from pathlib import Path

import pytest

from services.trainer.control.ranks import HostRanks, RanksFailed, run_ranks
from shared.config import Config
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

WITHIN_S = 60.0
"""Both processes import the trainer first, on a machine that may be busy."""


async def test_a_rank_that_fails_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
        *("-m", "tests.integration.failing_rank"),
    ]
    monkeypatch.setattr(HostRanks, "command", lambda host, incarnation: command)
    config = Config.model_validate(demo_config(tmp_path, "redis://127.0.0.1:1/0"))
    started = time.monotonic()

    with pytest.raises(RanksFailed, match="the trainer's ranks ended with status 1"):
        await run_ranks(HostRanks(config.trainer, tmp_path / "config.yaml", tmp_path), 1)

    assert time.monotonic() - started < WITHIN_S
