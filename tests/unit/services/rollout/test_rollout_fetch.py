"""Weights over HTTP: whole and checked, or refused with nothing left behind."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from services.rollout.weights.fetch import WeightFetcher

from shared.config import Config
from shared.weights.manifest import Bucket, CorruptWeights, Manifest, TensorInfo
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion

VERSION = PolicyVersion(incarnation=3, step=4)
DATA = bytes(range(256)) * 40
BUCKET = 4096


class WeightServer:
    """Serves one version; what it serves can be spoilt."""

    def __init__(self) -> None:
        self.manifest = manifest()
        self.data = DATA
        self.seen: list[tuple[str, str | None, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                range_header = self.headers.get("Range")
                outer.seen.append((self.path, range_header, self.headers.get("Authorization")))
                if self.path == "/v/manifest":
                    self._send(200, outer.manifest.model_dump_json().encode())
                elif self.path == "/v/data" and range_header:
                    first, last = map(int, range_header.removeprefix("bytes=").split("-"))
                    self._send(206, outer.data[first : last + 1])
                else:
                    self._send(404, b"")

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def manifest(**changes: object) -> Manifest:
    """Two tensors in three buckets."""
    half = len(DATA) // 2
    tensors = tuple(
        TensorInfo(name=name, dtype="float32", shape=(half // 4,), offset=start, nbytes=half)
        for name, start in (("a", 0), ("b", half))
    )
    buckets = tuple(
        Bucket(offset=start, nbytes=len(part), sha256=hashlib.sha256(part).hexdigest())
        for start in range(0, len(DATA), BUCKET)
        for part in [DATA[start : start + BUCKET]]
    )
    whole = Manifest(version=VERSION, tensors=tensors, buckets=buckets, nbytes=len(DATA))
    return whole.model_copy(update=changes)


@pytest.fixture
def server() -> Iterator[WeightServer]:
    one = WeightServer()
    yield one
    one.close()


def get(server: WeightServer, spool: Path, path: str = "/v") -> tuple[Manifest, bytes]:
    """Fetch what the server has: the manifest and bytes as they lie on disk."""
    config = Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t"},
            "trainer": {},
            "security": {"token": "secret"},
            "weights": {"fetch_timeout_s": 10.0},
        }
    )

    async def run() -> tuple[Manifest, bytes]:
        fetcher = WeightFetcher(config, spool)
        try:
            async with fetcher.fetched(Announcement("1-0", VERSION, server.url + path)) as files:
                return Manifest.model_validate_json(
                    files.manifest.read_text()
                ), files.data.read_bytes()
        finally:
            await fetcher.close()

    return asyncio.run(run())


def test_a_version_arrives_whole_by_ranges_and_is_deleted_after_use(
    server: WeightServer, tmp_path: Path
) -> None:
    got, data = get(server, tmp_path)
    assert got == server.manifest
    assert data == DATA
    ranges = sorted(one for path, one, _ in server.seen if path == "/v/data" and one)
    assert ranges == ["bytes=0-4095", "bytes=4096-8191", "bytes=8192-10239"]
    assert {token for *_, token in server.seen} == {"Bearer secret"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [0, 5000, len(DATA) - 1])
def test_a_changed_byte_is_refused_and_nothing_is_kept(
    server: WeightServer, tmp_path: Path, place: int
) -> None:
    server.data = DATA[:place] + bytes([DATA[place] ^ 1]) + DATA[place + 1 :]
    with pytest.raises(CorruptWeights, match=r"weights 3\.4: .* do not match"):
        get(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_bytes_are_refused(server: WeightServer, tmp_path: Path) -> None:
    server.data = DATA[:-10]
    with pytest.raises(CorruptWeights, match="do not match"):
        get(server, tmp_path)


def test_a_manifest_of_another_version_is_refused(server: WeightServer, tmp_path: Path) -> None:
    server.manifest = manifest(version=PolicyVersion(incarnation=3, step=5))
    with pytest.raises(CorruptWeights, match=r"the manifest is of 3\.5"):
        get(server, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"buckets": manifest().buckets[1:]}, "no bucket covers the bytes from 0"),
        ({"buckets": manifest().buckets[:-1]}, "the buckets end at byte 8192 of 10240"),
        ({"nbytes": len(DATA) + 1}, "the buckets end at byte 10240 of 10241"),
    ],
)
def test_buckets_that_leave_bytes_unchecked_are_refused(
    server: WeightServer, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    server.manifest = manifest(**changes)
    with pytest.raises(CorruptWeights, match=f"weights 3.4: {message}"):
        get(server, tmp_path)
    assert [path for path, *_ in server.seen] == ["/v/manifest"]


@pytest.mark.parametrize(
    "tensor",
    [
        {"offset": len(DATA) - 8, "nbytes": 16, "shape": (4,)},
        {"offset": -4},
        {"nbytes": 8},
    ],
)
def test_tensors_outside_the_checked_bytes_or_of_another_size_are_refused(
    server: WeightServer, tmp_path: Path, tensor: dict[str, object]
) -> None:
    first, *rest = manifest().tensors
    server.manifest = manifest(tensors=(first.model_copy(update=tensor), *rest))
    with pytest.raises(CorruptWeights, match=r"weights 3\.4: tensor 'a' does not fit its shape"):
        get(server, tmp_path)


def test_a_version_that_the_trainer_no_longer_keeps_is_an_error(
    server: WeightServer, tmp_path: Path
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        get(server, tmp_path, "/gone")
