"""The command line: light to start, one line for a mistake, and what each light command prints."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import redis

from perl_rl.cli import status
from perl_rl.cli.main import command_line, main
from perl_rl.folder_lock import hold_folder
from perl_rl.report.heldout import evaluate
from shared.config import Config, save_config
from shared.errors import UserError
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo

HEAVY = ("torch", "vllm", "transformers", "deepspeed", "numpy", "redis", "pydantic", "rich")
LIGHT = (
    "perl_rl.launch.main",
    "perl_rl.launch.session",
    "perl_rl.cli.status",
    "perl_rl.cli.score",
    "perl_rl.report.heldout",
    "perl_rl.eval.run",
)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from perl_rl.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        f"print('loaded:', sorted(set(sys.modules) & set({HEAVY!r})))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "launch" in done.stdout
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.slow
def test_the_launcher_and_its_tools_load_no_model_library() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(name, sorted(set(sys.modules) & {'torch', 'vllm', 'transformers', 'deepspeed'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *LIGHT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{name} []" for name in LIGHT]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "perl_rl", *arguments], capture_output=True, text=True, timeout=60
    )


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"perl-rl {version('perl-rl')}\n"


def test_a_mistake_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = run("launch", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "none.yaml: cannot read the configuration" in done.stderr


@pytest.mark.parametrize("place", ["before", "after"])
def test_debug_shows_the_traceback(tmp_path: Path, place: str) -> None:
    words = ["launch", str(tmp_path / "none.yaml")]
    done = run(*(["--debug", *words] if place == "before" else [*words, "--debug"]))
    assert "Traceback" in done.stderr


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {step: 3}\n")
    assert main(["launch", str(file)]) == 2
    said = capsys.readouterr().err
    assert "unknown key 'trainer.step'" in said and said.count("\n") == 1


def test_a_setting_without_set_is_told_how_to_be_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / "run.yaml"), "trainer.steps=5"])
    assert ended.value.code == 2
    assert "settings follow --set, as --set trainer.steps=5" in capsys.readouterr().err


def test_an_override_is_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n")
    assert main(["launch", str(file), "--set", "trainer.steps=2", "rollout.nodez=2"]) == 2
    assert "unknown key 'rollout.nodez'" in capsys.readouterr().err


def test_a_service_needs_redis(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n")
    assert main(["rollout", "serve", str(file)]) == 2
    assert "'redis.url' is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["report", "FILE", "--run-dir", "runs/x"],
            "the key 'redis.url' is missing; the run",
        ),
        (
            ["dead-letters", "FILE"],
            "redis.url is missing; for a run that launch started",
        ),
        (["dead-letters", "FILE", "--replay"], "use the config.yaml in its run folder"),
    ],
)
def test_what_asks_a_run_needs_redis_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], message: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n")
    assert main([str(file) if word == "FILE" else word for word in command]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_an_evaluation_needs_held_out_questions(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n")
    with pytest.raises(UserError, match=r"run\.yaml: the key 'data\.heldout' is missing; nothing"):
        evaluate(file, tmp_path, tmp_path / "out.json")


def test_score_adds_the_rewards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.jsonl"
    rows = [
        {"response": "<think>x</think>\\boxed{B}", "answer": "B", "kind": "letter", "id": 7},
        {"response": "B", "answer": "B", "kind": "letter"},
        {"response": "\\boxed{\\frac{1}{2}}", "answer": "0.5", "kind": "math"},
    ]
    file.write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["score", str(file)]) == 0
    first, second, third = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == rows[0] | {
        "accuracy": 1.0,
        "format": 1.0,
        "penalty": 0.0,
        "reward": 1.0,
        "extracted": "B",
        "steps": None,
    }
    assert (second["accuracy"], second["format"], second["reward"]) == (0.0, 0.0, 0.0)
    assert (third["accuracy"], third["format"], third["reward"]) == (1.0, 0.0, 0.9)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 2: not JSON"),
        ("[1]", "line 2: is a list, not an object"),
        ('{"response": "x", "kind": "letter"}', "line 2, field 'answer'"),
        ('{"response": "x", "answer": "B", "kind": "leter"}', "field 'kind': must be 'letter', "),
        ('{"response": "x", "answer": "B", "kind": "leter"}', "or 'steps' (got 'leter')"),
        ('{"prediction": "x", "answer": "B"}', "'response': is missing; the line has prediction,"),
        ('{"response": "x", "answer": "42", "kind": "letter"}', "not of kind 'letter'"),
    ],
)
def test_score_names_the_line_that_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, said: str
) -> None:
    file = tmp_path / "answers.jsonl"
    file.write_text('{"response": "x", "answer": "B", "kind": "letter"}\n' + line)
    assert main(["score", str(file)]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1


def beat(url: str, run_name: str, **changes: object) -> None:
    """Leave a node's heartbeat of a run."""
    fields = {"name": "rollout-0", "kind": "rollout", "url": "http://h:1", "state": "ready"}
    info = NodeInfo.model_validate(fields | {"version": "1.2"} | changes)
    keys = Keys(run_name)
    with redis.Redis.from_url(url) as client:
        client.sadd(keys.nodes, info.name)
        client.set(keys.node(info.name), info.model_dump_json())
        client.hset(keys.state, mapping={"step": 3, "steps": 9, "phase": "training"})
        client.xadd(keys.versions, {"version": "1.3", "url": "http://t"})
        client.hset(keys.counts, mapping={"issued": 5, "trained": 3, "dropped:uniform": 2})


def test_status_shows_nodes_versions_and_ledger(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    beat(redis_url, "a")
    with redis.Redis.from_url(redis_url) as client:
        client.sadd(Keys("a").nodes, "rollout-1")
        client.hset(Keys("a").counts, mapping={"skipped:easy": 7, "skipped:hard": 1})
    assert main(["status", "--redis", redis_url]) == 0
    out = capsys.readouterr().out
    assert "step     3 of 9" in out
    assert "version 1.3" in out
    assert "rollout-0" in out and "version 1.2 (current: 1.3)" in out
    assert "rollout-1  lost" in out
    assert "issued 5 = trained 3 + dropped 2 (uniform 2) + in flight 0\n" in out
    assert "skipped  8 not issued (easy 7, hard 1)\n" in out


def test_status_says_what_is_waited_for(
    redis_url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    beat(redis_url, "a", state="starting")
    settings: dict[str, Any] = {
        "run": "a",
        "redis": {"url": redis_url},
        "model": {"path": "m"},
        "data": {"train": "t"},
        "rollout": {"nodes": 2},
        "trainer": {},
    }
    save_config(Config.model_validate(settings), tmp_path / "config.yaml")
    with redis.Redis.from_url(redis_url) as client:
        state = {"phase": "starting", "detail": "its ranks load the model", "alarms": "kl"}
        client.hset(Keys("a").state, mapping=state)
        far = "evaluation before training, 120 of 936 answers, about 20 s left"
        client.set(Keys("a").evaluation, far)
    with hold_folder(tmp_path):
        assert main(["status", "--run-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        "now      evaluation before training, 120 of 936 answers, about 20 s left; "
        "trainer: starting (its ranks load the model); starting: rollout-0 (starting); "
        "2 nodes have not started yet"
    )
    assert "alarm    kl, at the last step" in lines


def test_status_watches_until_the_run_is_over(
    redis_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    beat(redis_url, "a")

    def go_on(seconds: float) -> None:
        with redis.Redis.from_url(redis_url) as client:
            step = int(client.hget(Keys("a").state, "step") or 0) + 1
            phase = "done" if step == 5 else "training"
            client.hset(Keys("a").state, mapping={"step": step, "phase": phase})

    monkeypatch.setattr(status.time, "sleep", go_on)
    assert main(["status", "--redis", redis_url, "--watch"]) == 0
    found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert found == [f"step     {step} of 9" for step in (3, 4, 5)]


def test_status_asks_which_of_several_runs(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        beat(redis_url, name)
    assert main(["status", "--redis", redis_url]) == 2
    assert "choose with --run: a, b" in capsys.readouterr().err
    assert main(["status", "--redis", redis_url, "--run", "b"]) == 0
    assert "run      b" in capsys.readouterr().out
    assert main(["status", "--redis", redis_url, "--run", "c"]) == 2
    assert "holds no run 'c'" in capsys.readouterr().err


def test_status_says_when_there_is_nothing(
    redis_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--redis", redis_url]) == 2
    err = capsys.readouterr().err
    assert "holds no run" in err
    password = redis_url.partition("://:")[2].partition("@")[0]
    assert password not in err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["launch", "CONFIG", "--run-dir", "/proc/run"], "--run-dir /proc/run: cannot write there"),
        (["check", "CONFIG", "--run-dir", "/proc/run"], "--run-dir /proc/run: cannot write there"),
        (
            ["data", "convert", "--format", "samples", "x", "--out", "/proc/a/b"],
            "--out /proc/a: ca",
        ),
        (["data", "filter", "ROWS", "--out", "/proc/a"], "/proc/a: cannot write there"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], said: str
) -> None:
    config, rows = tmp_path / "run.yaml", tmp_path / "rows.jsonl"
    config.write_text("run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n")
    rows.write_text('{"id": "1", "question": "q", "answer": "3", "kind": "number"}\n')
    places = {"CONFIG": str(config), "ROWS": str(rows)}
    assert main([places.get(word, word) for word in command]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


@pytest.mark.parametrize("file", ["/proc/none/result.jsonl", "/etc/passwd/result.jsonl"])
def test_a_file_that_cannot_be_made_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], file: str
) -> None:
    data = tmp_path / "rows.json"
    data.write_text("[]")
    arguments = ["eval", "samples", "--benchmark", "mathverse", "--data", str(data), "--out", file]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("perl-rl: error: ") and error.count("\n") == 1


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for one in action.choices.values():
                yield from parsers(one)


def test_every_option_says_its_default_or_that_it_is_needed() -> None:
    for parser in parsers(command_line()):
        assert parser.description, parser.prog
        for action in parser._actions:
            shown = parser._get_formatter()._expand_help(action) if action.help else ""
            optional = action.option_strings and action.nargs != 0 and not action.required
            if optional and action.help != argparse.SUPPRESS:
                assert "default: " in shown or "needed" in shown or "not used" in shown, (
                    parser.prog,
                    action.option_strings,
                )
            assert shown or action.help == argparse.SUPPRESS or action.choices, (
                parser.prog,
                action,
            )


@pytest.mark.parametrize("words", [[], ["launch"], ["lunch"], ["permute", "x", "--orders", "many"]])
def test_a_wrong_command_line_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("perl-rl: error: ") and error.count("\n") == 1
    assert error.endswith(" --help\n")


@pytest.mark.slow
def test_no_librarys_progress_bar_runs_through_our_lines(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "from perl_rl.cli.main import main\n"
        "main(['launch', 'none.yaml'])\n"
        "bars = 'from tqdm import tqdm; from transformers.utils import logging; '"
        "       'list(tqdm([1, 2])); list(logging.tqdm([1, 2]))'\n"
        "exec(bars)\n"
        "subprocess.run([sys.executable, '-c', bars], check=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.startswith("perl-rl: error: none.yaml: ")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1), done.stderr


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("permute f.jsonl --orders 0", "--orders: must be at least 1, not 0"),
        ("permute f.jsonl --orders 2 --seed -1", "--seed: must be at least 0, not -1"),
        ("export run --out o --step -4", "--step: must be at least 0, not -4"),
        ("rollout serve c.yaml --port 70000", "--port: must be from 0 to 65535, not 70000"),
        ("view run --port 99999", "--port: must be from 0 to 65535, not 99999"),
        ("view run --port -1", "--port: must be from 0 to 65535, not -1"),
        ("view run --export o --step 0", "--step: must be at least 1, not 0"),
        ("trainer serve c.yaml --host -1", "--host: must be at least 0, not -1"),
        ("data convert f --format verl --out o --max-image-pixels 0", "pixels: must be at least 1"),
        ("eval --limit 0", "--limit: must be at least 1, not 0"),
        ("eval --temperature -1", "--temperature: must be at least 0, not -1"),
        ("eval --timeout-s inf", "--timeout-s: must be a finite number, not inf"),
        ("eval --retries x", "--retries: must be a whole number, not 'x'"),
    ],
)
def test_an_impossible_number_of_an_option_is_one_line(
    command: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("perl-rl: error: argument --") and words in line


@pytest.mark.parametrize(
    ("command", "near"),
    [
        ("lunch run.yaml", "launch"),
        ("data filtr x", "filter"),
        ("trainer srve x", "serve"),
        # It is there, elsewhere, or another tool calls it so.
        ("convert x --format verl", "perl-rl data convert"),
        ("data permute x", "perl-rl permute"),
        ("train run.yaml", "perl-rl launch"),
        ("data evaluate x", "perl-rl eval"),
    ],
)
def test_a_command_that_does_not_exist_gets_the_nearest(
    command: str, near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(command.split())
    [line] = capsys.readouterr().err.splitlines()
    assert f"; did you mean {near}?" in line


def test_nothing_is_asked_again_of_a_run_that_is_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text(
        "run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n"
        "redis: {url: 'redis://127.0.0.1:1/0'}\n"
    )
    command = ["dead-letters", str(tmp_path), "--replay"]
    assert main(command) == 2
    assert "cannot reach Redis" in capsys.readouterr().err
    (tmp_path / "summary.json").write_text("{}")
    assert main(command) == 2
    assert f"{tmp_path}: the run is over: it trains no more groups" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("doctor extra", "extra; see perl-rl doctor --help"),
        ("status runs/a", "; the folder of a run follows --run-dir; see perl-rl status --help"),
        ("show 1 runs/a", "; the folder of a run follows --run; see perl-rl show --help"),
        ("launch a.yaml steps=3", "as --set trainer.steps=5; see perl-rl launch --help"),
        ("data convert a --format verl --out o --verbose", "see perl-rl data convert --help"),
        ("eval compare a b c", "see perl-rl eval compare --help"),
    ],
)
def test_what_a_command_does_not_know_is_its_own_error(
    command: str, end: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command.split())
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("perl-rl: error: unrecognized arguments: ") and line.endswith(end)


def test_an_address_without_a_scheme_is_refused_where_it_was_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--redis", "localhost:6379"]) == 2
    assert "--redis localhost:6379: must begin with redis://" in capsys.readouterr().err
    monkeypatch.setenv("PERL_REDIS_URL", "localhost:6379")
    assert main(["status"]) == 2
    assert "$PERL_REDIS_URL localhost:6379: must begin with redis://" in capsys.readouterr().err
