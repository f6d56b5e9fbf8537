"""``perl-rl report``: waits for a run's end in Redis and sums it up, or says why it cannot."""

import asyncio
import json
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.paths import ROOT

STEPS = 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files of a run of two steps that the report reads."""
    (tmp_path / "policy").mkdir()
    rows = ({"step": step, "samples": 24, "generated_tokens": 100} for step in (1, 2))
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text, encoding="utf-8")
    return tmp_path


def say(url: str, **state: int | str) -> None:
    """Set the trainer's last state in Redis."""

    async def update() -> None:
        client = await connect(url, 5.0)
        await RunState(client, Keys("digits")).update(steps=STEPS, **state)
        await client.aclose()

    asyncio.run(update())


def report(folder: Path, url: str, *overrides: str) -> int:
    config = str(ROOT / "configs" / "demo.yaml")
    settings = (f"redis.url={url}", f"trainer.steps={STEPS}", "data.heldout=null", *overrides)
    return main(["report", config, "--run-dir", str(folder), "--set", *settings])


def test_a_run_that_is_done_is_summed_up(folder, redis_url):
    say(redis_url, phase="done", step=STEPS)
    assert report(folder, redis_url) == 0
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert (summary["outcome"], summary["steps"], summary["samples_trained"]) == ("done", 2, 48)


def test_a_run_that_fell_short_is_not_called_done(folder, redis_url, capsys):
    say(redis_url, phase="done", step=1)
    assert report(folder, redis_url) == 1
    assert "ended at step 1 of 2" in capsys.readouterr().err
    assert not (folder / "summary.json").exists()


def test_a_run_that_gets_nowhere_is_given_up(folder, redis_url, capsys):
    say(redis_url, phase="waiting for groups", step=1)
    assert report(folder, redis_url, "trainer.groups_timeout_s=0.5") == 2
    assert "trainer.groups_timeout_s" in capsys.readouterr().err


def test_it_has_to_be_told_where_the_run_is(folder, capsys, monkeypatch):
    monkeypatch.delenv("PERL_REDIS_URL", raising=False)
    config = str(ROOT / "configs" / "demo.yaml")
    assert main(["report", config, "--run-dir", str(folder)]) == 2
    assert "redis.url" in capsys.readouterr().err
