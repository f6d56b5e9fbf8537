"""The journal that stages and evaluations go on from."""

from pathlib import Path

import pytest

from perl_rl.journal import Journal
from shared.errors import UserError


def test_a_torn_line_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, {"of": "w"}, "anew") as journal:
        journal.add("ä", {"n": 1})
        journal.add("b", {"n": 2})
    whole = file.read_bytes()
    for torn in range(len(whole)):
        file.write_bytes(whole[:torn])
        lines = whole[:torn].count(b"\n")
        with Journal(file, {"of": "w"}, "anew") as journal:
            assert list(journal.entries) == ["ä", "b"][: max(0, lines - 1)]
            for name, n in (("ä", 1), ("b", 2)):
                if name not in journal.entries:
                    journal.add(name, {"n": n})
        assert file.read_bytes() == whole


def test_a_journal_of_other_work_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, {"of": "old"}, "anew") as journal:
        journal.add("a", {})
    with Journal(file, {"of": "new"}, "anew") as journal:
        assert journal.entries == {}
    assert file.read_text() == '{"work": {"of": "new"}}\n'


@pytest.mark.parametrize("line", [b"garbage\n", b'{"id": "b"}\n', b"\0\0\n", b"[1]\n"])
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, {"of": "w"}, "anew") as journal:
        journal.add("a", {})
    file.write_bytes(file.read_bytes() + line)
    with pytest.raises(UserError, match=r"journal\.jsonl, line 3: damaged; delete the file"):
        Journal(file, {"of": "w"}, "anew")


def test_a_journal_of_other_settings_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    with Journal(file, {"seed": 1, "orders": 2}, "refused") as journal:
        journal.add("a", "said")
    before = file.read_bytes()
    with pytest.raises(UserError, match=r"journal\.jsonl: was started with orders 2, not 3; use"):
        Journal(file, {"seed": 1, "orders": 3}, "refused")
    with pytest.raises(UserError, match=r"was started with judge None, not j"):
        Journal(file, {"seed": 1, "orders": 2, "judge": "j"}, "refused")
    assert file.read_bytes() == before
    with Journal(file, {"orders": 2, "seed": 1}, "refused") as journal:
        assert journal.entries == {"a": "said"}
