"""``perl-rl report`` on a run with held-out questions: both models are really asked.

A rollout node that holds the policy answers for it; an engine of its own answers for the start
model, which no node holds any more. Both say what plain transformers says.
"""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from perl_rl.cli.main import main
from perl_rl.demo.digits import write_data
from shared.config import Config, load_config, save_config
from shared.sample import load_samples
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from tests.greedy import evaluate_folder
from tests.integration.live_node import LiveNode
from tests.paths import START_MODEL
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.timeout(600)

HELD_OUT = 12
ORDERS, MAX_TOKENS = 3, 24


def write_questions(folder: Path) -> str:
    write_data(folder / "data", train=3, held_out=HELD_OUT, skew=1.0, seed=1)
    return str(folder / "data" / "heldout.jsonl")


def write_trained(folder: Path, url: str, run: str, step: int) -> None:
    """The files and the state of a run that has trained its last step."""
    (folder / "run" / "policy").mkdir(parents=True)
    row = {"step": step, "samples": 4, "reward": 0.5, "generated_tokens": 9}
    (folder / "run" / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    state = {"phase": "done", "step": step, "dtype": "float32", "device": "cpu"}

    async def say() -> None:
        client = await connect(url, 5.0)
        await RunState(client, Keys(run)).update(**state)
        await client.aclose()

    asyncio.run(say())


def report(folder: Path, *overrides: str) -> int:
    config, run_dir = str(folder / "config.yaml"), str(folder / "run")
    words = ["report", config, "--run-dir", run_dir]
    return main([*words, "--set", *overrides] if overrides else words)


def evaluated(folder: Path, when: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / f"eval-{when}.json").read_text())
    return found


@pytest.fixture
def trained(taught_node: LiveNode, tmp_path: Path) -> Iterator[Path]:
    """The folder of a run whose policy the live node holds."""
    step = taught_node.version.step
    content = taught_node.config.model_dump(mode="json")
    content["model"]["path"] = str(START_MODEL)
    content["data"]["heldout"] = write_questions(tmp_path)
    content["eval"] = {"orders": ORDERS, "max_tokens": MAX_TOKENS}
    content["trainer"]["steps"] = step
    save_config(Config.model_validate(content), tmp_path / "config.yaml")
    assert taught_node.config.redis.url is not None
    write_trained(tmp_path, taught_node.config.redis.url, taught_node.config.run, step)
    yield tmp_path
    taught_node.do(taught_node.client.delete(taught_node.keys.state))


def test_both_models_are_asked_and_say_what_transformers_says(trained, taught_node, capsys):
    assert report(trained) == 0

    run, said = trained / "run", capsys.readouterr().out
    samples = load_samples(trained / "data" / "heldout.jsonl")
    instruction = load_config(trained / "config.yaml").data.instruction
    expected = evaluate_folder(START_MODEL, samples, instruction, ORDERS, MAX_TOKENS)
    assert expected.items == HELD_OUT and 0 < expected.accuracy.value < 1
    found = {when: evaluated(trained, when) for when in ("before", "after")}
    asked = [one.pop("asked") for one in found.values()]
    assert asked[0] == asked[1]
    assert (asked[0]["prompts"], asked[0]["orders"]) == (expected.answers, ORDERS)
    # An engine of its own is no policy version; the node's answers name theirs.
    versions = [one.pop("versions") for one in found.values()]
    assert versions == [[], [str(taught_node.version)]]
    for one in found.values():
        assert one == json.loads(expected.model_dump_json())
    assert f"evaluation after training: {expected.answers} answers in" in said
    assert "evaluation before training: starting an engine" in said
    assert "evaluation after training: starting an engine" not in said

    summary = json.loads((run / "summary.json").read_text())
    assert (summary["dtype"], summary["device"]) == ("float32", "cpu")
    for when in ("before", "after"):
        assert summary["eval"][when]["items"] == HELD_OUT
        low, high = summary["eval"][when]["intervals_95"]["accuracy"]
        assert low <= summary["eval"][when]["accuracy"] <= high
    assert "accuracy over all orders" in said
    assert f"done: {run / 'summary.json'}\n" in said
    assert said.endswith(f"report: {run / 'report.md'}, {run / 'report.png'}\n")
    assert "PeRL: live" in (run / "report.md").read_text()
    with Image.open(run / "report.png") as picture:
        assert picture.width > 100

    # Once more: the result before training is kept.
    kept = evaluated(trained, "before") | {"excluded": {"kept as it was": 1}}
    (run / "eval-before.json").write_text(json.dumps(kept))
    (run / "eval-after.json").unlink()
    assert report(trained) == 0
    assert evaluated(trained, "before") == kept
    assert evaluated(trained, "after")["items"] == HELD_OUT


@pytest.fixture
def alone(tmp_path: Path, redis_server: str) -> Path:
    """The folder of a run whose nodes have left, and whose policy is gone."""
    settings = demo_config(tmp_path, redis_server, steps=1)
    settings["data"]["heldout"] = write_questions(tmp_path)
    settings["rollout"] = {"heartbeat_s": 0.1, "lost_after_s": 0.2}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    write_trained(tmp_path, redis_server, "test", 1)
    (tmp_path / "run" / "eval-before.json").write_text("{}")
    return tmp_path


def test_a_policy_that_is_not_there_fails_the_report(alone, capfd):
    assert report(alone) == 1

    said = capfd.readouterr().err
    assert "holds no configuration (config.json)" in said
    assert "failed: the evaluation after training ended with status 2" in said
    assert not (alone / "run" / "summary.json").exists()


def test_an_evaluation_that_takes_too_long_is_ended(alone, capsys):
    assert report(alone, "eval.timeout_s=0.2") == 2
    assert "eval.timeout_s" in capsys.readouterr().err
    assert not (alone / "run" / "summary.json").exists()
