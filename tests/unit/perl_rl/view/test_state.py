"""What a run is doing or how it ended, from its folder and from a real Redis."""

import os
from pathlib import Path

import pytest
import redis

from perl_rl.folder_lock import hold_folder
from perl_rl.view.state import StateReader, last_warnings
from shared.config import Config, save_config
from shared.errors import UserError
from shared.records.steps import METRICS
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo
from tests.view_runs import step_row, write_metrics, write_summary


def save_run(folder: Path, redis_url: str) -> Keys:
    """Write the configuration of a run in this Redis, as the launcher does."""
    content = {
        "run": "live",
        "model": {"path": "m"},
        "data": {"train": "t"},
        "trainer": {"steps": 40},
        "redis": {"url": redis_url},
    }
    save_config(Config.model_validate(content), folder / "config.yaml")
    return Keys("live")


def test_a_run_that_has_ended_is_told_by_its_summary(tmp_path: Path) -> None:
    write_summary(tmp_path)
    state = StateReader(tmp_path).read(40, 40)
    assert (state.live, state.word) == (False, "done")
    assert state.now == "done, 40 of 40 steps in 75 s"
    assert state.version == "1.10", "versions are compared as numbers"
    assert state.ledger is not None and state.ledger.balances
    assert state.ledger.parts()[1] == ("uniform_reward", 7)
    assert [node.restarts for node in state.nodes] == [None, 2]


def test_a_failure_is_told_in_its_own_words(tmp_path: Path) -> None:
    write_summary(tmp_path, outcome="failed: trainer ended with signal 9")
    state = StateReader(tmp_path).read(3, 40)
    assert state.word == "failed"
    assert state.now == "failed: trainer ended with signal 9; 3 of 40 steps"


def test_a_ledger_that_does_not_balance_says_so(tmp_path: Path) -> None:
    groups = {"issued": 9, "trained": 5, "dropped": {"stale": 1}, "in_flight": 0}
    write_summary(tmp_path, groups=groups)
    ledger = StateReader(tmp_path).read(1, 2).ledger
    assert ledger is not None and not ledger.balances


def test_a_run_that_goes_on_is_told_by_its_redis(tmp_path: Path, redis_url: str) -> None:
    keys = save_run(tmp_path, redis_url)
    node = NodeInfo(name="rollout-0", kind="rollout", url="u", state="ready", version="1.2")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(keys.state, mapping={"phase": "training", "step": 3, "steps": 40})
        client.sadd(keys.nodes, "rollout-0", "rollout-1")
        client.set(keys.node("rollout-0"), node.model_dump_json())
    # What an earlier launch of the folder has left is not the state of this one.
    write_summary(tmp_path, outcome="interrupted")
    with hold_folder(tmp_path):
        state = StateReader(tmp_path).read(3, 40)
    assert (state.live, state.word) == (True, "running")
    assert "trainer: training" in state.now
    assert [(node.name, node.behind) for node in state.nodes] == [("rollout-0", True)]
    assert state.lost == ("rollout-1",)
    assert state.ledger is not None and state.ledger.issued == 0


def test_a_run_whose_redis_is_away_is_shown_from_its_folder(tmp_path: Path) -> None:
    save_run(tmp_path, "redis://127.0.0.1:1/0")
    with hold_folder(tmp_path):
        state = StateReader(tmp_path).read(3, 40)
    assert (state.live, state.word) == (True, "starting")
    state = StateReader(tmp_path).read(3, 40)
    assert (state.live, state.word) == (False, "not running")


@pytest.mark.parametrize(("outcome", "word"), [("done", "not running"), ("interrupted",) * 2])
def test_a_summary_of_before_the_run_went_on_is_not_its_end(
    tmp_path: Path, outcome: str, word: str
) -> None:
    row = step_row(1)
    write_summary(tmp_path, outcome=outcome)
    write_metrics(tmp_path, [row])
    # An interrupted launch writes it before the trainer has written the step in hand.
    os.utime(tmp_path / "summary.json", (0, row["time"] - 1))
    assert StateReader(tmp_path).read(1, 40).word == word
    os.utime(tmp_path / "summary.json", (0, row["time"] + 1))
    # A copy of the run whose files were written in another order has ended all the same.
    os.utime(tmp_path / METRICS, (0, row["time"] + 9))
    assert StateReader(tmp_path).read(1, 40).word == outcome


@pytest.mark.parametrize("content", ["{", "[" * 100_000, "9" * 5000])
def test_a_damaged_summary_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(UserError, match=r"summary\.json: cannot be read"):
        StateReader(tmp_path).read(1, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"outcome": None}, "outcome: must be text"),
        ({"groups": {"issued": 1}}, "'groups.trained' is missing"),
        ({"groups": 5}, "groups: must have keys and values"),
        ({"nodes": [{}]}, "nodes, first entry: the key 'name' is missing"),
        (
            {"nodes": [{"name": "a", "kind": "rollout", "version": "1.x"}]},
            "version: is not accepted",
        ),
        ({"dtype": 1.5}, "dtype: must be text"),
        ({"wall_s": "long"}, "wall_s: must be a number"),
    ],
)
def test_a_summary_with_other_fields_is_named(
    tmp_path: Path, changes: dict[str, object], named: str
) -> None:
    write_summary(tmp_path, **changes)
    with pytest.raises(UserError, match=rf"summary\.json: is no summary of a run \(.*{named}"):
        StateReader(tmp_path).read(1, 2)


def test_the_last_warnings_of_each_log_are_found(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    lines = [f"12:00:0{number} trainer WARNING number {number}" for number in range(8)]
    (logs / "trainer.log").write_text(
        "\n".join(["12:00:00 trainer INFO fine", "WARNING of a library", *lines])
    )
    (logs / "launcher.log").write_text(
        "12:00:01 starting nodes\n12:00:09 starting trainer again (1)\n"
    )
    found = last_warnings(tmp_path)
    assert [(one.log, one.text) for one in found[:2]] == [
        ("launcher", "starting trainer again (1)"),
        ("trainer", "number 2"),
    ]
    assert found[-1].text == "number 7"
