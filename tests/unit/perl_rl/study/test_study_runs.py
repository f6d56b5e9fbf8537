"""Runs of a study: which are left, what a failed one says, and going on from results alone.

The launcher is the real one; it refuses its configuration before anything starts.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from perl_rl.cli.main import main
from perl_rl.study.results import RESULTS, collect, write_results
from perl_rl.study.runs import run_folder
from perl_rl.study.spec import Study, read_study
from tests.paths import ROOT

POINT = {"value": 0.5, "low": 0.4, "high": 0.6}
EVALUATION = {
    "items": 2,
    "answers": 4,
    "most_orders": 2,
    "excluded": {},
    "by_source": {},
    "accuracy": POINT,
    "worst_case": POINT,
    "flip_rate": POINT,
    "accuracy_by_slot": {"0": 0.5},
    "by_item": {
        "q1": {"right": [True, False], "flips": True},
        "q2": {"right": [True, True], "flips": False},
    },
    "asked": {"questions": 2, "prompts": 4, "orders": 2, "max_tokens": 8, "digest": "d"},
}
SUMMARY = {
    "outcome": "done",
    "steps": 2,
    "wall_s": 9.0,
    "responses": 60,
    "groups": {"trained": 4, "dropped": {"uniform_reward": 1}, "skipped": {"easy": 2}},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two arms with a model that is not there: the launcher refuses both."""
    content = {
        "name": "s",
        "title": "S",
        "config": str(ROOT / "configs" / "demo.yaml"),
        "seeds": [1],
        "responses": 48,
        "evaluate_every": 1,
        "baseline": "a",
        "set": {"model.path": str(tmp_path / "nowhere")},
        "arms": {"a": {"title": "A"}, "b": {"title": "B", "set": {"permutation.n_s": 2}}},
    }
    place = tmp_path / "study.yaml"
    place.write_text(yaml.safe_dump(content))
    return place


def write_done_run(study: Study, folder: Path, arm: str) -> None:
    """What a run leaves that ended well."""
    run = run_folder(folder, arm, 1)
    (run / "evaluations").mkdir(parents=True)
    run.with_name("seed-1.settings").write_text(study.digest(arm, 1))
    (run / "summary.json").write_text(json.dumps(SUMMARY))
    for name in ("eval-after.json", "evaluations/step-000000.json", "evaluations/step-000002.json"):
        (run / name).write_text(json.dumps(EVALUATION))
    rows = [
        {"step": step, "groups": ["x", "y"], "groups_dropped": {"uniform_reward": step - 1}}
        for step in (1, 2)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.yaml").write_text((ROOT / "configs" / "demo.yaml").read_text())


def study(file: Path, folder: Path, *options: str) -> int:
    return main(["study", str(file), "--dir", str(folder), *options])


@pytest.mark.slow
def test_a_run_that_fails_stops_no_other_and_says_why(file, tmp_path, capsys) -> None:
    folder = tmp_path / "out"
    write_done_run(read_study(file), folder, "a")
    assert study(file, folder) == 1
    said = capsys.readouterr()
    assert "2 runs, 1 of them done already" in said.out
    assert "1 of 2 runs failed" in said.err and "nowhere" in said.out
    page = (folder / "study.md").read_text()
    assert "- B, seed 1: b-seed-1: " in page and "nowhere" in page
    assert "| A | 1 | 0.750 [" in page


def test_points_count_all_responses_and_items_their_orders(file, tmp_path) -> None:
    found = read_study(file)
    write_done_run(found, tmp_path / "out", "a")
    run = collect(found, tmp_path / "out", {}, {}).of("a")[1]
    # Two steps of two groups, one group dropped, twelve responses each.
    assert [(one.step, one.responses, one.trained_groups) for one in run.points] == [
        (0, 0, 0),
        (2, 60, 4),
    ]
    assert {name: item.accuracy for name, item in run.items.items()} == {"q1": 0.5, "q2": 1.0}


def test_it_goes_on_from_its_results_when_the_folders_are_gone(file, tmp_path, capsys) -> None:
    found, old, new = read_study(file), tmp_path / "old", tmp_path / "new"
    write_done_run(found, old, "a")
    new.mkdir()
    write_results(old, collect(found, old, {}, {})).rename(new / RESULTS)
    assert study(file, new, "--report") == 0
    assert "| A | 1 | 0.750 [" in capsys.readouterr().out
    changed = yaml.safe_load(file.read_text()) | {"responses": 96}
    file.write_text(yaml.safe_dump(changed))
    assert study(file, new, "--report") == 0
    assert "| A | 0 | not measured" in capsys.readouterr().out


def test_runs_of_other_settings_are_refused(file, tmp_path, capsys) -> None:
    folder = tmp_path / "out"
    write_done_run(read_study(file), folder, "a")
    (run_folder(folder, "a", 1).with_name("seed-1.settings")).write_text("others")
    assert study(file, folder) == 2
    assert "was started with other settings" in capsys.readouterr().err


def test_results_that_are_none_are_refused(file, tmp_path, capsys) -> None:
    (tmp_path / RESULTS).write_text("{")
    assert study(file, tmp_path, "--report") == 2
    assert f"{tmp_path / RESULTS}: is no result of a study" in capsys.readouterr().err


def test_results_of_another_study_are_not_replaced(file, tmp_path, capsys) -> None:
    found = read_study(file)
    write_done_run(found, tmp_path, "a")
    results = write_results(tmp_path, collect(found, tmp_path, {}, {}))
    before = results.read_text()
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"name": "other"}))
    shutil.rmtree(tmp_path / "runs")
    for options in ((), ("--report",)):
        assert study(file, tmp_path, *options) == 2
        assert "holds the results of study 's', which 'other' would" in capsys.readouterr().err
    assert results.read_text() == before


@pytest.mark.parametrize("key", ["points", "items"])
def test_results_without_what_a_done_run_has_are_refused(file, tmp_path, capsys, key) -> None:
    found = read_study(file)
    write_done_run(found, tmp_path, "a")
    results = write_results(tmp_path, collect(found, tmp_path, {}, {}))
    content = json.loads(results.read_text())
    content["runs"][0][key] = type(content["runs"][0][key])()
    results.write_text(json.dumps(content))
    shutil.rmtree(tmp_path / "runs")
    assert study(file, tmp_path, "--report") == 2
    assert f"{results}: is no result of a study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("eval-after.json", None),
        ("eval-after.json", "{"),
        ("summary.json", '{"outcome": "done"}'),
        ("metrics.jsonl", '{"step": 2, "groups": [], "groups_dropped": {}}\n'),
        ("metrics.jsonl", '{"step": 1}\n'),
        ("evaluations/step-000002.json", "[]"),
    ],
)
def test_a_done_run_with_damaged_files_is_named(file, tmp_path, capsys, name, content) -> None:
    write_done_run(read_study(file), tmp_path, "a")
    run = run_folder(tmp_path, "a", 1)
    (run / name).unlink() if content is None else (run / name).write_text(content)
    assert study(file, tmp_path, "--report") == 2
    assert f"perl-rl: error: {run}: is done, but its summary, metrics" in capsys.readouterr().err


def test_one_study_works_in_a_folder(file, tmp_path) -> None:
    code = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2); print(flush=True)"
    held = tmp_path / "out"
    held.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}; sys.stdin.read()", str(held / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert study(file, held) == 2
        holder.communicate(timeout=10)
