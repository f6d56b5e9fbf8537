"""``perl-rl permute``: every order of a sample, or the reason why there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from perl_rl.cli.main import main

OPTION = {
    "id": "option",
    "question": "Which shows a cat?\nA. <image>\nB. <image>\nC. <image>",
    "images": ["cat.png", "dog.png", "cow.png"],
    "answer": "A",
    "kind": "letter",
    "order": "letter",
}
UNJUDGED = {**OPTION, "id": "unjudged", "order": None}


def permute(file: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> list[dict[str, Any]]:
    assert main(["permute", str(file), *flags]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (OPTION, UNJUDGED)))
    return file


def test_all_orders_with_the_answer_of_each(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *orders, refused = permute(file, capsys, "--orders", "6")
    assert refused == {"id": "unjudged", "refused": "no_order_rule"}
    assert [line["order"] for line in orders] == list(range(6))
    assert orders[0]["permutation"] == [0, 1, 2] and orders[0]["answer"] == "A"
    assert len({tuple(line["permutation"]) for line in orders}) == 6
    for line in orders:
        assert line["images"]["ABC".index(line["answer"])] == "cat.png"
        assert line["question"] == OPTION["question"]


def test_fewer_orders_are_distinct_and_follow_the_seed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = set()
    for seed in range(20):
        lines = permute(file, capsys, "--orders", "3", "--seed", str(seed))
        again = permute(file, capsys, "--orders", "3", "--seed", str(seed))
        assert lines == again
        permutations = tuple(tuple(line["permutation"]) for line in lines[:-1])
        assert len(set(permutations)) == 3 and permutations[0] == (0, 1, 2)
        drawn.add(permutations)
    assert len(drawn) > 5


def test_there_are_no_more_orders_than_exist(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert len(permute(file, capsys, "--orders", "100")) == 6 + 1


def test_bad_input_is_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with file.open("a") as stream:
        stream.write('{"id": "3"}\n')
    assert main(["permute", str(file), "--orders", "2"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == f"perl-rl: error: {file}, line 3, field 'question': is missing\n"


def test_text_follows_the_images_and_refusals_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = {"answer": "no", "kind": "text", "order": "invariant", "images": ["a.png", "b.png"]}
    texts = ("Is image 1 darker?", "Is the next image darker?", "Is the previous picture darker?")
    rows = [{**asked, "id": text, "question": f"<image><image> {text}"} for text in texts]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["permute", str(file), "--orders", "2"]) == 0
    streams = capsys.readouterr()
    first, second, *refused = [json.loads(line) for line in streams.out.splitlines()]
    assert first["question"].endswith("Is image 1 darker?") and first["permutation"] == [0, 1]
    assert second["question"].endswith("Is image 2 darker?") and second["permutation"] == [1, 0]
    assert [line["text"] for line in refused] == ["next image", "previous picture"]
    assert streams.err.splitlines() == [
        "3 samples: 1 permuted, 2 orders",
        "  not permuted: 2 place_relative_to_another_image",
    ]
