"""One process at a time works in a folder; those that look do not keep it out."""

import fcntl
import threading
from pathlib import Path

import pytest

from perl_rl import folder_lock
from perl_rl.folder_lock import hold_folder, is_held
from shared.errors import UserError


def test_a_held_folder_is_refused_and_free_again_after(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        assert is_held(tmp_path)
        with pytest.raises(UserError, match="in use"), hold_folder(tmp_path, "in use"):
            pass
    assert not is_held(tmp_path)


def test_whoever_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    with (tmp_path / ".lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        looked = threading.Timer(0.2, lambda: fcntl.flock(looking, fcntl.LOCK_UN))
        looked.start()
        with hold_folder(tmp_path):
            assert is_held(tmp_path)
        looked.join()


def test_a_folder_that_is_looked_at_for_ever_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(folder_lock, "_LOOKED_AT_S", 0.1)
    with (tmp_path / ".lock").open("w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        with pytest.raises(UserError, match="in use"), hold_folder(tmp_path, "in use"):
            pass
