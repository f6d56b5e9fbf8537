"""Child processes: all end with the launcher, however it or they end.

Real programs, real signals. A process counts as gone when its id is in no process list any more.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from perl_rl.launch.processes import Program, Supervisor
from tests.waiting import wait_until

PATIENCE_S = 20.0

# Starts a child in its own session (as torchrun does), which starts another; all of them
# ignore SIGTERM. Writes the three process ids and waits.
STUBBORN_FAMILY = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pids, depth = sys.argv[1], int(sys.argv[2])
if depth:
    subprocess.Popen([sys.executable, "-c", sys.argv[3], pids, str(depth - 1), sys.argv[3]],
                     start_new_session=True)
with open(pids, "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""

# A launcher in small: starts the family and waits for SIGINT.
LAUNCHER = """
import asyncio, pathlib, signal, sys
from perl_rl.launch.processes import Program, Supervisor

async def main():
    command = (sys.executable, "-c", sys.argv[3], sys.argv[2], "2", sys.argv[3])
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, told.set)
    async with Supervisor(pathlib.Path(sys.argv[1]), stop_timeout_s=0.2) as supervisor:
        await supervisor.start(Program("family", command))
        await told.wait()

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def family(pids: Path) -> list[int]:
    return [int(line) for line in pids.read_text().split()] if pids.exists() else []


@pytest.fixture
def launcher(tmp_path: Path) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """A running launcher and the process ids of the family it started."""
    pids = tmp_path / "pids"
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(tmp_path / "logs"), str(pids), STUBBORN_FAMILY]
    )
    wait_until(lambda: len(family(pids)) == 3, "three generations", PATIENCE_S)
    return process, family(pids)


@pytest.mark.slow
def test_a_stop_signal_leaves_no_process(
    launcher: tuple["subprocess.Popen[bytes]", list[int]],
) -> None:
    process, pids = launcher
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 0
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.slow
def test_a_killed_launcher_leaves_no_process(
    launcher: tuple["subprocess.Popen[bytes]", list[int]],
) -> None:
    process, pids = launcher
    reapers = [child.pid for child in psutil.Process(process.pid).children()]
    process.kill()
    process.wait(timeout=PATIENCE_S)
    wait_until(
        lambda: not any(map(alive, [*pids, *reapers])),
        "the family and its reaper to end",
        PATIENCE_S,
    )


def test_a_killed_reaper_leaves_no_process(
    launcher: tuple["subprocess.Popen[bytes]", list[int]],
) -> None:
    process, pids = launcher
    for reaper in psutil.Process(process.pid).children():
        reaper.kill()
    wait_until(lambda: not alive(pids[0]), "the reaper's own child to end with it", PATIENCE_S)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE_S) == 0
    assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.anyio
async def test_a_dead_child_is_reported_with_its_status_and_last_lines(tmp_path: Path) -> None:
    code = "import sys; print('so far so good'); print('no more room', file=sys.stderr); exit(7)"
    async with Supervisor(tmp_path, stop_timeout_s=1.0) as supervisor:
        await supervisor.start(Program("node", (sys.executable, "-c", code)))
        child = await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)
    assert (child.name, child.status) == ("node", 7)
    assert child.last_lines(5) == ["so far so good", "no more room"]
    assert child.log == tmp_path / "node.log"


@pytest.mark.slow
@pytest.mark.anyio
async def test_a_killed_child_is_reported_and_its_own_children_are_gone(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = (sys.executable, "-c", STUBBORN_FAMILY, str(pids), "2", STUBBORN_FAMILY)
    async with Supervisor(tmp_path, stop_timeout_s=0.2) as supervisor:
        await supervisor.start(Program("node", command))
        await asyncio.to_thread(
            wait_until, lambda: len(family(pids)) == 3, "three generations", PATIENCE_S
        )
        os.kill(_eldest(pids), signal.SIGKILL)
        child = await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)
        assert child.status == 128 + signal.SIGKILL
        assert [pid for pid in family(pids) if alive(pid)] == []


@pytest.mark.anyio
async def test_told_to_hurry_it_kills_what_does_not_stop(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    command = (sys.executable, "-c", STUBBORN_FAMILY, str(pids), "0", "")
    async with Supervisor(tmp_path, stop_timeout_s=600.0) as supervisor:
        await supervisor.start(Program("node", command))
        await asyncio.to_thread(
            wait_until, lambda: len(family(pids)) == 1, "the process", PATIENCE_S
        )
        stopping = asyncio.create_task(supervisor.stop(["node"]))
        while not stopping.done():
            await asyncio.wait({stopping}, timeout=0.5)
            supervisor.hurry()
    assert not alive(family(pids)[0])


@pytest.mark.anyio
async def test_a_log_is_continued_but_a_report_starts_at_its_own_run(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, stop_timeout_s=1.0) as supervisor:
        for word in ("first", "second"):
            await supervisor.start(Program("node", (sys.executable, "-c", f"print('{word}')")))
            child = await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)
            assert child.last_lines(9) == [word]
    assert (tmp_path / "node.log").read_text().split() == ["first", "second"]


@pytest.mark.anyio
async def test_a_child_runs_on_its_cores_with_its_environment(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    code = "import os; print(os.sched_getaffinity(0), os.environ['OMP_NUM_THREADS'])"
    program = Program(
        "node", (sys.executable, "-c", code), {"OMP_NUM_THREADS": "1"}, frozenset({core})
    )
    async with Supervisor(tmp_path, stop_timeout_s=1.0) as supervisor:
        await supervisor.start(program)
        child = await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)
    assert child.last_lines(1) == [f"{{{core}}} 1"]


@pytest.mark.anyio
async def test_a_program_that_is_not_there_is_reported(tmp_path: Path) -> None:
    async with Supervisor(tmp_path, stop_timeout_s=1.0) as supervisor:
        await supervisor.start(Program("node", (str(tmp_path / "missing"),)))
        child = await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)
    assert child.status == 127
    assert "cannot start" in child.last_lines(1)[0]


def _eldest(pids: Path) -> int:
    """The process that the supervisor's reaper started: its parent is a reaper."""
    for pid in family(pids):
        parent = psutil.Process(pid).parent()
        if parent is not None and any("reaper.py" in word for word in parent.cmdline()):
            return pid
    raise AssertionError("no process of the family has a reaper as its parent")
