"""``perl-rl launch`` with everything real: two vLLM engines, Redis, reward node, DeepSpeed.

One run of a tiny, untrained model with the switches of the 7B configuration: Redis and the trainer
are killed, then the launcher is interrupted, and the run resumed to its end on two engines. The
nodes answer the held-out questions before the first step and after the last one.
"""

import json
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

from perl_rl.cli.main import main
from perl_rl.cli.show import show
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.report.summary import read_metrics
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import load_config
from shared.machine import bf16_instructions
from shared.records.evaluations import best_step, evaluation_files, read_evaluation
from shared.records.groups import image_file, read_groups
from shared.records.steps import read_lines
from shared.wire.messages import PolicyVersion
from tests.integration.launched import PATIENCE_S, SMALL_ENGINE, Launch
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(1500)

STEPS = 14
GROUPS_PER_STEP = 4
HELD_OUT = 3
EVALUATED_EVERY = 4
NOTHING_HELD_OUT = (
    *("data.heldout=null", "eval.every_steps=null"),
    "trainer.checkpoint.keep_best=false",
)


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose steps take seconds. All rewards are equal, so uniform groups are not dropped."""
    folder = tmp_path_factory.mktemp("launch")
    processor = build_processor()
    save(build_model(processor, seed=0), processor, folder / "model")
    write_data(folder / "data", train=24, held_out=HELD_OUT, skew=1.0, seed=0)
    settings = {
        "run": "launch-test",
        "model": {"path": "model"},
        "data": {"train": "data/train.jsonl", "heldout": "data/heldout.jsonl"},
        "permutation": {"n_s": 1},
        "sampling": {"n": 2, "max_tokens": 8},
        "rollout": {"port": 0, "engine": SMALL_ENGINE},
        "reward": {"port": 0, "workers": 1, "filter": {"drop_uniform": False}},
        "trainer": {
            "port": 0,
            "steps": STEPS,
            "groups_per_step": GROUPS_PER_STEP,
            # As configs/qwen2_5_vl_7b.yaml, which trains on four ranks.
            "ranks": 2,
            "minibatch_groups": 2,
            "max_staleness": 1,
            "zero_stage": 3,
            "gradient_checkpointing": True,
            "objective": {"clip_low": 0.2, "clip_high": 0.2, "kl_coef": 0.01},
            "checkpoint": {"every_steps": 1, "keep_best": True},
        },
        "eval": {"orders": 2, "max_tokens": 8, "every_steps": EVALUATED_EVERY},
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.fixture
def start(config_file: Path, tmp_path: Path):
    launches: list[Launch] = []

    def launch(*options: str) -> Launch:
        launches.append(Launch(config_file, tmp_path / "run", *options))
        return launches[-1]

    yield launch
    for launched in launches:
        launched.close()


def test_a_run_survives_dead_services_and_an_interruption(start: Callable[..., Launch]) -> None:
    first = start()
    first.until(lambda: first.steps() >= 2, "two steps")
    assert len(first.processes()) > 6, "launcher, Redis, two nodes, engine, trainer and rank"
    first.redis().kill()
    first.until(lambda: "Redis has ended; starting it again" in first.said(), "restart of Redis")
    steps = first.steps()
    first.until(lambda: first.steps() > steps, "a step after the restart of Redis")
    first.service("trainer").kill()
    first.until(lambda: "starting trainer again (1)" in first.said(), "restart of the trainer")
    log = first.folder / "logs" / "trainer.log"
    first.until(lambda: "incarnation 2 starts" in log.read_text(), "resumption by itself")
    before = first.steps()
    assert before < STEPS, "the run ended before it could be interrupted"
    assert first.end(signal.SIGINT) == 128 + signal.SIGINT
    assert first.processes() == []
    summary = json.loads((first.folder / "summary.json").read_text())
    assert summary["outcome"] == "interrupted"

    other = start("--set", "permutation.n_s=2", "--resume")
    assert other.end() == 2
    assert "with other settings: permutation.n_s was 1, now 2; set them back" in other.said()
    saved = CheckpointFolder(first.folder / "checkpoints", keep=1).newest_step()
    exported = first.folder.with_name("exported")
    assert main(["export", str(first.folder), "--out", str(exported)]) == 0
    AutoModelForImageTextToText.from_pretrained(exported)
    AutoProcessor.from_pretrained(exported)

    until_then = first.said()
    assert said_of("before", until_then) == ["evaluated on the nodes"]
    second = start("--set", "rollout.nodes=2", "--resume")
    assert second.end() == 0, second.said()
    said = second.said().removeprefix(until_then)
    assert f"resuming with step {saved + 1} of {STEPS}, epoch " in said
    assert said_of("before", said) == [], "the result is kept"
    assert said_of("after", said) == ["evaluated on the nodes"]
    assert "flip rate" in said and f"report: {second.folder / 'report.md'}" in said
    assert second.processes() == []
    _check_results(second.folder)
    _check_history(second.folder, saved)

    third = start("--resume")
    assert third.end() == 0
    assert "nothing to do" in third.said()


def test_a_trainer_that_dies_too_often_is_reported(start: Callable[..., Launch]) -> None:
    launched = start("--set", *NOTHING_HELD_OUT, "launcher.max_restarts=0")
    log = launched.folder / "logs" / "trainer.log"
    launched.until(lambda: log.exists() and "incarnation" in log.read_text(), "trainer")
    launched.service("trainer").kill()
    assert launched.end() == 1
    assert launched.processes() == []
    said = launched.said()
    assert "perl-rl: failed: trainer ended with signal 9; the end of" in said
    assert "trainer ended again, after 0 restarts" in said
    assert "incarnation 1 starts at step 0" in said, "the end of its log is shown"


def test_an_interruption_of_the_data_check_leaves_no_run(start: Callable[..., Launch]) -> None:
    launched = start()
    launched.until(lambda: "starting nodes: 1 rollout" in launched.said(), "start")
    assert launched.end(signal.SIGINT) == 128 + signal.SIGINT
    assert "nothing was started yet" in launched.said()
    assert launched.processes() == []
    assert not (launched.folder / "config.yaml").exists(), "the folder may be used again"


def test_a_killed_launcher_leaves_no_process(start: Callable[..., Launch]) -> None:
    launched = start("--set", *NOTHING_HELD_OUT)
    log = launched.folder / "logs" / "trainer.log"
    launched.until(lambda: log.exists() and "incarnation" in log.read_text(), "trainer")
    engine = launched.service("rollout-0")
    launched.until(lambda: bool(engine.children()), "engine process")
    assert launched.end(signal.SIGKILL) == -signal.SIGKILL
    wait_until(
        lambda: not launched.processes(), lambda: f"the end of {launched.processes()}", PATIENCE_S
    )


def test_what_a_service_refuses_is_one_line(start: Callable[..., Launch]) -> None:
    # Only the trainer finds out how many nodes there are in time.
    late = ("trainer.start_nodes=9", "trainer.start_timeout_s=1")
    launched = start("--set", *NOTHING_HELD_OUT, *late)
    assert launched.end() == 2
    assert launched.processes() == []
    errors = [line for line in launched.said().splitlines() if not line.startswith("[")]
    assert len(errors) == 1
    assert errors[0].startswith("perl-rl: error: trainer: ")
    assert "trainer.start_timeout_s" in errors[0]


def said_of(when: str, said: str) -> list[str]:
    """How the evaluations `when` ended, by what a launcher said."""
    words = {r"\d+ answers in [\d.]+ s": "evaluated on the nodes", "starting an engine": "alone"}
    return [
        ended
        for line in said.splitlines()
        for pattern, ended in words.items()
        if re.search(f"evaluation {when} training: {pattern}", line)
    ]


def _check_history(folder: Path, resumed_after: int) -> None:
    """Each step once, by starts that follow one another; evaluations on the way, the best kept."""
    rows = read_lines(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    starts = [row["incarnation"] for row in rows]
    assert starts == sorted(starts)
    # The second start may have been interrupted before its first step.
    assert starts[resumed_after] == 3 > starts[resumed_after - 1]
    summary = json.loads((folder / "summary.json").read_text())
    assert resumed_after in summary["resumed_after"]
    evaluated = {step: read_evaluation(file) for step, file in evaluation_files(folder).items()}
    assert {0, STEPS} < evaluated.keys() <= {0, *range(0, STEPS, EVALUATED_EVERY), STEPS}
    for step, one in evaluated.items():
        assert one["asked"] == evaluated[STEPS]["asked"]
        # Training goes on: the first answer may be of a later policy than the one at the start.
        assert PolicyVersion.parse(one["versions"][0]).step >= step
    assert "## While training" in (folder / "report.md").read_text()
    # Those after step 0 end while a step is trained, and are in its line.
    told = {row["heldout_step"] for row in rows} - {None}
    assert told <= evaluated.keys() and told - {0}
    checkpoints = CheckpointFolder(folder / "checkpoints", keep=1).steps()
    assert best_step(folder, evaluated) in checkpoints
    assert checkpoints[-2:] == [STEPS - 1, STEPS]


def _check_results(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    groups = summary["groups"]
    assert summary["outcome"] == "done"
    assert summary["steps"] == STEPS
    assert groups["trained"] == STEPS * GROUPS_PER_STEP, "as many as without an interruption"
    in_the_end = groups["trained"] + sum(groups["dropped"].values()) + groups["in_flight"]
    assert groups["issued"] == in_the_end
    assert summary["samples_trained"] == STEPS * GROUPS_PER_STEP * 2 * 2
    _check_record(folder, groups)
    assert summary["generated_tokens"] > 0
    for name in ("rollout_s", "reward_s", "train_s", "wait_s", "sync_s", "sync_paused_s"):
        assert summary[name] >= 0, name
    for when in ("before", "after"):
        assert 0 <= summary["eval"][when]["accuracy"] <= 1
        assert summary["eval"][when]["items"] == HELD_OUT
    cpuinfo = Path("/proc/cpuinfo").read_text()
    fast = "bfloat16" if bf16_instructions(cpuinfo) else "float32"
    assert (summary["dtype"], summary["device"]) == (fast, "cpu")
    rollouts = [node for node in summary["nodes"] if node["kind"] == "rollout"]
    assert [node["name"] for node in rollouts] == ["rollout-0", "rollout-1"]
    last = {node["version"] for node in rollouts}
    assert len(last) == 1, "both nodes took the last version"
    assert last.pop().endswith(f".{STEPS}")
    config = load_config(folder / "config.yaml")
    assert (folder / "config.yaml").stat().st_mode & 0o777 == 0o600
    assert config.redis.url is not None
    assert (folder / "policy" / "config.json").is_file()
    assert list((folder / "policy").glob("*.safetensors"))
    assert list((folder / "checkpoints").iterdir())


def _check_record(folder: Path, groups: dict[str, Any]) -> None:
    """Every settled group is recorded once, also those of steps that were trained again."""
    rows = read_groups(folder).to_pylist()
    states = Counter(row["reason"] or row["status"] for row in rows)
    assert states == Counter({"trained": groups["trained"]} | groups["dropped"])
    assert len({row["group_id"] for row in rows}) == len(rows)
    metrics = {row["step"]: row for row in read_metrics(folder / "metrics.jsonl")}
    for step, line in metrics.items():
        trained = [row for row in rows if row["status"] == "trained" and row["step"] == step]
        assert {row["group_id"] for row in trained} == set(line["groups"])
    for row in rows:
        assert len(row["response_text"]) == 2 * 2
        assert all(image_file(folder, one) for shown in row["order_images"] for one in shown)
    assert "trained in step" in show(rows[-1]["group_id"], folder, full=False)
