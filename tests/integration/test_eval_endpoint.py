"""``perl-rl eval`` against a real rollout node: what it records is what the model says."""

import json
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.demo.benchmark import write_mantis_shape
from shared.permutation import RenderedOrder
from tests.greedy import answer, load
from tests.integration.live_node import TOKEN, LiveNode
from tests.paths import START_MODEL

pytestmark = pytest.mark.timeout(600)

INSTRUCTION = "Think inside <think> </think>, then answer in \\boxed{}."


def test_a_rollout_node_is_evaluated_over_http(
    taught_node: LiveNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_mantis_shape(tmp_path / "digits", count=30)
    out = tmp_path / "out.json"
    monkeypatch.setenv("NODE_TOKEN", TOKEN)
    endpoint = ("--endpoint", f"{taught_node.node.url}/v1", "--model-name", taught_node.config.run)
    questions = ("--benchmark", "mantis-eval", "--data", str(data), "--orders", "2")
    asking = ("--max-tokens", "24", "--instruction", INSTRUCTION, "--api-key-env", "NODE_TOKEN")
    command = ["eval", *questions, *endpoint, *asking, "--out", str(out)]
    assert main(command) == 0

    result = json.loads(out.read_text())
    answers = [one for item in result["items"] for one in item["answers"]]
    assert (result["summary"]["items"], len(answers)) == (30, 40)
    images = tmp_path / "out.work" / "images"
    asked = [
        RenderedOrder(
            question=one["prompt"],
            images=tuple(str(images / f"{name}.png") for name in one["images"]),
            answer=one["gold"],
            permutation=tuple(one["permutation"]),
        )
        for one in answers
    ]
    model, processor = load(START_MODEL)
    said = answer(model, processor, asked, INSTRUCTION, 24)
    assert [one["response"] for one in answers] == said
    # It reads digits but prefers the first image.
    assert result["summary"]["score"]["value"] > 0.4
    assert result["robustness"]["accuracy_by_slot"]["0"] > 0.8

    before = out.read_bytes()
    assert main(command) == 0
    assert out.read_bytes() == before
