"""`perl-rl show`: one recorded group as text, for people and for any terminal."""

from pathlib import Path
from typing import Any

import pytest

from perl_rl.cli.main import main
from perl_rl.cli.show import WIDTH, show, with_changes
from services.trainer.control.record_rows import group_row
from shared.config import ObjectiveConfig
from shared.errors import UserError
from shared.records.groups import as_table, file_name, group_files, groups_folder, write_table
from shared.records.settled import SettledGroup
from shared.wire.messages import ScoredOrder
from tests.builders import batch, reward, task
from tests.group_records import write_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, steps=2)
    return tmp_path


def put(run: Path, **fields: Any) -> None:
    """A group of this state, instead of all others."""
    given = {"group_id": "g00000099", "step": 7, "incarnation": 1, "settled_ms": 0} | fields
    row = group_row(SettledGroup(**given), "r", ObjectiveConfig(), tokens=False)
    write_table(as_table([row]), groups_folder(run) / file_name(7, 0))


def test_every_order_and_response_in_lines_that_fit(run: Path) -> None:
    text = show("1", run, full=False)
    lines = text.split("\n")
    assert max(map(len, lines)) <= WIDTH
    assert lines[0].startswith("g00000001  trained in step 1")
    assert sum(line.startswith("order ") for line in lines) == 2
    assert sum(line.lstrip()[:2] in ("0:", "1:", "2:") for line in lines) == 6
    assert "the answer flips between orders" in text
    assert "wrong, C = A in the original order" in show("2", run, full=False)


def test_a_dropped_group_says_why(run: Path) -> None:
    assert show("g00000004", run, full=False).startswith("g00000004  dropped (uniform_reward)")


def test_a_group_that_was_not_scored_completely(run: Path) -> None:
    scored = ScoredOrder(batch=batch(), rewards=(reward(1.0), reward(0.0)), scored_s=0.1)
    put(
        run,
        state="dropped:dead_letter",
        detail="order 1: not a message",
        tasks=(task(), task(order_index=1)),
        orders=(scored,),
        unscored=(batch(order_index=1),),
    )
    text = show("99", run, full=False)
    assert "dropped (dead_letter)" in text and "order 1: not a message" in text
    assert "0: not scored 3 tokens" in text and "advantage" not in text


def test_a_group_whose_images_could_not_be_read(run: Path) -> None:
    put(
        run, state="dropped:dead_letter", detail="no such file", tasks=(task(), task(order_index=1))
    )
    text = show("99", run, full=False)
    assert "not sampled" in text and "Welche?" in text


def test_changed_words_of_a_question_are_marked() -> None:
    marked = with_changes("Is the first image darker?", "Is the third image darker?")
    assert marked == "Is the [first -> third] image darker?"


def test_a_terminal_obeys_nothing_that_a_model_wrote(run: Path) -> None:
    answer = batch().responses[0].model_copy(update={"text": "\x1b[2J\x07 red\u202e"})
    shown = batch().model_copy(update={"responses": (answer,)})
    put(
        run,
        state="trained:7",
        tasks=(task(),),
        orders=(ScoredOrder(batch=shown, rewards=(reward(),), scored_s=0.1),),
    )
    text = show("99", run, full=False)
    assert "\\x1b[2J\\x07 red\\u202e" in text
    assert all(one.isprintable() or one == "\n" for one in text)


def test_a_long_response_is_shortened_unless_it_is_asked_for(run: Path) -> None:
    answer = batch().responses[0].model_copy(update={"text": "word " * 1000})
    shown = batch().model_copy(update={"responses": (answer,)})
    scored = ScoredOrder(batch=shown, rewards=(reward(),), scored_s=0.1)
    put(run, state="trained:7", tasks=(task(),), orders=(scored,))
    short, whole = show("99", run, full=False), show("99", run, full=True)
    assert "[... 4400 characters, --full shows them ...]" in short
    assert whole.count("word") == 1000


def test_the_newest_run_is_shown_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["show", "2"]) == 0
    assert capsys.readouterr().out.startswith("g00000002")


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("400", "no record of group g00000400; there are 9 groups of steps 1 to 2, such as g0"),
        ("nonsense", "no record of group nonsense;"),
    ],
)
def test_an_unknown_group_is_one_line(run: Path, group: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        show(group, run, full=False)


def test_bad_folders_and_files_are_one_line(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = group_files(groups_folder(run))[0]
    file.write_bytes(file.read_bytes()[:50])
    assert main(["show", "1", "--run", str(run)]) == 2
    assert main(["show", "1", "--run", str(tmp_path / "none")]) == 2
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert main(["show", "1"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "not a whole Parquet file" in lines[0] and "no such folder" in lines[1]
    assert lines[2].startswith("perl-rl: error: runs: holds no run with recorded groups")
    assert len(lines) == 3
