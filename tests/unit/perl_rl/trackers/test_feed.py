"""A tracker gets each step, evaluation and table of groups once, whatever happens to the run."""

from pathlib import Path

import pytest

from perl_rl.trackers.cursor import cursor_file, read_cursor
from perl_rl.trackers.feed import Feed
from shared.config.trackers import TrackerConfig
from tests.tracked_run import WrittenRun
from tests.written_tracker import WrittenTracker, seen


@pytest.fixture
def run(tmp_path: Path) -> WrittenRun:
    return WrittenRun(tmp_path)


def feed(run: WrittenRun, **settings: object) -> Feed:
    """A tracker's process that begins."""
    file = cursor_file(run.folder, "wandb")
    tracker = TrackerConfig.model_validate({"name": "wandb", "groups_every_steps": 2, **settings})
    file.parent.mkdir(exist_ok=True)
    return Feed(run.folder, run.config, tracker, WrittenTracker, read_cursor(file), file)


def shown(run: WrittenRun, what: str) -> list[int]:
    return [one["step"] for one in seen(run.folder / "trackers" / "wandb", what)]


def test_what_is_new_is_sent_once(run: WrittenRun) -> None:
    follower = feed(run)
    follower.poll()
    run.evaluation(0)
    run.steps(1, 3)
    follower.poll()
    run.steps(4, 4)
    run.evaluation(4)
    follower.poll()
    follower.poll()
    assert shown(run, "step") == [1, 2, 3, 4]
    assert shown(run, "evaluation") == [0, 4]


def test_an_evaluation_waits_for_the_figures_of_its_step(run: WrittenRun) -> None:
    follower = feed(run)
    run.steps(1, 3)
    run.evaluation(4)
    follower.poll()
    assert shown(run, "evaluation") == []
    run.steps(4, 4)
    follower.poll()
    assert shown(run, "evaluation") == [4]


def test_groups_of_a_step_are_sent_when_they_are_all_recorded(run: WrittenRun) -> None:
    follower = feed(run)
    run.steps(1, 4)
    run.groups(4)
    follower.poll()
    assert shown(run, "groups") == [2]
    run.groups(5)
    follower.poll()
    assert shown(run, "groups") == [2, 4]


def test_at_the_end_the_last_groups_are_sent_too(run: WrittenRun) -> None:
    follower = feed(run)
    run.steps(1, 5)
    run.groups(5)
    follower.poll()
    follower.poll(last=True)
    follower.finish()
    assert shown(run, "groups") == [2, 4, 5]
    assert shown(run, "finish") == [0]


def test_some_steps_can_be_left_out(run: WrittenRun) -> None:
    follower = feed(run, every_steps=3, groups_every_steps=0)
    run.steps(1, 7)
    run.groups(7)
    follower.poll(last=True)
    assert (shown(run, "step"), shown(run, "groups")) == ([3, 6], [])


def test_a_process_that_begins_goes_on_where_the_one_before_ended(run: WrittenRun) -> None:
    run.steps(1, 3)
    run.evaluation(2)
    run.groups(3)
    feed(run).poll()
    run.steps(4, 5)
    feed(run).poll()
    assert shown(run, "start") == [0, 3]
    assert shown(run, "step") == [1, 2, 3, 4, 5]
    assert (shown(run, "evaluation"), shown(run, "groups")) == ([2], [2])


@pytest.mark.parametrize("killed", [False, True], ids=["alive", "began anew"])
@pytest.mark.parametrize("trained_again", [4, 9])
def test_lost_steps_are_sent_again_in_a_history_of_their_own(
    run: WrittenRun, killed: bool, trained_again: int
) -> None:
    follower = feed(run)
    run.steps(1, 6)
    run.evaluation(4)
    follower.poll()
    run.goes_back_to(3)
    if not killed:
        follower.poll()
    run.steps(4, trained_again, incarnation=2)
    run.evaluation(4)
    (feed(run) if killed else follower).poll()
    last = trained_again
    assert shown(run, "step") == [1, 2, 3, 4, 5, 6, *range(4, last + 1)]
    assert shown(run, "evaluation") == [4, 4]
    starts = seen(run.folder / "trackers" / "wandb", "start")
    assert [(one["step"], one["name"]) for one in starts] == [
        (0, "digits"),
        (3, "digits (history 2)"),
    ]
    assert starts[0]["id"] != starts[1]["id"]
    assert [one["reward"] for one in seen(run.folder / "trackers" / "wandb", "step")][6] == 2.04


def test_a_trainer_that_goes_on_without_a_loss_begins_no_new_history(run: WrittenRun) -> None:
    follower = feed(run)
    run.steps(1, 4)
    follower.poll()
    run.goes_back_to(4)
    run.steps(5, 6, incarnation=2)
    follower.poll()
    assert shown(run, "start") == [0]
    assert shown(run, "step") == [1, 2, 3, 4, 5, 6]


def test_a_tracker_that_begins_anew_gets_everything_again(run: WrittenRun, monkeypatch) -> None:
    run.steps(1, 3)
    run.evaluation(2)
    run.groups(3)
    feed(run).poll()
    start = WrittenTracker.start
    monkeypatch.setattr(WrittenTracker, "start", lambda self, run: start(self, run) * 0)
    feed(run).poll()
    assert shown(run, "step") == [1, 2, 3] * 2
    assert (shown(run, "evaluation"), shown(run, "groups")) == ([2, 2], [2, 2])


def test_a_tracker_that_holds_more_than_was_noted_gets_it_once(run, monkeypatch) -> None:
    run.steps(1, 3)
    feed(run).poll()
    run.steps(4, 6)
    start = WrittenTracker.start
    # The process before was killed when the tracker had step 4, and that was not noted yet.
    monkeypatch.setattr(WrittenTracker, "start", lambda self, run: start(self, run) + 1)
    feed(run).poll()
    assert shown(run, "step") == [1, 2, 3, 5, 6]


def test_a_damaged_record_costs_its_table_alone(run: WrittenRun, caplog) -> None:
    run.steps(1, 3)
    run.groups(3)
    file = next(run.folder.glob("groups/step-00000002-*.parquet"))
    file.write_bytes(b"nonsense")
    follower = feed(run)
    follower.poll()
    assert (shown(run, "step"), shown(run, "groups")) == ([1, 2, 3], [])
    assert "no groups of step 2" in caplog.text
