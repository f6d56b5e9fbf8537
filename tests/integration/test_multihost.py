"""The trainer on two hosts: two network namespaces, each with a rank of its own.

Needs root, to make a namespace; only addresses of the test's own namespaces are used. Where there
is nft, the second host has a firewall that lets through what its pod's network policies do
(k8s/overlays/gpu-multinode/network.yaml).
"""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.launch.embedded_redis import find_server
from shared.config import load_config
from shared.reaper import descendants
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.runstate import RunState
from tests.scripted_sampler import ScriptedSampler, demo_config, end

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

HERE, THERE = "10.77.13.1", "10.77.13.2"
NAMESPACE, WIRE = f"perl-{os.getpid()}", f"perl{os.getpid() % 10_000}"
REDIS_PORT, TRAINER_PORT, RENDEZVOUS_PORT = 6399, 8399, 29399
LOW, HIGH = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
WALL = f"""
table inet perl {{
  chain in {{
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
    ip saddr {HERE} tcp dport {LOW}-{HIGH} accept
  }}
  chain out {{
    type filter hook output priority 0; policy drop;
    ct state established,related accept
    oif lo accept
    ip daddr {HERE} tcp dport {{ {REDIS_PORT}, {RENDEZVOUS_PORT}, {LOW}-{HIGH} }} accept
  }}
}}
"""
RUN_TIMEOUT_S = 240.0
STEPS = 4
TRY = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1.0)
print("reached")
"""


def _ip(*words: str, script: str | None = None) -> None:
    done = subprocess.run(["ip", *words], input=script, capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def second_host() -> Iterator[list[str]]:
    """The words that run a command on the second host."""
    try:
        _ip("netns", "add", NAMESPACE)
    except (RuntimeError, FileNotFoundError) as error:
        pytest.skip(f"a second host is a network namespace, which needs root and iproute2: {error}")
    try:
        _ip("link", "add", f"{WIRE}a", "type", "veth", "peer", "name", f"{WIRE}b")
        _ip("link", "set", f"{WIRE}b", "netns", NAMESPACE)
        _ip("addr", "add", f"{HERE}/24", "dev", f"{WIRE}a")
        _ip("link", "set", f"{WIRE}a", "up")
        inside = ["netns", "exec", NAMESPACE, "ip"]
        _ip(*inside, "addr", "add", f"{THERE}/24", "dev", f"{WIRE}b")
        _ip(*inside, "link", "set", f"{WIRE}b", "up")
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside[:-1], "sysctl", "-w", f"net.ipv4.ip_local_port_range={LOW} {HIGH}")
        if shutil.which("nft"):
            _ip(*inside[:-1], "nft", "-f", "-", script=WALL)
        yield ["ip", "netns", "exec", NAMESPACE]
    finally:
        _ip("netns", "delete", NAMESPACE)


@pytest.fixture(scope="module")
def redis_between(second_host: list[str], tmp_path_factory: pytest.TempPathFactory):
    """URL of a Redis that both hosts reach."""
    password, folder = secrets.token_urlsafe(16), tmp_path_factory.mktemp("redis")
    settings = f"bind {HERE}\nport {REDIS_PORT}\nrequirepass {password}\ndir {folder}\nsave ''\n"
    server = subprocess.Popen([find_server(), "-"], stdin=subprocess.PIPE)
    assert server.stdin is not None
    with server.stdin as stdin:
        stdin.write(settings.encode())
    yield f"redis://:{password}@{HERE}:{REDIS_PORT}/0"
    server.kill()
    server.wait()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trainer")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    write_data(folder / "data", train=30, held_out=3, skew=0.8, seed=1)
    return folder


class Run:
    """One trainer with ranks on two hosts, and the scripted sampler that answers it."""

    def __init__(self, folder: Path, redis_url: str, files: Path, hosts: int) -> None:
        settings = demo_config(
            files,
            redis_url,
            steps=STEPS,
            hosts=hosts,
            host=HERE,
            rendezvous=f"{HERE}:{RENDEZVOUS_PORT}",
            checkpoint={"every_steps": 1},
        )
        self.run_dir = folder / "run"
        self.config_file = folder / "config.yaml"
        self.config_file.write_text(yaml.safe_dump(settings))
        self.config = load_config(self.config_file)

    async def start(self, wire: str, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *words,
            *("--run-dir", str(self.run_dir)),
            env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": wire},
            start_new_session=True,
        )

    async def trainer(self) -> asyncio.subprocess.Process:
        words = ("-m", "perl_rl", "trainer", "serve", str(self.config_file))
        return await self.start(f"{WIRE}a", sys.executable, *words, "--port", str(TRAINER_PORT))

    async def second(self, second_host: list[str]) -> asyncio.subprocess.Process:
        words = ("-m", "perl_rl", "trainer", "join", str(self.config_file), "--host", "1")
        own = ("--set", f"trainer.host={THERE}", "--port", str(TRAINER_PORT))
        return await self.start(f"{WIRE}b", *second_host, sys.executable, *words, *own)

    @contextlib.asynccontextmanager
    async def answered(self) -> AsyncIterator[None]:
        answering = asyncio.create_task(ScriptedSampler(self.config).run())
        try:
            yield
        finally:
            await end(answering)

    def losses(self) -> list[float]:
        file = self.run_dir / "metrics.jsonl"
        by_step = {row["step"]: row["loss"] for row in map(json.loads, file.open())}
        return [by_step[step] for step in sorted(by_step)]


def _kill_tree(process: asyncio.subprocess.Process) -> None:
    """SIGKILL to a process and everything below it: its host is gone."""
    for pid in [process.pid, *descendants(process.pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def _end(*processes: asyncio.subprocess.Process) -> None:
    for process in processes:
        _kill_tree(process)
        await process.wait()


@pytest.mark.skipif(shutil.which("nft") is None, reason="the firewall is made with nft")
def test_the_second_host_reaches_what_the_network_policies_allow_and_no_more(second_host):
    ports = {RENDEZVOUS_PORT: True, int(HIGH): True, int(LOW) - 1: False, TRAINER_PORT: False}
    for port, allowed in ports.items():
        with socket.create_server((HERE, port)):
            words = (*second_host, sys.executable, "-c", TRY, HERE, str(port))
            done = subprocess.run(words, capture_output=True, text=True, timeout=30)
        assert (done.stdout.strip() == "reached") is allowed, (port, done.stderr)


async def test_two_hosts_train_as_one_and_survive_the_loss_of_one(
    second_host, redis_between, files, tmp_path
):
    async def flush():
        client = await connect(redis_between, 30.0, wait=True)
        await client.flushall()
        return client

    await flush()
    (tmp_path / "one").mkdir()
    alone = Run(tmp_path / "one", redis_between, files, hosts=1)
    async with alone.answered():
        trainer = await alone.trainer()
        try:
            assert await asyncio.wait_for(trainer.wait(), RUN_TIMEOUT_S) == 0
        finally:
            await _end(trainer)

    client = await flush()
    (tmp_path / "two").mkdir()
    run = Run(tmp_path / "two", redis_between, files, hosts=2)
    async with run.answered():
        trainer, second = await run.trainer(), await run.second(second_host)
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                while not (run.run_dir / "checkpoints" / "step-000001").exists():
                    assert trainer.returncode is None, "the trainer ended"
                    await asyncio.sleep(0.05)
            ranks = [psutil.Process(pid) for pid in descendants(second.pid)]
            assert any("services.trainer.rank.main" in one.cmdline() for one in ranks)
            _kill_tree(second)
            await second.wait()
            second = await run.second(second_host)
            assert await asyncio.wait_for(trainer.wait(), RUN_TIMEOUT_S) == 0
            assert await asyncio.wait_for(second.wait(), RUN_TIMEOUT_S) == 0
        finally:
            await _end(trainer, second)

    assert run.losses() == pytest.approx(alone.losses(), rel=1e-3, abs=1e-4)
    counts = await Ledger(client, Keys("test")).counts()
    assert (counts.trained, counts.in_flight) == (STEPS * 4, 0)
    assert counts.balanced()
    state = await RunState(client, Keys("test")).get()
    assert (state.phase, state.step) == ("done", STEPS)
    assert state.incarnation >= 2, "the loss of a host began a new incarnation"


def test_a_host_that_the_configuration_does_not_have_is_refused(files, tmp_path):
    run = Run(tmp_path, f"redis://{socket.gethostname()}:1/0", files, hosts=2)
    words = ("-m", "perl_rl", "trainer", "join", str(run.config_file), "--host", "2")
    done = subprocess.run(
        [sys.executable, *words, "--run-dir", str(run.run_dir)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "trainer.hosts is 2, so the worker hosts are 1 to 1" in done.stderr
