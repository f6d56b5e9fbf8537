"""``docker compose up`` trains the demo to its end, despite new nodes and killed containers.

Needs a Docker engine that can build the images; takes about ten minutes on two cores after that.
"""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.compose.composition import (
    BUILD_TIMEOUT_S,
    Composition,
    MissingEngine,
    compose_command,
)

START_TIMEOUT_S = 600.0
RUN_TIMEOUT_S = 2400.0
# Enough steps for an engine to start, join and work in the middle of the run.
STEPS = 45
SERVICES = ("trainer", "rollout", "reward")


@pytest.fixture
def composition(tmp_path: Path) -> Iterator[Composition]:
    try:
        compose = compose_command()
    except MissingEngine as missing:
        pytest.skip(f"compose-test: {missing}")
    composition = Composition(compose, tmp_path / "checkout", secrets.token_hex(16))
    shorten(composition.folder / "configs" / "demo.yaml")
    with composition.ended_after(tmp_path / "containers.log"):
        yield composition


def shorten(demo: Path) -> None:
    """Give the demo fewer steps, by editing its file as a user would."""
    text, changed = re.subn(r"^  steps: \d+$", f"  steps: {STEPS}", demo.read_text(), flags=re.M)
    assert changed == 1
    demo.write_text(text)


def step(composition: Composition) -> int:
    """The step that ``perl-rl status`` shows; -1 while it shows none."""
    found = re.search(r"^step +(\d+) of", composition.status(), re.MULTILINE)
    return int(found[1]) if found else -1


def ready_nodes(composition: Composition) -> int:
    return len(re.findall(r"^node .* rollout +ready ", composition.status(), re.MULTILINE))


def restarted(composition: Composition, container: str) -> bool:
    found = composition.inspect(container)
    return found["RestartCount"] > 0 and found["State"]["Health"]["Status"] == "healthy"


def ended(composition: Composition, container: str) -> bool:
    return composition.inspect(container)["State"]["Status"] == "exited"


@pytest.mark.timeout(BUILD_TIMEOUT_S + RUN_TIMEOUT_S + START_TIMEOUT_S)
def test_the_demo_trains_to_its_end_through_new_nodes_and_killed_containers(
    composition: Composition,
) -> None:
    composition("build", timeout_s=BUILD_TIMEOUT_S)
    composition.say("images built")
    composition("up", "-d", timeout_s=START_TIMEOUT_S)
    composition.say("docker compose up")
    composition.until("step 2 trained", lambda: step(composition) >= 2, START_TIMEOUT_S)
    url = f"http://127.0.0.1:{composition.port}"
    assert httpx.get(f"{url}/healthz", timeout=10.0).status_code == 200
    assert httpx.get(f"{url}/status", timeout=10.0).status_code == 401
    unprivileged(composition)

    first = composition.containers("rollout")
    composition("up", "-d", "--no-recreate", "--scale", "rollout=2", timeout_s=START_TIMEOUT_S)
    composition.say(f"scaled to {len(composition.containers('rollout'))} rollout containers")
    composition.until("2 rollout nodes ready", lambda: ready_nodes(composition) == 2, RUN_TIMEOUT_S)
    composition.kill(first[0])
    [reward] = composition.containers("reward")
    composition.kill(reward)
    at = step(composition)
    assert 2 <= at < STEPS, f"killed at step {at} of {STEPS}, not in the middle of the run"
    composition.say(f"killed the first rollout and the reward container at step {at}")
    composition.until("reward is back", lambda: restarted(composition, reward), START_TIMEOUT_S)

    [report] = composition.containers("report")
    composition.until("the run ended", lambda: ended(composition, report), RUN_TIMEOUT_S)
    assert composition.inspect(report)["State"]["ExitCode"] == 0
    print(composition.status())
    assert composition.inspect(first[0])["RestartCount"] == 1
    in_balance(composition.folder / "runs" / "perl", composition)
    drained(composition)


def unprivileged(composition: Composition) -> None:
    """None of the services' containers has root, a writable root file system, or a capability."""
    for service in SERVICES:
        [container] = composition.containers(service)
        found = composition.inspect(container)
        assert found["Config"]["User"] == "10001:10001"
        assert found["HostConfig"]["ReadonlyRootfs"]
        assert found["HostConfig"]["CapDrop"] == ["ALL"]


def in_balance(run: Path, composition: Composition) -> None:
    """Check the group counts in the run's summary."""
    summary = json.loads((run / "summary.json").read_text())
    groups = summary["groups"]
    composition.say(f"groups: {groups}")
    for when in ("before", "after"):
        found = summary["eval"][when]
        composition.say(
            f"{when}: accuracy {found['accuracy']:.3f}, flip rate {found['flip_rate']:.3f}"
        )
    dropped = sum(groups["dropped"].values())
    assert groups["issued"] == groups["trained"] + dropped and groups["in_flight"] == 0
    assert groups["trained"] > 0
    assert (run / "report.md").is_file() and (run / "report.png").is_file()


def drained(composition: Composition) -> None:
    """SIGTERM ends every service cleanly, before Docker's timeout kills it."""
    containers = {one: service for service in SERVICES for one in composition.containers(service)}
    composition("stop", timeout_s=START_TIMEOUT_S)
    status = {
        f"{service} {one[:6]}": composition.inspect(one)["State"]["ExitCode"]
        for one, service in containers.items()
    }
    composition.say(f"stopped: {status}")
    if any(status.values()):
        print(composition("logs", "--no-color", "--tail=30", *SERVICES))
    assert set(status.values()) == {0}
