"""A node's state, and the plugin that vLLM loads in each of its processes."""

import asyncio
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.rollout.node import Node
from shared.wire.messages import PolicyVersion


def version(step: int, incarnation: int = 1) -> PolicyVersion:
    return PolicyVersion(incarnation=incarnation, step=step)


def test_a_node_has_its_version_older_ones_and_those_of_older_histories() -> None:
    node = Node("n", "http://n")
    assert not node.has(version(0))
    node.loaded(version(3, incarnation=2), 0.1)
    assert node.has(version(3, incarnation=2))
    assert node.has(version(2, incarnation=2))
    assert node.has(version(9, incarnation=1))
    assert not node.has(version(4, incarnation=2))
    assert not node.has(version(0, incarnation=3))


def test_waiting_ends_when_the_version_arrives() -> None:
    async def run() -> None:
        node = Node("n", "http://n")
        several = [
            asyncio.create_task(node.until(lambda one, step=step: one.has(version(step))))
            for step in (1, 2)
        ]
        await asyncio.sleep(0)
        node.loaded(version(1), 0.1)
        await asyncio.wait_for(several[0], 10)
        assert not several[1].done()
        node.loaded(version(2), 0.1)
        await asyncio.wait_for(several[1], 10)

    asyncio.run(run())


def test_a_draining_node_does_not_become_ready_again() -> None:
    node = Node("n", "http://n")
    node.set_state("ready")
    assert node.ready
    node.set_state("draining")
    node.set_state("ready")
    assert node.state == "draining"
    assert not node.ready


def test_versions_that_a_newer_one_overtook_are_counted_within_one_history() -> None:
    node = Node("n", "http://n")
    for step in (2, 3, 6):
        node.loaded(version(step), 0.1)
    node.loaded(PolicyVersion(incarnation=2, step=1), 0.1)
    info = node.info()
    assert (info.versions_loaded, info.versions_skipped) == (4, 2)


def test_the_heartbeat_and_the_metrics_tell_the_same() -> None:
    node = Node("n", "http://n")
    node.set_state("ready")
    node.tokens, node.done, node.in_work = 70, 5, {"1-0", "2-0"}
    node.loaded(version(7), 0.25)
    info = node.info()
    assert (info.version, info.tokens, info.done, info.working_on) == ("1.7", 70, 5, 2)
    assert (info.versions_loaded, info.paused_s) == (1, (0.25,))
    registry = CollectorRegistry()
    registry.register(node)
    lines = generate_latest(registry).decode().splitlines()
    assert "perl_rollout_tokens_total 70.0" in lines
    assert "perl_rollout_policy_step 7.0" in lines
    assert "perl_rollout_paused_seconds_total 0.25" in lines
    assert "perl_rollout_ready 1.0" in lines


@pytest.mark.parametrize(
    "module", ["weights.plugin", "node", "weights.http", "weights.filesystem", "serve"]
)
def test_these_modules_load_without_torch_and_vllm(module: str) -> None:
    code = (
        f"import sys, services.rollout.{module}\n"
        "sys.exit(' '.join({'torch', 'vllm', 'transformers', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == ""
