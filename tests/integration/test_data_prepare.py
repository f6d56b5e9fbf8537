"""All preparation stages against a real rollout node: killed half way, resumed, the same bytes."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from perl_rl.data.config import STAGES
from perl_rl.demo.digits import write_data
from shared.images import digest
from tests.integration.live_node import TOKEN, LiveNode
from tests.waiting import wait_until

SAMPLES, ROLLOUTS = 120, 4
PATIENCE_S = 240.0


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Digit questions without labels; every tenth is an open question."""
    write_data(tmp_path / "data", seed=11, train=SAMPLES, held_out=1, skew=1.0)
    file = tmp_path / "data" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for number, row in enumerate(rows):
        row.pop("order", None)
        if number % 10 == 2:
            row |= {"kind": "text"}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_config(folder: Path, samples: Path, live: LiveNode) -> Path:
    endpoint = {
        "url": f"{live.node.url}/v1",
        "model": live.config.run,
        "api_key": TOKEN,
        "concurrency": 32,
    }
    config = {
        "input": str(samples),
        "work": "work",
        "images": "copy",
        "endpoint": endpoint,
        "rephrase": {"tries": 1, "max_tokens": 48, "failed": "keep"},
        "difficulty": {
            "rollouts": ROLLOUTS,
            "max_tokens": 24,
            "instruction": "Think inside <think> </think>, then answer in \\boxed{}.",
        },
        "balance": {"target": "drop-0-and-1"},
        "label": {"tries": 1, "max_tokens": 48, "cross_check": 10},
    }
    folder.mkdir()
    file = folder / "prepare.yaml"
    file.write_text(yaml.safe_dump(config))
    return file


def start(config: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "perl_rl", "data", "prepare", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: "subprocess.Popen[str]") -> str:
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, said
    return said


def until_half_done(journal: Path, process: "subprocess.Popen[str]") -> int:
    """Wait until half of the samples are in the journal; how many there are."""

    def done() -> int:
        return journal.read_bytes().count(b"\n") - 1 if journal.is_file() else 0

    def half_done() -> bool:
        if done() >= SAMPLES // 2:
            return True
        assert process.poll() is None, done()
        return False

    wait_until(half_done, lambda: f"half of the samples; {done()} are done", PATIENCE_S)
    return done()


def digests(work: Path) -> dict[str, str]:
    files = [
        file
        for file in work.rglob("*")
        if file.is_file() and "cache" not in file.parts and file.name != "journal.jsonl"
    ]
    return {str(file.relative_to(work)): digest(file.read_bytes()) for file in sorted(files)}


@pytest.mark.timeout(900)
def test_prepared_through_a_rollout_node_killed_half_way_and_resumed(
    taught_node: LiveNode, samples: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    said = finish(start(write_config(tmp_path / "whole", samples, taught_node)))
    whole_s = time.monotonic() - began
    config = write_config(tmp_path / "killed", samples, taught_node)
    process = start(config)
    work = config.parent / "work"
    done = until_half_done(work / "difficulty" / "journal.jsonl", process)
    process.kill()
    process.communicate(timeout=PATIENCE_S)
    assert not (work / "difficulty" / "stamp.json").exists()
    began = time.monotonic()
    finish(start(config))
    rest_s = time.monotonic() - began
    print(said)
    print(f"whole run {whole_s:.1f} s; killed at {done}/{SAMPLES}, rest {rest_s:.1f} s")
    whole, killed = digests(tmp_path / "whole" / "work"), digests(work)
    print(f"train.jsonl {whole['train.jsonl'][:16]} and {killed['train.jsonl'][:16]}")
    assert whole == killed
    reports = {stage: json.loads((work / stage / "report.json").read_text()) for stage in STAGES}
    assert all(report["kept"] > 0 for report in reports.values())
    assert reports["filter"]["taken"] == SAMPLES
    # The endpoint had a word in both stages that ask it for one.
    for stage in ("rephrase", "label"):
        assert "unusable answers" in reports[stage]["details"]
    rows = pq.read_table(work / "difficulty" / "pass_rates.parquet").to_pylist()
    assert len(rows) == SAMPLES
    assert {(row["rollouts"], row["version"]) for row in rows} == {
        (ROLLOUTS, str(taught_node.version))
    }
    # It has been taught: by chance it would be right on about a third.
    accuracy = sum(row["accuracy"] for row in rows) / len(rows)
    assert 0.4 < accuracy < 0.95
