"""``perl-rl eval`` against a real rollout node: what it records is what the model says."""

import json
from pathlib import Path

import pytest

from perl_rl.cli import main
from perl_rl.demo.benchmark import write_mantis_shape
from perl_rl.eval.greedy import answer, load
from shared.permutation import RenderedOrder
from tests.integration.live_node import TOKEN, LiveNode, weights_of

pytestmark = pytest.mark.timeout(600)

INSTRUCTION = "Answer in \\boxed{}."


def test_a_rollout_node_is_evaluated_over_http(
    live_node: LiveNode,
    tiny_models: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live_node.publish(weights_of(tiny_models[0]))
    data = write_mantis_shape(tmp_path / "digits", count=9)
    out = tmp_path / "out.json"
    monkeypatch.setenv("NODE_TOKEN", TOKEN)
    endpoint = ("--endpoint", f"{live_node.node.url}/v1", "--model-name", live_node.config.run)
    questions = ("--benchmark", "mantis-eval", "--data", str(data), "--orders", "2")
    asking = ("--max-tokens", "6", "--instruction", INSTRUCTION, "--api-key-env", "NODE_TOKEN")
    command = ["eval", *questions, *endpoint, *asking, "--out", str(out)]
    assert main(command) == 0

    result = json.loads(out.read_text())
    answers = [one for item in result["items"] for one in item["answers"]]
    assert (result["summary"]["items"], len(answers)) == (9, 12)
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
    model, processor = load(tiny_models[0])
    assert [one["response"] for one in answers] == answer(model, processor, asked, INSTRUCTION, 6)

    before = out.read_bytes()
    assert main(command) == 0
    assert out.read_bytes() == before
