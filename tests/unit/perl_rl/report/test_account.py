"""A run counts as done only when the trainer's state, the ledger and the files agree."""

from pathlib import Path

import pytest

from perl_rl.ending import RunFailed
from perl_rl.report.account import check_account
from perl_rl.report.observe import RunView
from shared.wire.counts import Counts
from shared.wire.runstate import TrainerState

WELL = {"phase": "done", "step": 3, "steps": 3}
COUNTS = Counts(issued=5, trained=3, in_flight=1, dropped={"stale": 1})


def view_of(counts: Counts, **state: object) -> RunView:
    trainer = TrainerState.model_validate(WELL | state)
    return RunView(trainer, version="1.3", nodes=[], lost=[], queued={}, counts=counts)


def failure(folder: Path, counts: Counts = COUNTS, **state: object) -> str:
    view = view_of(counts, **state)
    with pytest.raises(RunFailed) as caught:
        check_account(view, folder, "see the log")
    return str(caught.value)


def test_a_run_that_did_what_was_asked_passes(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    view = view_of(COUNTS)
    check_account(view, tmp_path, "see the log")


def test_missing_steps_are_named(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    message = failure(tmp_path, step=2, phase="paused", detail="told to stop")
    assert message == "the trainer ended at step 2 of 3, paused told to stop; see the log"


def test_a_ledger_that_does_not_add_up_is_named(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    lost = Counts(issued=6, trained=3, in_flight=1, dropped={"stale": 1})
    assert failure(tmp_path, lost).startswith("the ledger does not balance: ")


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    assert failure(tmp_path) == f"the trainer left no model in {tmp_path / 'policy'}"
