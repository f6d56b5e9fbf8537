"""The set-up of the GPU set: the right build of torch, the driver, and flash-attn."""

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.set_up import machine, steps
from scripts.set_up.environment import make_environment
from scripts.set_up.plan import Plan, SetupError
from tests.package_index import add_wheel
from tests.paths import ROOT


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
