"""A reward node as a process of its own: started, asked, killed, told to stop, misconfigured."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
import redis.asyncio
import yaml

from perl_rl.launch.embedded_redis import find_server
from shared.service.auth import bearer
from shared.service.connection import connect
from shared.service.ports import free_port
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import ScoredGroup, TrajectoryBatch, decode, encode
from shared.wire.registry import NodeInfo, Registry
from tests.builders import batch, response, task
from tests.scripted_endpoint import ScriptedEndpoint

WAIT_S = 60.0
RUN = "reward-service-test"
TOWER = "9^{9^{9^{9}}}"
"""An expression that no grader finishes."""


@pytest.fixture
def config_file(tmp_path: Path, redis_url: str) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "run": RUN,
                "redis": {"url": redis_url},
                "security": {"token": "s3cret"},
                "model": {"path": "none"},
                "data": {"train": "none"},
                "trainer": {},
                "reward": {"workers": 1, "heartbeat_s": 0.1, "lost_after_s": 1.0, "port": 0},
            }
        )
    )
    return file


@contextmanager
def node(
    config_file: Path, *overrides: str, name: str = "reward-0", run_dir: Path | None = None
) -> Iterator[subprocess.Popen]:
    """A reward node's process; killed at the end if it still runs."""
    command = [sys.executable, "-m", "perl_rl", "reward", "serve", str(config_file), "--name", name]
    for override in overrides:
        command += ["--set", override]
    if run_dir is not None:
        command += ["--run-dir", str(run_dir)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = await connect(redis_url, timeout_s=10)
    yield client
    await client.aclose()


async def ready_node(client: redis.asyncio.Redis, name: str = "reward-0") -> NodeInfo:
    return await heartbeat(client, lambda node: node.name == name and node.state == "ready")


async def heartbeat(client: redis.asyncio.Redis, condition: Callable[[NodeInfo], bool]) -> NodeInfo:
    registry = Registry(client, Keys(RUN))
    async with asyncio.timeout(WAIT_S):
        while True:
            alive, _ = await registry.nodes()
            for node in alive:
                if condition(node):
                    return node
            await asyncio.sleep(0.05)


async def issue(client: redis.asyncio.Redis, group: str, answer: str = r"\frac{1}{2}") -> None:
    tasks = [task(group_id=group, order_index=i, answer=answer, kind="math") for i in range(2)]
    assert await Ledger(client, Keys(RUN)).issue(tasks, {})


async def answer(
    client: redis.asyncio.Redis, group: str, *boxed: str, gold: str = r"\frac{1}{2}"
) -> None:
    for index in range(2):
        given = batch(group_id=group, order_index=index, answer=gold, kind="math")
        texts = tuple(response(text=f"<think></think>\\boxed{{{one}}}") for one in boxed)
        filled = TrajectoryBatch(**dict(given) | {"responses": texts})
        await client.xadd(Keys(RUN).trajectories, {"m": encode(filled)})


async def scored_group(client: redis.asyncio.Redis) -> ScoredGroup:
    async with asyncio.timeout(WAIT_S):
        while not (entries := await client.xrange(Keys(RUN).groups)):
            await asyncio.sleep(0.05)
    ((_, fields),) = entries
    return decode(ScoredGroup, fields[b"m"])


def stopped(process: subprocess.Popen) -> str:
    """Stop a node in good order; what it said."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 0, said
    assert not any(child.is_running() for child in children)
    return said


async def test_a_node_serves_scores_and_stops_in_good_order(
    config_file: Path, client: redis.asyncio.Redis
) -> None:
    with node(config_file) as process:
        url = (await ready_node(client)).url
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S) as http:
            assert (await http.get("/readyz")).status_code == 200
            # No comparison of plain numbers, so that a process decides.
            root, gold = r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"
            items = [{"response": rf"\boxed{{{root}}}", "answer": gold, "kind": "math"}]
            assert (await http.post("/score", json=items)).status_code == 401
            scores = await http.post("/score", json=items, headers=bearer("s3cret"))
            (score,) = scores.json()
            assert (score["accuracy"], score["reward"], score["extracted"]) == (1.0, 0.9, root)
            await issue(client, "g")
            await answer(client, "g", root, "0.6", gold=gold)
            group = await scored_group(client)
            assert group.rewards().tolist() == [1.0, 0.1, 1.0, 0.1]
            metrics = (await http.get("/metrics", headers=bearer("s3cret"))).text
        assert "perl_reward_groups_forwarded_total 1.0" in metrics
        assert 'perl_reward_expressions_total{outcome="equal"} 3.0' in metrics
        assert 'perl_reward_queue_length{queue="groups"} 1.0' in metrics
        stopped(process)
    assert await Registry(client, Keys(RUN)).nodes() == ([], [])


async def test_a_node_asks_its_judge_and_keeps_the_verdicts(
    config_file: Path, client: redis.asyncio.Redis, tmp_path: Path
) -> None:
    verdict = '{"correct": true}'
    item = {"response": r"\boxed{a kitten}", "answer": "cat", "kind": "text", "tokens": 2048}
    with ScriptedEndpoint(lambda body: verdict).serving() as judge:
        settings = (
            f"reward.judge.endpoint.url={judge.url}",
            "reward.judge.endpoint.model=j",
            "reward.overlong.buffer_tokens=1000",
        )
        with node(config_file, *settings, run_dir=tmp_path / "run") as process:
            url = (await ready_node(client)).url
            async with httpx.AsyncClient(
                base_url=url, timeout=WAIT_S, headers=bearer("s3cret")
            ) as http:
                for _ in range(2):
                    (score,) = (await http.post("/score", json=[item])).json()
                    assert (score["accuracy"], score["penalty"]) == (1.0, -1.0)
                metrics = (await http.get("/metrics")).text
            assert 'perl_reward_judge_total{outcome="asked"} 1.0' in metrics
            assert 'perl_reward_judge_total{outcome="cache"} 1.0' in metrics
            stopped(process)
    (kept,) = (tmp_path / "run" / "judge").rglob("*.json")
    assert json.loads(kept.read_text()) == {"text": verdict}


async def test_a_killed_node_leaves_no_process_and_its_work_is_taken_over(
    config_file: Path, client: redis.asyncio.Redis
) -> None:
    with node(config_file, "reward.grade_timeout_s=300") as process:
        await ready_node(client)
        (grader,) = psutil.Process(process.pid).children()
        await issue(client, "g")
        await answer(client, "g", TOWER, "0.5")
        await heartbeat(client, lambda node: node.working_on == 2)
        process.kill()
        process.wait(timeout=WAIT_S)
        grader.wait(timeout=WAIT_S)
    with node(config_file, "reward.grade_timeout_s=1", name="reward-1") as process:
        group = await scored_group(client)
        assert group.rewards().tolist() == [0.1, 1.0, 0.1, 1.0]
        counts = await Ledger(client, Keys(RUN)).counts()
        assert counts.balanced() and counts.in_flight == 1
        stopped(process)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("reward.function=nowhere:f", "reward.function 'nowhere:f': there is no module nowhere"),
        ("redis.url=redis://127.0.0.1:1/0", "cannot reach Redis"),
        ("reward.host=192.0.2.1", "reward: cannot listen on 192.0.2.1:0"),
    ],
)
def test_a_mistake_is_one_line(config_file: Path, override: str, message: str) -> None:
    # A service waits for a Redis that is still starting, by default for half a minute.
    with node(config_file, override, "redis.timeout_s=1") as process:
        _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert message in said and len(said.strip().splitlines()) == 1


def test_a_port_in_use_is_one_line(config_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with node(config_file, f"reward.port={port}") as process:
            _, said = process.communicate(timeout=WAIT_S)
    assert process.returncode == 2
    assert said.strip() == (
        f"perl-rl: error: reward: cannot listen on 127.0.0.1:{port} (Address already in use); "
        "set reward.host and reward.port to a free address"
    )


class OwnRedis:
    """A server on a port of its own that keeps its data when it is killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.start()

    def start(self) -> None:
        settings = {"port": self.port, "dir": self._folder, "appendonly": "yes"}
        settings |= {"appendfsync": "always", "save": ""}
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self.process = subprocess.Popen([find_server(), *words], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=WAIT_S)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    yield server
    server.kill()


async def answering(url: str) -> redis.asyncio.Redis:
    client = redis.asyncio.Redis.from_url(url, protocol=2)
    async with asyncio.timeout(WAIT_S):
        while True:
            try:
                await client.ping()
                return client
            except redis.exceptions.ConnectionError:
                await asyncio.sleep(0.05)


async def test_a_node_sits_out_a_restart_of_redis(config_file: Path, own_redis: OwnRedis) -> None:
    client = await answering(own_redis.url)
    with node(config_file, f"redis.url={own_redis.url}") as process:
        await ready_node(client)
        await issue(client, "g")
        own_redis.kill()
        said = ""
        assert process.stderr is not None
        while "Redis does not answer" not in said:
            said = await asyncio.to_thread(process.stderr.readline)
            assert said, "the node has ended"
        own_redis.start()
        await client.aclose()
        client = await answering(own_redis.url)
        await answer(client, "g", "0.5", "0.6")
        assert (await scored_group(client)).rewards().tolist() == [1.0, 0.1, 1.0, 0.1]
        stopped(process)
    await client.aclose()


async def test_a_node_gives_up_when_redis_stays_away(
    config_file: Path, own_redis: OwnRedis
) -> None:
    client = await answering(own_redis.url)
    with node(config_file, f"redis.url={own_redis.url}", "redis.timeout_s=1") as process:
        await ready_node(client)
        own_redis.kill()
        _, said = await asyncio.to_thread(process.communicate, None, WAIT_S)
    assert process.returncode == 2
    assert "reward: waited 1.0 s for Redis to answer (redis.timeout_s); gave up" in said
    await client.aclose()


async def test_a_node_that_is_told_to_stop_does_not_wait_for_redis(
    config_file: Path, own_redis: OwnRedis
) -> None:
    client = await answering(own_redis.url)
    # Longer than the drain may take: a node that waited for Redis would fail.
    with node(config_file, f"redis.url={own_redis.url}", "redis.timeout_s=60") as process:
        await ready_node(client)
        own_redis.kill()
        await asyncio.to_thread(stopped, process)
    await client.aclose()
