"""``perl-rl eval`` and ``eval compare`` as a user runs them, against a scripted endpoint."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from perl_rl.cli.main import main
from perl_rl.demo.model import INSTRUCTION
from perl_rl.eval.models import engine_config
from shared.config import load_config
from shared.config.rollout import RolloutConfig
from shared.images import digest
from tests.benchmark_files import parquet, write_benchmark
from tests.paths import ROOT, START_MODEL
from tests.scripted_endpoint import ScriptedEndpoint
from tests.scripted_model import answering, at_random, by_content, by_position

NAMED = ["--benchmark", "blink", "--data", "d", "--out", "o.json"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark("blink", tmp_path_factory.mktemp("blink"), 56)


@pytest.fixture
def oracle() -> Iterator[ScriptedEndpoint]:
    with answering(by_content).serving() as endpoint:
        yield endpoint


def words(endpoint: str, data: Path, out: Path, **more: object) -> list[str]:
    options: dict[str, object] = {
        "benchmark": "blink",
        "data": data,
        "endpoint": endpoint,
        "model-name": "m",
        "out": out,
        "max-tokens": 64,
        "instruction": "Answer in \\boxed{}.",
        "timeout-s": 30,
    }
    options |= {name.replace("_", "-"): value for name, value in more.items()}
    return ["eval", *(word for name in options for word in (f"--{name}", str(options[name])))]


def evaluate(endpoint: str, data: Path, out: Path, **more: object) -> dict[str, Any]:
    assert main(words(endpoint, data, out, **more)) == 0
    return json.loads(out.read_text())


def test_a_result_holds_every_question_and_prints_a_table(
    data: Path,
    tmp_path: Path,
    oracle: ScriptedEndpoint,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EVAL_KEY", "secret")
    out = tmp_path / "out.json"
    result = evaluate(oracle.url, data, out, orders=3, api_key_env="EVAL_KEY")
    assert oracle.keys == {"Bearer secret"}
    assert "secret" not in out.read_text()
    assert all(one["temperature"] == 0 and one["max_tokens"] == 64 for one in oracle.requests)
    texts = [one["messages"][0]["content"][-1]["text"] for one in oracle.requests]
    assert all(text.endswith("\nAnswer in \\boxed{}.") for text in texts)

    assert result["summary"]["score"]["value"] == 1.0
    assert (result["summary"]["graded_by"], result["summary"]["average"]) == ("rules", "macro")
    assert result["robustness"]["flip_rate"]["value"] == 0.0
    answers = [answer for item in result["items"] for answer in item["answers"]]
    assert len(answers) == len(oracle.requests)
    kept = {file.stem: file for file in (tmp_path / "out.work" / "images").iterdir()}
    for answer in answers:
        assert answer["prompt"].count("<image>") == len(answer["images"])
        assert all(digest(kept[name].read_bytes()) == name for name in answer["images"])
        assert answer["response"] == f"\\boxed{{{answer['gold']}}}"
        assert answer["right"] and answer["extracted"] == answer["gold"]
    shown = capsys.readouterr()
    assert "BLINK, 56 questions (1901 published), model m" in shown.out
    assert "score, macro over 14 tasks: 100.0 [100.0, 100.0] (bootstrap)" in shown.out
    assert "no_order_rule" in shown.out
    counted = f"answered: {len(answers)} of {len(answers)}"
    assert shown.err == f"read: 56\n{counted}\ngraded: 56 of 56\n"


def test_a_busy_endpoint_is_asked_again(data: Path, tmp_path: Path) -> None:
    with answering(by_content, fail_first=2).serving() as endpoint:
        result = evaluate(endpoint.url, data, tmp_path / "out.json", limit=3, concurrency=1)
    assert result["summary"]["right"] == 3


@pytest.mark.slow
def test_a_killed_run_goes_on_and_ends_the_same(data: Path, tmp_path: Path) -> None:
    more = {"orders": 4, "floor": None, "temperature": 1.0, "seed": 5}
    with answering(at_random).serving() as endpoint:
        whole = _words_with_flags(endpoint.url, data, tmp_path / "whole.json", more)
        assert main(whole) == 0
        asked = len(endpoint.requests)
    out = tmp_path / "cut.json"
    journal = tmp_path / "cut.work" / "journal.jsonl"
    with answering(at_random, hold_after=60).serving() as endpoint:
        command = _words_with_flags(endpoint.url, data, out, more)
        running = subprocess.Popen([sys.executable, "-m", "perl_rl", *command])
        assert endpoint.held.wait(60)
        running.kill()
        running.wait(30)
        endpoint.release.set()
    assert not out.exists()
    done = len(journal.read_text().splitlines()) - 1
    assert 40 <= done <= 60
    with journal.open("a") as stream:
        stream.write('{"key": "val_')

    with answering(at_random).serving() as endpoint:
        assert main(_words_with_flags(endpoint.url, data, out, more)) == 0
        assert len(endpoint.requests) == asked - done
    assert out.read_bytes() == (tmp_path / "whole.json").read_bytes()


def _words_with_flags(endpoint: str, data: Path, out: Path, more: dict[str, object]) -> list[str]:
    values = {name: value for name, value in more.items() if value is not None}
    flags = [f"--{name}" for name, value in more.items() if value is None]
    return [*words(endpoint, data, out, **values), *flags]


def test_other_settings_do_not_go_on(
    data: Path, tmp_path: Path, oracle: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    evaluate(oracle.url, data, out, limit=3)
    before, asked = out.read_bytes(), len(oracle.requests)
    for more, said in (
        ({"limit": 3, "max_tokens": 65}, "max_tokens 64, not 65"),
        ({"limit": 4}, "questions 3, not 4"),
        ({"limit": 3, "model_name": "other"}, "model m, not other"),
    ):
        capsys.readouterr()
        assert main(words(oracle.url, data, out, **more)) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("perl-rl: error: ") and said in error
    assert (out.read_bytes(), len(oracle.requests)) == (before, asked)
    evaluate(oracle.url, data, out, limit=3)
    assert (out.read_bytes(), len(oracle.requests)) == (before, asked)


def test_an_endpoint_that_is_not_there_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    assert main(words("http://127.0.0.1:9/v1", data, out, limit=1, retries=0)) == 2
    assert "endpoint http://127.0.0.1:9/v1: no answer after 1 tries" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "--benchmark is missing"),
        (["--benchmark", "blink"], "--data is missing"),
        (["--benchmark", "blink", "--data", "d", "--out", "o.json"], "either --model PATH or"),
        (
            ["--benchmark", "b", "--data", "d", "--out", "o.json", "--model", "m"],
            "name one of mantis-",
        ),
        (["--benchmark", "blink", "--data", "d", "--out", "o", "--model", "m"], "end in .json"),
        (
            ["--benchmark", "blink", "--data", "d", "--out", "o.json", "--model", "m"],
            "--model m: there is no such folder; name one on",
        ),
        (
            ["--benchmark", "blink", "--data", "d", "--out", "o.json", "--endpoint", "u"],
            "needs --model-name",
        ),
        (
            ["--benchmark", "blink", "--data", "d", "--out", "o.json", "--model", "m", "--floor"],
            "--floor needs --orders K",
        ),
        (
            [*NAMED, "--endpoint", "u", "--model-name", "m", "--config", "run.yaml"],
            "--config is for --model",
        ),
        (
            [*NAMED, "--model", str(START_MODEL), "--config", "run.yaml"],
            "run.yaml: cannot read the configuration",
        ),
    ],
)
def test_a_mistake_is_one_line(
    wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *wrong]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_rows_that_do_not_fit_are_left_out_and_named(
    tmp_path: Path, oracle: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_benchmark("mathverse", tmp_path / "data", 8) / "testmini.parquet"
    rows = pyarrow.parquet.read_table(data).to_pylist()
    rows[1]["problem_version"] = "Long"
    parquet(rows, data)
    out = tmp_path / "out.json"
    command = words(oracle.url, data, out, benchmark="mathverse")
    assert main(command) == 2
    assert "row 2, column 'problem_version': 'Long'" in capsys.readouterr().err
    assert main([*command, "--skip-bad-rows"]) == 0
    result = json.loads(out.read_text())
    assert result["summary"]["items"] == result["summary"]["right"] == 7
    ((reason, named),) = result["skipped"].items()
    assert reason.startswith("problem_version: is not one of")
    assert named[0].startswith(f"{data}, row 2, column 'problem_version': ")
    shown = capsys.readouterr().out
    assert f"rows left out: 1\n       1  {reason}   e.g. {data}, row 2, column" in shown

    samples = ["eval", "samples", "--benchmark", "mathverse", "--data", str(data)]
    samples += ["--out", str(tmp_path / "questions.jsonl")]
    assert main(samples) == 2
    capsys.readouterr()
    assert main([*samples, "--skip-bad-rows"]) == 0
    assert "7 samples\nrows left out: 1\n" in capsys.readouterr().out


def test_the_engine_has_the_settings_of_the_run_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    run = ROOT / "configs" / "qwen2_5_vl_7b.yaml"
    one_gpu = "rollout.engine.tensor_parallel_size=1"
    found, given = engine_config(tmp_path, [one_gpu], run), load_config(run, [one_gpu])
    assert found.model == given.model.model_copy(update={"path": tmp_path})
    assert (found.rollout, found.data.instruction) == (given.rollout, given.data.instruction)

    demo = engine_config(tmp_path, [], ROOT / "configs" / "demo.yaml")
    assert demo.data.instruction == INSTRUCTION
    assert engine_config(tmp_path, []).rollout == RolloutConfig()


@pytest.mark.slow
def test_compare_pairs_two_results(
    data: Path, tmp_path: Path, oracle: ScriptedEndpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, out = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "compared.json"
    with answering(by_position).serving() as endpoint:
        position = evaluate(endpoint.url, data, a, orders=2)
    evaluate(oracle.url, data, b, orders=2)
    capsys.readouterr()
    assert main(["eval", "compare", str(a), str(b), "--out", str(out)]) == 0
    compared = json.loads(out.read_text())
    wrong = position["summary"]["items"] - position["summary"]["right"]
    assert (compared["items"], compared["only_in_one"]) == (56, 0)
    assert compared["score"]["test"] == "paired bootstrap"
    assert compared["score"]["p_value"] < 0.01
    assert compared["score"]["b"] == 1.0
    assert compared["score"]["a"] == pytest.approx(position["summary"]["score"]["value"])
    assert sum(task["only_b"] for task in compared["tasks"].values()) == wrong
    flips = compared["robustness"]["flip rate"]
    assert (flips["b"], flips["only_b"]) == (0.0, 0)
    assert flips["a"] == pytest.approx(position["robustness"]["flip_rate"]["value"])
    # All discordant items lean the same way.
    assert flips["p_value"] == pytest.approx(0.5 ** (flips["only_a"] - 1))
    shown = capsys.readouterr().out
    assert "blink: 56 questions in common, 0 in one result only" in shown
    assert "flip rate" in shown and "McNemar, exact" in shown


def test_compare_refuses_what_is_no_pair(
    tmp_path: Path, oracle: ScriptedEndpoint, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    evaluate(oracle.url, data, a, limit=2)
    remi = write_benchmark("remi", tmp_path / "remi", 28)
    evaluate(oracle.url, remi, b, limit=2, benchmark="remi")
    (tmp_path / "c.json").write_text('{"items": []}')
    (tmp_path / "d.json").write_text('{"accuracy": {}, "worst_case": {}, "flip_rate": {}}')
    for other, said in (
        (b, "A is of blink, B of remi"),
        (tmp_path / "none.json", "cannot read the result"),
        (tmp_path / "c.json", "not a result of perl-rl eval (field"),
        (tmp_path / "d.json", "is an evaluation of a run on its held-out questions, not a result"),
    ):
        capsys.readouterr()
        assert main(["eval", "compare", str(a), str(other)]) == 2
        captured = capsys.readouterr()
        assert said in captured.err
        assert captured.err.count("\n") == 1
