"""Runs this checkout's composition with the commands that its users type."""

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shared.service.ports import free_port
from tests.paths import ROOT
from tests.waiting import wait_until

COMMAND_TIMEOUT_S = 180.0
BUILD_TIMEOUT_S = 1800.0
LOOK_EVERY_S = 2.0


class MissingEngine(Exception):
    """No composition can be started here; the message says why."""


def compose_command() -> list[str]:
    """Compose v2 if it is installed, else docker-compose 1.29.

    Raises:
        MissingEngine: when Compose is missing, or no Docker engine answers.
    """
    if shutil.which("docker") is None:
        raise MissingEngine("Docker is not installed")
    engine = _try(["docker", "info", "--format", "{{.ServerVersion}}"])
    if engine is None:
        raise MissingEngine("no Docker engine answers")
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) and _try([*command, "version"]) is not None:
            return command
    raise MissingEngine("neither Compose v2 nor docker-compose is installed")


def _try(command: list[str]) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S)
    return done.stdout if done.returncode == 0 else None


class Composition:
    """The services of ``docker-compose.yml`` in a copy of the checkout, with its own project.

    Args:
        compose: the words that start Compose.
        folder: where the checkout is copied to; its ``runs`` holds the run's files.
        token: the bearer token, and the password of Redis.
    """

    def __init__(self, compose: list[str], folder: Path, token: str) -> None:
        self.folder = folder
        self.port = free_port()
        self._compose = [*compose, "-p", f"perl-test-{os.getpid()}"]
        self._environment = {
            **os.environ,
            "DOCKER_BUILDKIT": "1",
            "COMPOSE_DOCKER_CLI_BUILD": "1",
        }
        self._began = time.monotonic()
        _copy_checkout(folder)
        settings = {"TOKEN": token, "REDIS_PASSWORD": token, "STATUS_PORT": str(self.port)}
        lines = [f"PERL_{name}={value}\n" for name, value in settings.items()]
        (folder / ".env").write_text("".join(lines))

    def say(self, line: str) -> None:
        """Print a line with the seconds since the start."""
        print(f"{time.monotonic() - self._began:7.1f} s  {line}", flush=True)

    def __call__(self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Run a Compose command and return its output; fails if the command fails."""
        return self._run([*self._compose, *words], timeout_s)

    def docker(self, *words: str) -> str:
        """Run a Docker command and return its output."""
        return self._run(["docker", *words], COMMAND_TIMEOUT_S)

    def _run(self, command: list[str], timeout_s: float) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def containers(self, service: str) -> list[str]:
        return self("ps", "-q", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.docker("inspect", container))[0]
        return found

    def kill(self, container: str) -> None:
        """Send SIGKILL to a container's first process from outside, as if it had crashed.

        Docker's own ``kill`` would also tell Docker not to start the container again.
        """
        kill = ["sh", "-c", f"kill -9 {self.inspect(container)['State']['Pid']}"]
        self.docker("run", "--rm", "--pid=host", "--user=0", "redis:7.2.5", *kill)

    def status(self) -> str:
        """What ``perl-rl status`` prints inside the trainer's container; empty when it cannot."""
        words = ["exec", "-T", "trainer", "python", "-m", "perl_rl", "status"]
        done = subprocess.run(
            [*self._compose, *words],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )
        return done.stdout if done.returncode == 0 else ""

    def until(self, what: str, reached: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `reached` is true; `what` names the condition."""
        wait_until(reached, what, timeout_s, LOOK_EVERY_S)
        self.say(what)

    @contextlib.contextmanager
    def ended_after(self, logs: Path) -> Iterator[None]:
        """Save the logs and remove containers and volumes at the end, even after a failure."""
        try:
            yield
        finally:
            with logs.open("w") as file:
                subprocess.run(
                    [*self._compose, "logs", "--no-color"],
                    cwd=self.folder,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=COMMAND_TIMEOUT_S,
                )
            self("down", "-v", "-t", "20")


def _copy_checkout(folder: Path) -> None:
    """Copy the files that git tracks or does not ignore, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=COMMAND_TIMEOUT_S,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
