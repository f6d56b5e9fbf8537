"""docs/reproduce.md: its commands parse, its configurations load, and no two ports are the same."""

import re
import subprocess
import sys

import pytest
import yaml

from perl_rl.cli import main as cli
from perl_rl.data.config import PrepareConfig
from perl_rl.eval.benchmarks import BENCHMARKS
from perl_rl.launch.preflight import ports
from shared.config import Config, load_config
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "reproduce.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
SCRIPT = "\n".join(BLOCKS)

# Programs that stand in for the real ones: each writes down its arguments, one call a line.
STAND_IN = """#!/bin/bash
line=$(printf '%s\\t' "$(basename "$0")" "$CUDA_VISIBLE_DEVICES" "$@")
echo "$line" >> "$CALLS"  # at once: servers start beside each other
"""
PROGRAMS = ("perl-rl", "python", "hf", "curl", "nvidia-smi", "make", "find")


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What bash runs when the whole page is typed in, with programs that only note their calls."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "bin").mkdir()
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    for program in PROGRAMS:
        file = folder / "bin" / program
        file.write_text(STAND_IN)
        file.chmod(0o755)
    for made in ("runs/smoke", "data/prepared"):
        (folder / made).mkdir(parents=True)
    lines = "".join(f'{{"id": {number}}}\n' for number in range(400))
    (folder / "data" / "prepared" / "train.jsonl").write_text(lines)
    # The stand-ins have ended before they are stopped.
    script = "set -eu\nkill() { wait; }\n" + SCRIPT
    environment = {
        "PATH": f"{folder / 'bin'}:/usr/bin:/bin",
        "CALLS": str(folder / "calls"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    ended = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found = [line.split("\t")[:-1] for line in (folder / "calls").read_text().splitlines()]
    return [*found, ["prepare.yaml", "", (folder / "prepare.yaml").read_text()]]


def of(calls: list[list[str]], program: str) -> list[list[str]]:
    """The arguments of each call of `program`."""
    return [words for name, _, *words in calls if name == program]


@pytest.fixture(scope="module")
def runs(calls: list[list[str]]) -> list[Config]:
    """The configuration of each launch; paths are checked against the repository."""
    launched = [cli.command_line().parse_args(words) for words in of(calls, "perl-rl")]
    return [
        load_config(ROOT / options.config, options.overrides)
        for options in launched
        if options.command.__name__ == "_launch"
    ]


@pytest.fixture(scope="module")
def prepared(calls: list[list[str]]) -> PrepareConfig:
    ((text,),) = of(calls, "prepare.yaml")
    return PrepareConfig.model_validate(yaml.safe_load(text))


@pytest.fixture(scope="module")
def servers(calls: list[list[str]]) -> list[tuple[str, dict[str, str]]]:
    """GPUs and options of each server that is started."""
    found = []
    for name, gpus, *words in calls:
        if name == "python" and "vllm.entrypoints.openai.api_server" in words:
            options = words[2:]
            found.append((gpus, dict(zip(options[::2], options[1::2], strict=True))))
    return found


def test_every_command_of_ours_parses(calls: list[list[str]]) -> None:
    parsed = [cli.command_line().parse_args(words) for words in of(calls, "perl-rl")]
    names = {options.command.__name__ for options in parsed}
    assert {"_launch", "_check", "_plan", "_eval", "_compare"} <= names
    assert len(parsed) > 30, "each benchmark of both models is one"
    benchmarks = {getattr(options, "benchmark", None) for options in parsed} - {None}
    assert benchmarks == set(BENCHMARKS)


def test_every_launch_has_a_folder_and_a_name_of_its_own(runs: list[Config]) -> None:
    assert [run.run for run in runs] == ["smoke", "perl", "n_s-0", "n_s-2", "n_s-3"]
    for run in runs[1:]:
        rollouts = (run.permutation.n_s + 1) * run.sampling.n
        assert rollouts == 12, "the paper's ablation keeps them fixed"
        paths = [source.path for source in run.data.train_sources()]
        assert paths == [ROOT / "data/prepared/questions.jsonl", ROOT / "data/mmk12.jsonl"]
    assert runs[0].data.train == ROOT / "examples/own_data/data/digits.jsonl"


def test_training_uses_all_eight_gpus(runs: list[Config]) -> None:
    for run in runs:
        sampling = run.rollout.nodes * run.rollout.engine.tensor_parallel_size
        assert sampling + run.trainer.ranks == 8


def test_no_two_ports_are_the_same(
    runs: list[Config], servers: list[tuple[str, dict[str, str]]], prepared: PrepareConfig
) -> None:
    serving = {int(options["--port"]) for _, options in servers}
    training = [port for _, _, port in ports(runs[0])]
    assert serving == {9000, 9001, *range(9100, 9108)}
    assert len(set(training)) == len(training) and not serving & set(training)
    assert all(str(port) in PAGE for port in training)
    large, base = (prepared.endpoint_of(stage) for stage in ("label", "difficulty"))
    asked = {
        int(url.removesuffix("/v1").rpartition(":")[2]) for url in [*large.urls(), *base.urls()]
    }
    assert asked == serving


def test_every_server_has_gpus_of_its_own(servers: list[tuple[str, dict[str, str]]]) -> None:
    at: dict[str, set[str]] = {}
    for gpus, options in servers:
        assert len(gpus.split(",")) == int(options.get("--tensor-parallel-size", 1))
        at.setdefault(options["--port"], set()).update(gpus.split(","))
    for first in (90, 91):
        used = [gpu for port, gpus in at.items() if port.startswith(str(first)) for gpu in gpus]
        assert sorted(used) == list("01234567")


def test_servers_are_stopped_before_other_processes_need_their_gpus() -> None:
    plain = [line.split()[0] for line in SCRIPT.splitlines() if re.match(r"[a-z]", line)]
    using = [word for word in plain if word in ("large", "seven", "stop")]
    assert using == ["large", "stop", "seven", "stop", "large", "stop", *["seven", "stop"] * 2]
    before_training = plain[: max(i for i, word in enumerate(plain) if word == "for")]
    assert before_training.count("stop") >= 3


def test_models_and_data_are_downloaded_to_where_they_are_read(
    calls: list[list[str]], runs: list[Config], servers: list[tuple[str, dict[str, str]]]
) -> None:
    folders = [words[words.index("--local-dir") + 1] for words in of(calls, "hf")]
    models = {options["--model"] for _, options in servers}
    assert models - {"runs/perl/policy"} <= set(folders)
    assert {run.model.path for run in runs} == {ROOT / "models/Qwen2.5-VL-7B-Instruct"}
    assert {f"benchmarks/{name}" for name in BENCHMARKS} <= set(folders)


@pytest.mark.slow
def test_vllm_takes_the_options_of_its_servers(
    servers: list[tuple[str, dict[str, str]]],
) -> None:
    parse = (
        "import sys; from vllm.utils.argparse_utils import FlexibleArgumentParser; "
        "from vllm.entrypoints.launchers.cli_args import make_arg_parser; "
        "make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])"
    )
    for options in (servers[0][1], servers[-1][1]):
        words = [word for pair in options.items() for word in pair]
        ended = subprocess.run([sys.executable, "-c", parse, *words], capture_output=True)
        assert ended.returncode == 0, ended.stderr.decode()[-500:]


def test_the_page_gives_a_time_and_the_disk_of_each_stage() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| [0-4][abc]? ", line)]
    assert [row.split()[1] for row in rows] == ["0", "1", "2a", "2b", "2c", "3", "4"]
    assert all(len(row.split("|")) == 6 and row.split("|")[4].strip() for row in rows)
