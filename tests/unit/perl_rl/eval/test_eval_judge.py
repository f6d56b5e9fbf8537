"""A judge's word on open answers, over HTTP: counted, named, and never a reason for "wrong"."""

import json
import re
from pathlib import Path
from random import Random

import pytest

from perl_rl.cli.main import main
from tests.benchmark_files import write_benchmark
from tests.scripted_endpoint import ScriptedEndpoint
from tests.scripted_model import answering, by_content

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def in_words(question: str, pictures: list[tuple[int, ...]], rng: Random) -> str:
    """Letters in a box; numbers as words without one, which the rules do not find."""
    answer = by_content(question, pictures, rng)
    return f"It is {NUMBERS[int(answer)]}." if answer.isdecimal() else f"\\boxed{{{answer}}}"


def reads_words(prompt: str, pictures: list[tuple[int, ...]], rng: Random) -> str:
    """The judge: knows numbers in words, but takes no seven for an answer."""
    gold = re.search(r"<<<right answer\n(.*)\n>>>", prompt)
    said = re.search(r"It is (\w+)\.", prompt)
    assert gold and said
    right = said[1] == NUMBERS[int(gold[1])] and gold[1] != "7"
    return "Yes." if right else "no"


def command(model: ScriptedEndpoint, folder: Path, *more: str) -> list[str]:
    data = write_benchmark("mathverse", folder / "data", 40)
    endpoint = ("--endpoint", model.url, "--model-name", "m", "--out", str(folder / "out.json"))
    return ["eval", "--benchmark", "mathverse", "--data", str(data), *endpoint, *more]


def test_the_judge_decides_open_answers_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        answering(in_words, form="{}").serving() as model,
        answering(reads_words, form="{}").serving() as judge,
    ):
        assert main(command(model, tmp_path)) == 0
        by_rules = json.loads((tmp_path / "out.json").read_text())
        words = command(model, tmp_path, "--judge", judge.url, "--judge-model", "j")
        assert main(words) == 0
        judged = json.loads((tmp_path / "out.json").read_text())
        asked = len(judge.requests)
        assert main(words) == 0
        assert len(judge.requests) == asked
        assert len(model.requests) == 40

    open_items = [item for item in by_rules["items"] if item["kind"] == "math"]
    assert 0 < asked <= len(open_items)
    assert not any(item["answers"][0]["right"] for item in open_items)
    assert by_rules["summary"]["graded_by"] == "rules"
    sevens = sum(item["answers"][0]["gold"] == "7" for item in open_items)
    assert 0 < sevens < len(open_items)
    summary = judged["summary"]
    assert summary["graded_by"] == "rules, then the judge j"
    assert summary["judged_right"] == len(open_items) - sevens
    assert summary["right"] == 40 - sevens
    assert "right by the judge's word alone" in capsys.readouterr().out


def test_a_judge_that_does_not_answer_ends_the_grading_not_the_result(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        answering(in_words, form="{}").serving() as model,
        answering(lambda *_: "perhaps", form="{}").serving() as judge,
    ):
        words = command(model, tmp_path, "--judge", judge.url, "--judge-model", "j")
        assert main(words) == 2
        assert (
            "said 'perhaps', which is no verdict, when asked 3 times"
            in capsys.readouterr().err.splitlines()[-1]
        )
        assert not (tmp_path / "out.json").exists()
        assert main(command(model, tmp_path)) == 0
        assert len(model.requests) == 40
