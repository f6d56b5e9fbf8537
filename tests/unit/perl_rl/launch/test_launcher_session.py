"""What a launch does when a service ends, with small real processes as services."""

import asyncio
import sys
from pathlib import Path

import pytest

from perl_rl.ending import RunFailed
from perl_rl.launch.division import Division, Resources
from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.launch.session import Session
from shared.config import Config
from shared.errors import UserError

PATIENCE_S = 60.0
SHARE = Resources(1, frozenset({0}))


class Quiet:
    """A display that remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, row: object, steps: int) -> None: ...

    def state(self, doing: str, view: object) -> None: ...

    def part(self, what: str, done: int, total: int, left_s: float | None) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A launch that allows one restart of each service."""
    content = {
        "run": "r",
        "model": {"path": "m"},
        "data": {"train": "t"},
        "trainer": {},
        "launcher": {"max_restarts": 1},
    }
    config = Config.model_validate(content)
    division = Division(rollout=(SHARE,), trainer=SHARE, light=SHARE)
    return Session(config, tmp_path / "config.yaml", tmp_path, division, Quiet())


def program(name: str, script: str) -> Program:
    return Program(name, (sys.executable, "-c", script))


async def ended(supervisor: Supervisor) -> Child:
    return await asyncio.wait_for(supervisor.exits.get(), PATIENCE_S)


async def run_and_judge(session: Session, folder: Path, name: str, script: str) -> Child:
    async with Supervisor(folder / "logs", 5.0) as supervisor:
        await supervisor.start(program(name, script))
        await session._after_death(supervisor, await ended(supervisor))
        return await ended(supervisor)


async def test_the_last_node_that_leaves_ends_the_run(session: Session, tmp_path: Path) -> None:
    message = rf"^the last rollout node \(rollout-0\) has left; see {tmp_path}/logs/rollout-0\.log$"
    with pytest.raises(RunFailed, match=message):
        await run_and_judge(session, tmp_path, "rollout-0", "")


async def test_what_a_service_refuses_is_passed_on_in_its_own_words(
    session: Session, tmp_path: Path
) -> None:
    script = "print('perl-rl: error: reward.function: no such thing'); raise SystemExit(2)"
    message = rf"^reward-0: reward\.function: no such thing \(log: {tmp_path}/logs/reward-0\.log\)$"
    with pytest.raises(UserError, match=message):
        await run_and_judge(session, tmp_path, "reward-0", script)


async def test_a_service_that_dies_is_started_again_and_given_up_at_last(
    session: Session, tmp_path: Path
) -> None:
    script = "print('out of luck'); raise SystemExit(7)"
    again = await run_and_judge(session, tmp_path, "reward-0", script)
    (note,) = session.progress.notes
    assert "reward-0 ended with status 7; the end of " in note
    assert note.endswith("    out of luck\nstarting reward-0 again (1)")
    async with Supervisor(tmp_path / "logs", 5.0) as supervisor:
        with pytest.raises(RunFailed) as caught:
            await session._after_death(supervisor, again)
    assert "    out of luck\nreward-0 ended again, after 1 restarts within" in str(caught.value)


async def test_pages_that_die_are_served_again_and_given_up_without_the_run(
    session: Session, tmp_path: Path
) -> None:
    script = "raise SystemExit(7)"
    again = await run_and_judge(session, tmp_path, "view", script)
    async with Supervisor(tmp_path / "logs", 5.0) as supervisor:
        await session._after_death(supervisor, again)
        assert supervisor.running() == []
    first, second = session.progress.notes
    assert first.endswith("logs/view.log; starting them again")
    assert f"the run goes on without them (perl-rl view {tmp_path} serves them)" in second


async def test_pages_that_refuse_to_start_do_not_end_the_run(
    session: Session, tmp_path: Path
) -> None:
    async with Supervisor(tmp_path / "logs", 5.0) as supervisor:
        script = "print('perl-rl: error: view: cannot listen'); raise SystemExit(2)"
        await supervisor.start(program("view", script))
        await session._after_death(supervisor, await ended(supervisor))
        assert supervisor.running() == []
    (note,) = session.progress.notes
    assert "the run goes on without them" in note
