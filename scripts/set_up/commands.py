"""Runs the commands of a step: output into the log, a line now and then, a limit in time."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from .plan import Plan, SetupError

STEP_TIMEOUT_S = 3600.0  # one command on a slow network; a few minutes are usual
STOP_TIMEOUT_S = 10.0  # for an interrupted pip to end
HEARTBEAT_S = 15.0  # between lines that say what a long step is doing


def logged(plan: Plan, command: Sequence[str | Path], env: dict[str, str] | None = None) -> str:
    """Run a command with its output in the log.

    Returns:
        The output of a command that failed; an empty text after success.
    """
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
        code = _wait_with_progress(process, plan.log, start)
    if code == 0:
        return ""
    if code < 0:
        return f"ended by signal {-code}"
    with plan.log.open("rb") as log:
        log.seek(start)
        return log.read().decode(errors="replace") or f"exit code {code}"


def pip_install(plan: Plan, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
    held = f"-c{plan.requirements(f'{plan.profile}.lock')}"
    # Byte code is written when a module is first imported: writing all of it takes a minute more.
    command = [plan.python, "-m", "pip", "install", "--no-compile", *arguments, held]
    return logged(plan, command, env)


def require_success(output: str) -> None:
    """Raise the reason found in a failed command's output; an empty output is a success."""
    if not output:
        return
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    # On a conflict pip's last line is the address of a manual page; the line before has the cause.
    errors = [line for line in errors if "ResolutionImpossible" not in line]
    raise SetupError((errors or lines)[-1][:200])


def _wait_with_progress(process: subprocess.Popen[bytes], log: Path, start: int) -> int:
    """Wait for a command and print now and then what it is doing; returns its exit code."""
    began = time.monotonic()
    try:
        while time.monotonic() - began < STEP_TIMEOUT_S:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=HEARTBEAT_S)
            elapsed = time.monotonic() - began
            print(f"      {elapsed:4.0f} s  {_last_line(log, start)}", flush=True)
        raise SetupError(f"not done after {STEP_TIMEOUT_S:.0f} s, stopped: check the network")
    except BaseException:
        _stop(process)
        raise


def _last_line(log: Path, start: int) -> str:
    """The last line after byte `start` of the log that is text and no warning, cut to fit."""
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 4096))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    texts = (line for line in reversed(lines) if line[:1].isalpha() and "WARNING" not in line)
    return next(texts, "running")[:90]


def _stop(process: subprocess.Popen[bytes]) -> int:
    """End a command and all processes that it started (compilers, pip's own)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
