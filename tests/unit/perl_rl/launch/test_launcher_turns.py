"""Engines that share a GPU start one after the other, before the trainer."""

import sys
import time
from pathlib import Path

import pytest

from perl_rl.launch.division import divide_cores, divide_gpus
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.launch.turns import start_in_turn
from shared.errors import WaitTimeout

NAMES = ("rollout-0", "rollout-1")


def programs(folder: Path) -> list[Program]:
    """Each writes the time at which it starts, and waits."""
    script = "import pathlib, signal, sys, time; "
    script += "pathlib.Path(sys.argv[1]).write_text(str(time.time())); signal.pause()"
    return [Program(one, (sys.executable, "-c", script, str(folder / one))) for one in NAMES]


async def no_deaths(supervisor: Supervisor, child: Child) -> None:
    raise AssertionError(child.name)


async def test_each_engine_is_up_before_the_next_process_starts(tmp_path: Path) -> None:
    seen: list[tuple[str, list[str]]] = []

    async with Supervisor(tmp_path / "logs", 5.0) as supervisor:

        async def up(name: str) -> bool:
            seen.append((name, supervisor.running()))
            return (tmp_path / name).exists()

        await start_in_turn(programs(tmp_path), supervisor, up, no_deaths, 60.0)
        assert sorted(supervisor.running()) == sorted(NAMES)
    assert {tuple(running) for name, running in seen if name == "rollout-0"} == {("rollout-0",)}
    second = {tuple(running) for name, running in seen if name == "rollout-1"}
    assert second == {("rollout-0", "rollout-1")}


async def test_an_engine_that_never_comes_up_is_an_error_that_names_it(tmp_path: Path) -> None:
    async def never(name: str) -> bool:
        return False

    began = time.monotonic()
    async with Supervisor(tmp_path / "logs", 5.0) as supervisor:
        with pytest.raises(WaitTimeout, match=r"the engine of rollout-0 .*rollout.start_timeout_s"):
            await start_in_turn(programs(tmp_path), supervisor, never, no_deaths, 0.1)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("gpus", "nodes", "ranks", "shared"),
    [(["0"], 1, 1, True), (["0", "1"], 1, 1, False), (["0", "1"], 2, 2, True)],
)
def test_whether_processes_share_gpus(
    gpus: list[str], nodes: int, ranks: int, shared: bool
) -> None:
    assert divide_gpus(gpus, 8, nodes, ranks, 1, share=True).shares_gpus == shared
    assert not divide_cores(list(range(8)), nodes, ranks).shares_gpus
