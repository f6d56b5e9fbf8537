"""A run is looked at while its recorder writes, replaces and deletes files."""

import threading
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from perl_rl.view.app import create_app
from services.trainer.control.record_folder import History, RecordFolder
from shared.records.groups import TRAINED
from tests.group_records import write_run

PATHS = (
    *("/runs/0/groups", "/runs/0/groups?only=flipped&sort=reward", "/runs/0/steps/20"),
    *("/runs/0/groups?text=nine&deep=1", "/runs/0/groups/g00000030"),
    *("/runs/0/groups/g00000030/responses/1", "/runs/0/samples/none"),
)


@pytest.mark.slow
def test_pages_come_while_the_recorder_changes_files(tmp_path: Path) -> None:
    rows = write_run(tmp_path / "made", steps=40, groups_per_step=2)
    run = tmp_path / "run"
    (run / "groups").mkdir(parents=True)
    folder = RecordFolder(run, keep_steps=10)
    folder.open()
    failed: list[BaseException] = []

    def record() -> None:
        """Forty steps, and every ten of them a trainer that goes on from two steps before."""
        try:
            for step in range(1, 41):
                now = [row for row in rows if row["step"] == step]
                folder.add(now, History({}, 0, 1))
                folder.delete_old(step)
                if step % 10 == 0:
                    kept = {
                        row["group_id"]: f"trained:{row['step']}"
                        for row in rows
                        if row["step"] <= step - 2 and row["status"] == TRAINED
                    }
                    folder.set_lost_aside(History(kept, step - 2, 2))
        except BaseException as error:
            failed.append(error)

    pages = TestClient(create_app([run]), base_url="http://localhost")
    recorder = threading.Thread(target=record)
    recorder.start()
    asked = 0
    while recorder.is_alive() or asked == 0:
        for path in PATHS:
            answer = pages.get(path)
            assert answer.status_code in (200, 404), f"{path}: {answer.status_code}"
            assert answer.text.startswith("<!doctype html>")
        asked += 1
    recorder.join()
    assert not failed
    text = pages.get("/runs/0/groups").text
    newest = [row["group_id"] for row in rows if row["step"] == 38]
    assert all(name in text for name in newest)
    assert rows[-1]["group_id"] not in text, "of a lost history"
    assert rows[0]["group_id"] not in text, "older than record.keep_steps"
