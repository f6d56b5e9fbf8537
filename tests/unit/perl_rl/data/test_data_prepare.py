"""``perl-rl data prepare`` as users run it: all stages, killed and resumed, its refusals."""

import json
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from fastapi.responses import HTMLResponse, JSONResponse, Response

from perl_rl.cli.main import main
from perl_rl.data.config import PrepareConfig
from perl_rl.demo.digits import write_data
from perl_rl.folder_lock import hold_folder
from shared.config.load import read_settings
from shared.sample import load_samples
from tests.paths import ROOT
from tests.scripted_endpoint import PATIENCE_S, Body, ScriptedEndpoint, all_stages

SAMPLES = 36
RESULTS = ("samples.jsonl", "report.json")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digit samples: unlabelled, a third of them made open questions."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, seed=3, train=SAMPLES, held_out=2)
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("order", None)
        if row["source"] == "total":
            row |= {"kind": "text", "answer": f"{row['answer']} in all"}
    (folder / "open.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_config(folder: Path, data: Path, url: str, **changes: Any) -> Path:
    config = {
        "input": str(data / "open.jsonl"),
        "work": "work",
        "seed": 5,
        "images": "copy",
        "endpoint": {"url": url, "model": "scripted", "retries": 0, "timeout_s": 20},
        "rephrase": {"tries": 2, "failed": "keep"},
        "difficulty": {"rollouts": 3, "max_tokens": 16},
        "balance": {"target": {0.0: 1, 0.5: 2, 1.0: 1}},
        "label": {"tries": 2, "cross_check": 5},
    }
    folder.mkdir(exist_ok=True)
    file = folder / "prepare.yaml"
    file.write_text(yaml.safe_dump(config | changes))
    return file


def start(config: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "perl_rl", "data", "prepare", str(config)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def results(work: Path) -> dict[str, bytes]:
    """The bytes of all that a run leaves but journals and cache."""
    names = [*RESULTS, "train.jsonl", "pass_rates.parquet"]
    files = [file for name in names for file in sorted(work.rglob(name))]
    files += sorted((work / "images").iterdir())
    return {str(file.relative_to(work)): file.read_bytes() for file in files}


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_bytes(tmp_path: Path, data: Path) -> None:
    reached = threading.Event()
    kinds: Counter[str] = Counter()

    def script(body: Body) -> str:
        first = body["messages"][0]
        kind = first["content"] if first["role"] == "system" else "rollout"
        kinds[kind] += 1
        if (kind == "rollout" and kinds[kind] == 50) or (
            "should_change" in kind and kinds[kind] == 9
        ):
            reached.set()
        return all_stages(body)

    with ScriptedEndpoint(all_stages, delay_s=0.01).serving() as endpoint:
        whole = start(write_config(tmp_path / "whole", data, endpoint.url))
        said, errors = whole.communicate(timeout=PATIENCE_S)
        assert whole.returncode == 0, errors
        asked = len(endpoint.requests)
    with ScriptedEndpoint(script, delay_s=0.01).serving() as endpoint:
        config = write_config(tmp_path / "killed", data, endpoint.url)
        stages = []
        for _ in range(2):
            process = start(config)
            assert reached.wait(PATIENCE_S)
            process.kill()
            process.communicate()
            reached.clear()
            stages.append(sorted(file.parent.name for file in config.parent.rglob("stamp.json")))
            assert not (config.parent / "work" / "train.jsonl").exists()
        last = start(config)
        said_last, errors = last.communicate(timeout=PATIENCE_S)
        assert last.returncode == 0, errors
        # Some of what was under way is asked again, nothing that was answered.
        assert asked <= len(endpoint.requests) <= asked + 2 * 16
    assert stages == [["filter", "rephrase"], ["balance", "difficulty", "filter", "rephrase"]]
    one, other = results(tmp_path / "whole" / "work"), results(tmp_path / "killed" / "work")
    assert list(one) == list(other)
    assert [name for name in one if one[name] != other[name]] == []
    assert said.replace("whole", "killed") == said_last


@pytest.mark.slow
def test_a_finished_run_asks_nothing_and_settings_redo_only_what_they_touch(
    tmp_path: Path, data: Path
) -> None:
    with ScriptedEndpoint(all_stages).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config)]) == 0
        before = results(tmp_path / "work")
        asked = len(endpoint.requests)
        assert main(["data", "prepare", str(config)]) == 0
        # Where the model is served, and how fast, changes nothing.
        assert main(["data", "prepare", str(config), "--set", "endpoint.concurrency=2"]) == 0
        assert results(tmp_path / "work") == before
        assert len(endpoint.requests) == asked
        assert main(["data", "prepare", str(config), "--set", "label.rules_only=true"]) == 0
        assert len(endpoint.requests) == asked
        after = results(tmp_path / "work")
        changed = {name for name in before if after.get(name) != before[name]}
        assert changed <= {"label/samples.jsonl", "label/report.json", "train.jsonl", "report.json"}
        assert "label/report.json" in changed


def test_the_result_is_samples_with_images_and_pass_rates(tmp_path: Path, data: Path) -> None:
    with ScriptedEndpoint(all_stages).serving() as endpoint:
        assert main(["data", "prepare", str(write_config(tmp_path, data, endpoint.url))]) == 0
    work = tmp_path / "work"
    samples = load_samples(work / "train.jsonl")
    assert all(Path(image).parent == work / "images" for s in samples for image in s.images)
    rates = pq.read_table(work / "difficulty" / "pass_rates.parquet").to_pylist()
    assert list(rates[0]) == ["id", "accuracy", "rollouts", "model", "version"]
    by_id = {row["id"]: row["accuracy"] for row in rates}
    assert [sample.pass_rate for sample in samples] == [by_id[sample.id] for sample in samples]
    names = [sample.id for sample in load_samples(data / "open.jsonl")]
    assert [names.index(s.id) for s in samples] == sorted(names.index(s.id) for s in samples)
    reports = json.loads((work / "report.json").read_text())
    for report in reports:
        assert report["taken"] == report["kept"] + sum(report["dropped"].values())
    assert reports[-1]["kept"] == len(samples)
    assert "key" not in (work / "label" / "stamp.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 429])
def test_a_failing_endpoint_ends_in_one_line_and_keeps_what_was_done(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    failing = True

    def script(body: Body) -> str | int:
        return status if failing and len(endpoint.requests) > 60 else all_stages(body)

    with ScriptedEndpoint(script).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config)]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith(f"perl-rl: error: endpoint {endpoint.url}, model scripted")
        assert f"answered {status}" in error
        done = len((tmp_path / "work" / "difficulty" / "journal.jsonl").read_text().splitlines())
        assert done > 1
        failing = False
        before = len(endpoint.requests)
        assert main(["data", "prepare", str(config)]) == 0
        assert len(endpoint.requests) - before < SAMPLES * 3 + SAMPLES


@pytest.mark.slow
@pytest.mark.parametrize("status", [500, 429])
def test_a_fault_that_passes_is_asked_again(tmp_path: Path, data: Path, status: int) -> None:
    def script(body: Body) -> str | int:
        return status if len(endpoint.requests) in (1, 40) else all_stages(body)

    with ScriptedEndpoint(script).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config), "--set", "endpoint.retries=2"]) == 0


def test_an_endpoint_that_hangs_ends_in_one_line(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ScriptedEndpoint(all_stages, delay_s=1).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config), "--set", "endpoint.timeout_s=0.2"]) == 2
    assert "no answer after 1 tries of 0.2 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "answer",
    [
        HTMLResponse("<p>a web page"),
        JSONResponse({"choices": []}),
        JSONResponse([1]),
        Response("{", media_type="application/json"),
    ],
    ids=["page", "no choice", "list", "torn"],
)
def test_an_answer_that_is_no_completion_ends_in_one_line(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], answer: Response
) -> None:
    with ScriptedEndpoint(lambda body: answer).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config)]) == 2
    assert "is not a chat completion; check the address" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_a_refused_request_stops_or_drops_its_sample_as_set(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def script(body: Body) -> str | int:
        images = [part for part in body["messages"][-1]["content"] if part["type"] == "image_url"]
        return 400 if len(images) == 4 else all_stages(body)

    with ScriptedEndpoint(script).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config)]) == 2
        assert "refused: drop" in capsys.readouterr().err
        assert main(["data", "prepare", str(config), "--set", "refused=drop"]) == 0
    reports = json.loads((tmp_path / "work" / "report.json").read_text())
    dropped = sum(report["dropped"].get("endpoint_refused_the_request", 0) for report in reports)
    four = sum(len(sample.images) == 4 for sample in load_samples(data / "open.jsonl"))
    assert dropped == four > 0


def test_requests_run_at_once_up_to_the_limit(tmp_path: Path, data: Path) -> None:
    with ScriptedEndpoint(all_stages, delay_s=0.02).serving() as endpoint:
        config = write_config(tmp_path, data, endpoint.url)
        assert main(["data", "prepare", str(config), "--set", "endpoint.concurrency=7"]) == 0
        assert endpoint.most_in_work == 7


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ballance": {}}, "unknown key 'ballance'; did you mean 'balance'? docs/prepare.md"),
        ({"filter": {"min_image": 1}}, "unknown key 'filter.min_image'"),
        ({"stages": ["label", "label"]}, "stages: name at least one stage, and none twice"),
        ({"balance": {"target": {0.5: 1}}}, "the upper edges of bins must rise"),
        ({"endpoint": None}, "no endpoint to ask; set endpoint or rephrase.endpoint"),
        ({"stages": ["balance"]}, "has no pass_rate; run the stage difficulty first"),
        ({"filter": {"min_images": 9}}, "no sample is left"),
        ({"input": "none.jsonl"}, "none.jsonl: cannot read the data file"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    config = write_config(tmp_path, data, "http://127.0.0.1:9/v1", **changes)
    assert main(["data", "prepare", str(config)]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_one_stage_alone_goes_into_a_folder_of_its_own(tmp_path: Path, data: Path) -> None:
    out = tmp_path / "filtered"
    words = ["data", "filter", str(data / "open.jsonl"), "--out", str(out)]
    assert main([*words, "--set", "filter.kinds=[letter]"]) == 0
    samples = load_samples(out / "samples.jsonl")
    assert {sample.kind for sample in samples} == {"letter"}
    report = json.loads((out / "report.json").read_text())
    assert report["dropped"] == {"kind_not_wanted": SAMPLES - len(samples)}


def test_two_processes_do_not_share_a_folder(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hold_folder(tmp_path / "work"):
        config = write_config(tmp_path, data, "http://127.0.0.1:9/v1")
        assert main(["data", "prepare", str(config)]) == 2
    assert "another process works in this folder" in capsys.readouterr().err


def test_the_example_in_the_docs_is_a_configuration(tmp_path: Path) -> None:
    page = ROOT / "docs" / "prepare.md"
    file = tmp_path / "prepare.yaml"
    file.write_text(page.read_text().partition("```yaml\n")[2].partition("```")[0])
    config = PrepareConfig.model_validate(read_settings(file))
    assert config.endpoint_of("label") == config.endpoint
    own = config.endpoint_of("difficulty")
    assert own is not None and (own.model, own.api_key) == ("base", None)


def test_difficulty_forgives_what_the_sample_does(tmp_path: Path) -> None:
    row = {"question": "How long is it?", "answer": "100", "kind": "number"}
    rows = [row | {"id": "exact"}, row | {"id": "roomy", "tolerance": 0.02}]
    file = tmp_path / "samples.jsonl"
    file.write_text("".join(json.dumps(one) + "\n" for one in rows))
    out = tmp_path / "rated"
    with ScriptedEndpoint(lambda body: "\\boxed{101}").serving() as endpoint:
        command = ["data", "difficulty", str(file), "--out", str(out), "--set"]
        settings = [f"endpoint.url={endpoint.url}", "endpoint.model=m", "difficulty.rollouts=2"]
        assert main([*command, *settings]) == 0
    exact, roomy = load_samples(out / "samples.jsonl")
    assert (exact.pass_rate, roomy.pass_rate, roomy.tolerance) == (0, 1, 0.02)
