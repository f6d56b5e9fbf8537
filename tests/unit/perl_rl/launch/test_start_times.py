"""How long the parts of a run took to start, last time and this time."""

from pathlib import Path

import pytest

from perl_rl.launch.start_times import ALL, FILE, Starting, keep_start, last_start
from perl_rl.report.observe import RunView
from shared.wire.ledger import Counts
from shared.wire.registry import NodeInfo
from shared.wire.runstate import TrainerState

TIMES = {ALL: 31.3, "the engine": 27.0, "the trainer": 9.5}


def view(engine_up: bool, version: str | None, ready: bool = False) -> RunView:
    node = NodeInfo(
        name="rollout-0",
        kind="rollout",
        url="http://here",
        state="ready" if ready else "starting",
        engine_up=engine_up,
    )
    return RunView(TrainerState(), version, [node], [], {}, Counts())


def test_each_run_has_its_own_times_in_the_parent_of_its_folder(tmp_path: Path) -> None:
    keep_start(tmp_path / "one", "a", TIMES | {ALL: 31.26})
    keep_start(tmp_path / "two", "b", dict.fromkeys(TIMES, 9.0))
    keep_start(tmp_path / "two", "b", dict.fromkeys(TIMES, 8.0))
    known = [last_start(tmp_path / "three", run) for run in ("a", "b", "c")]
    assert known == [TIMES, dict.fromkeys(TIMES, 8.0), {}]


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "3", '{"a": "long"}', '{"a": 5.0}', '{"a": {"everything": null}}']
)
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE).write_text(content)
    assert last_start(tmp_path / "run", "a") == {}
    keep_start(tmp_path / "run", "a", TIMES)
    assert last_start(tmp_path / "run", "a") in (TIMES, {})


def test_a_launch_says_what_starts_and_how_long_it_took_last_time(tmp_path: Path) -> None:
    folder, clock = tmp_path / "run", [100.0]
    first = Starting(folder, "a", lambda: clock[0])
    assert (first.last, first.doing()) == ({}, "")
    first.begin("the engine")
    clock[0] += 5
    first.begin("the trainer")
    clock[0] += 7
    assert first.doing() == "starting the engine for 12 s; starting the trainer for 7 s"
    assert not first.see(view(False, "1.0"), 1)
    assert first.doing() == "starting the engine for 12 s"
    clock[0] += 3
    assert not first.see(view(True, "1.0"), 1), "the node still loads the first weights"
    assert first.doing() == ""
    clock[0] += 1
    assert first.see(view(True, "1.0", ready=True), 1)
    assert first.took_s == 16
    assert not first.see(view(True, "1.1", ready=True), 1), "it is said once"

    second = Starting(folder, "a", lambda: clock[0])
    assert second.last == {ALL: 16.0, "the engine": 15.0, "the trainer": 7.0}
    second.begin("the engine")
    clock[0] += 2
    assert second.doing() == "starting the engine for 2 s (15 s last time)"
