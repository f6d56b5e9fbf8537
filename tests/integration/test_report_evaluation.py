"""``perl-rl report`` on a run with held-out questions: both models are really asked."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from perl_rl.cli.main import main
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.scripted_sampler import demo_config

HELD_OUT = 3


@pytest.fixture
def folder(tmp_path: Path, redis_url: str) -> Path:
    """The files of a run of one step whose trainer is done."""
    processor = build_processor()
    for seed, name in enumerate(("model", "run/policy")):
        save(build_model(processor, seed), processor, tmp_path / name)
    write_data(tmp_path / "data", train=3, held_out=HELD_OUT, skew=1.0, seed=1)
    settings = demo_config(tmp_path, redis_url, steps=1)
    settings["data"]["heldout"] = str(tmp_path / "data" / "heldout.jsonl")
    settings["eval"] = {"orders": 2, "max_tokens": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    row = {"step": 1, "samples": 4, "reward": 0.5, "generated_tokens": 9}
    (tmp_path / "run" / "metrics.jsonl").write_text(json.dumps(row) + "\n")

    async def say() -> None:
        client = await connect(redis_url, 5.0)
        await RunState(client, Keys("test")).update(phase="done", step=1)
        await client.aclose()

    asyncio.run(say())
    return tmp_path


def report(folder: Path, *overrides: str) -> int:
    config, run_dir = str(folder / "config.yaml"), str(folder / "run")
    words = ["report", config, "--run-dir", run_dir]
    return main([*words, "--set", *overrides] if overrides else words)


def evaluated(folder: Path, when: str) -> dict:
    return json.loads((folder / "run" / f"eval-{when}.json").read_text())


def test_the_models_before_and_after_are_asked_and_compared(folder, capsys):
    assert report(folder) == 0

    run, said = folder / "run", capsys.readouterr().out
    summary = json.loads((run / "summary.json").read_text())
    for when in ("before", "after"):
        assert summary["eval"][when]["items"] == evaluated(folder, when)["items"] > 0
        low, high = summary["eval"][when]["intervals_95"]["accuracy"]
        assert low <= summary["eval"][when]["accuracy"] <= high
    assert "accuracy over all orders" in said
    assert said.endswith(f"done: {run / 'summary.json'}\n")
    assert "PeRL: test" in (run / "report.md").read_text()
    with Image.open(run / "report.png") as picture:
        assert picture.width > 100

    # Once more, with another policy: only that one is asked again.
    kept = evaluated(folder, "before") | {"excluded": {"kept as it was": 1}}
    (run / "eval-before.json").write_text(json.dumps(kept))
    (run / "eval-after.json").unlink()
    assert report(folder) == 0
    assert evaluated(folder, "before") == kept
    assert evaluated(folder, "after")["items"] > 0


def test_a_policy_that_is_not_there_fails_the_report(folder, capfd):
    (folder / "run" / "policy" / "config.json").unlink()
    (folder / "run" / "eval-before.json").write_text("{}")

    assert report(folder) == 1

    said = capfd.readouterr().err
    assert "holds no model (config.json is missing)" in said
    assert "failed: the evaluation after training ended with status 2" in said
    assert not (folder / "run" / "summary.json").exists()


def test_an_evaluation_that_takes_too_long_is_ended(folder, capsys):
    assert report(folder, "eval.timeout_s=0.2") == 2
    assert "eval.timeout_s" in capsys.readouterr().err
    assert not (folder / "run" / "summary.json").exists()
