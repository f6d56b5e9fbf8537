"""A stage keeps out of another stage's folder, and a stage that keeps nothing fails."""

import json
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.data.prepare import RESULT_FILE
from tests.format_files import write_json

ROWS = [
    {"id": str(number), "question": f"What is {number}?", "answer": str(number), "kind": "number"}
    for number in range(4)
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_json(tmp_path / "all.jsonl", ROWS)
    write_json(tmp_path / "rated.jsonl", [row | {"pass_rate": 0.5} for row in ROWS])
    return tmp_path


def data(command: str) -> int:
    return main(["data", *command.split()])


def refused(capsys: pytest.CaptureFixture[str], command: str) -> str:
    assert data(command) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


FILTER = "filter all.jsonl --out out --set filter.min_images=0"


@pytest.mark.parametrize(
    ("command", "second"),
    [
        ("label all.jsonl --out out", "label"),
        ("balance rated.jsonl --out out", "balance"),
        ("rephrase all.jsonl --out out", "rephrase"),
        ("difficulty all.jsonl --out out", "difficulty"),
    ],
)
def test_a_folder_of_another_stage_is_refused(
    here: Path, command: str, second: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data(FILTER) == 0
    before = (here / "out" / "samples.jsonl").read_bytes()
    line = refused(capsys, command)
    assert f"--out out: holds the results of stage filter, and stage {second} would write" in line
    assert (here / "out" / "samples.jsonl").read_bytes() == before
    assert data(FILTER) == 0, "the stage itself may go on there"


def test_a_half_done_stage_keeps_its_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data(FILTER) == 0
    for name in ("report.json", "stamp.json", "samples.jsonl"):
        (here / "out" / name).unlink()
    assert "holds the results of stage filter" in refused(capsys, "label all.jsonl --out out")


def test_prepare_and_single_stages_keep_apart(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"input": "all.jsonl", "work": "out", "stages": ["filter"]}
    (here / "p.yaml").write_text(json.dumps(settings | {"filter": {"min_images": 0}}))
    assert data("prepare p.yaml") == 0 and (here / "out" / RESULT_FILE).is_file()
    line = refused(capsys, FILTER)
    assert "holds the results of perl-rl data prepare, and stage filter would write" in line

    assert data(FILTER.replace("--out out", "--out alone")) == 0
    line = refused(capsys, "prepare p.yaml --set work=alone")
    assert "alone: holds the results of stage filter, and perl-rl data prepare would write" in line


def test_a_stage_does_not_write_over_its_input(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data(FILTER) == 0
    line = refused(capsys, "filter out/samples.jsonl --out out --set filter.min_images=0")
    assert "--out out: the stage would write over its input out/samples.jsonl" in line


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "filter all.jsonl --out out",
            "filter: no sample is left of 4 (too_few_images 4); change filter.min_images",
        ),
        (
            'filter all.jsonl --out out --set filter.min_images=0 filter.kinds=["letter"]',
            "filter: no sample is left of 4 (kind_not_wanted 4); change filter.kinds",
        ),
    ],
)
def test_a_stage_that_keeps_nothing_says_what_to_change(
    here: Path, command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert refused(capsys, command) == f"perl-rl: error: {words}"


def test_a_stage_that_is_refused_leaves_no_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.jsonl").write_text("{}\n")
    assert "bad.jsonl, line 1" in refused(capsys, "filter bad.jsonl --out new")
    assert not (here / "new").exists()
