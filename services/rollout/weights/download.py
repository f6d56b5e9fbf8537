"""Ranges of files over HTTP, straight into memory, by several threads.

The standard library's client reads into a given buffer, and the interpreter's lock is free
meanwhile: a gigabyte costs a quarter of a second of processor time.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
from urllib.parse import urlsplit

from services.rollout.weights.fetched import FetchFailed
from shared.service.auth import bearer

_PIECE = 1 << 20
_TRIES = 4
"""Tries in a row that bring nothing."""
_FIRST_PAUSE_S = 0.2
_LARGEST_MANIFEST = 256 << 20

_BROKEN = (OSError, http.client.HTTPException)
_PASSING = (429, 500, 502, 503, 504)
"""Answers that may be others soon."""


class NotThere(FetchFailed):
    """The server does not have the file, or not any more."""


class _Passing(OSError):
    """An answer that may be another one soon."""


class Download:
    """The files below one address; one connection a thread. `close` ends all that is under way."""

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        """Args:
        url: the address of one version.
        timeout_s: longest silence of the server.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise FetchFailed(
                f"weights at {url}: no address of a server; set weights.backend to the same for "
                "trainer and nodes"
            )
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._base = parts.path.rpartition("/")[0]
        self._headers = bearer(token)
        self._timeout_s = timeout_s
        self._here = threading.local()
        self._open: list[http.client.HTTPConnection] = []
        self._closed = threading.Event()

    def close(self) -> None:
        """End every transfer: threads that wait for bytes get `FetchFailed`."""
        self._closed.set()
        for connection in list(self._open):
            _shut(connection)

    def manifest(self, version: str) -> bytes:
        """A version's manifest.

        Raises:
            FetchFailed: as `read_into`.
        """
        path = f"{self._base}/{version}/manifest"
        for number in range(1, _TRIES + 1):
            try:
                return self._ask(path, {}, 200).read(_LARGEST_MANIFEST)
            except _BROKEN as error:
                self._after(error, number, path)
        raise AssertionError("the last try returns or raises")

    def read_into(self, version: str, part: str, first: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of a file from `first` on.

        A connection that breaks is opened again, and continues after the last byte that came.

        Raises:
            NotThere: when the server does not have the file.
            FetchFailed: when it cannot be reached, refuses, or `close` was called.
        """
        path = f"{self._base}/{version}/{part}"
        done, fruitless, last = 0, 0, first + len(buffer) - 1
        while done < len(buffer):
            try:
                answer = self._ask(path, {"Range": f"bytes={first + done}-{last}"}, 206)
                while done < len(buffer):
                    got = answer.readinto(buffer[done : done + _PIECE])
                    if got == 0:
                        raise ConnectionError("it sent less than it was asked for")
                    done, fruitless = done + got, 0
            except _BROKEN as error:
                fruitless += 1
                self._after(error, fruitless, path)

    def _ask(self, path: str, headers: dict[str, str], expected: int) -> http.client.HTTPResponse:
        connection = self._connection()
        connection.request("GET", path, headers=self._headers | headers)
        answer = connection.getresponse()
        if answer.status == expected:
            return answer
        said = _detail(answer)
        self._drop()
        if answer.status in _PASSING:
            raise _Passing(f"{answer.status} {said}")
        kind = NotThere if answer.status in (404, 416) else FetchFailed
        raise kind(f"{path}: {answer.status} {said}")

    def _connection(self) -> http.client.HTTPConnection:
        found: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if found is None:
            if self._scheme == "https":
                found = http.client.HTTPSConnection(
                    self._host,
                    self._port,
                    timeout=self._timeout_s,
                    context=ssl.create_default_context(),
                )
            else:
                found = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
            self._here.connection = found
            self._open.append(found)
        return found

    def _drop(self) -> None:
        """The next request opens a connection again."""
        self._connection().close()

    def _after(self, error: Exception, fruitless: int, path: str) -> None:
        """Wait before the next try.

        Raises:
            FetchFailed: when there is none.
        """
        self._drop()
        pause_s = _FIRST_PAUSE_S * 2 ** (fruitless - 1) if fruitless else 0.0
        if fruitless >= _TRIES or self._closed.wait(pause_s):
            why = str(error) or type(error).__name__
            raise FetchFailed(f"{self._host}:{self._port}{path}: {why}") from None


def _shut(connection: http.client.HTTPConnection) -> None:
    """Wake the thread that waits for the connection's bytes."""
    sock = connection.sock
    if sock is not None:
        # It may have ended by itself.
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _detail(answer: http.client.HTTPResponse) -> str:
    """The server's words, if it has any."""
    text = answer.read(1000).decode("utf-8", "replace")
    try:
        said = json.loads(text)
    except ValueError:
        return answer.reason
    return str(said["detail"]) if isinstance(said, dict) and "detail" in said else answer.reason
