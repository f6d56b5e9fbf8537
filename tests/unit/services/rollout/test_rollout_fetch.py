"""Weights over HTTP from the trainer's real spool and server: right, or refused, never wrong."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from services.rollout.weights.download import Download
from services.rollout.weights.fetched import FetchFailed, read_manifest
from services.rollout.weights.http import HttpFetcher, Traffic
from shared.config import Config
from shared.weights.manifest import CorruptWeights, Manifest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion
from tests.served_weights import ServedWeights

BUCKET = 4096
TOKEN = "secret"


def version(step: int) -> PolicyVersion:
    return PolicyVersion(incarnation=3, step=step)


def weights(step: int) -> dict[str, torch.Tensor]:
    """80 kB in which each step moves ten numbers of every thousand."""
    table = torch.linspace(-1, 1, 40_000).to(torch.bfloat16)
    for number in range(step):
        table[number::100] += 1
    return {"w": table}


def configured(**changes: object) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t"},
            "trainer": {},
            "security": {"token": TOKEN, "max_requests_per_s": 1e6},
            "weights": {"fetch_timeout_s": 10.0, "delta_chain": 4} | changes,
        }
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServedWeights]:
    one = ServedWeights(tmp_path / "versions", configured(), bucket_bytes=BUCKET, keep=2)
    yield one
    one.close()


class Getter:
    """A node's fetcher, with an event loop for each fetch."""

    def __init__(self, memory: Path, **changes: object) -> None:
        memory.mkdir(exist_ok=True)
        self.memory = memory
        self.fetcher = HttpFetcher(configured(**changes), memory)

    def __call__(self, announcement: Announcement) -> bytes:
        async def run() -> bytes:
            async with self.fetcher.fetched(announcement) as files:
                assert files.version == announcement.version
                said = Manifest.model_validate_json(files.manifest.read_text())
                assert said.version == announcement.version
                return files.data.read_bytes()

        return asyncio.run(run())

    @property
    def traffic(self) -> Traffic:
        return self.fetcher.traffic


@pytest.fixture
def get(tmp_path: Path) -> Iterator[Getter]:
    one = Getter(tmp_path / "memory")
    yield one
    one.fetcher.close()
    assert list(one.memory.iterdir()) == []


def publish(server: ServedWeights, *steps: int) -> Announcement:
    for step in steps:
        server.write(version(step), weights(step))
    return server.announcement(version(steps[-1]))


def bytes_of(server: ServedWeights, step: int) -> bytes:
    return server.data(version(step)).read_bytes()


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def test_a_node_that_joins_gets_the_whole_version_by_ranges(
    server: ServedWeights, get: Getter
) -> None:
    newest = publish(server, 1, 2)
    assert get(newest) == bytes_of(server, 2)
    buckets = -(-len(bytes_of(server, 2)) // BUCKET)
    assert get.traffic == Traffic(len(bytes_of(server, 2)), buckets, 0, 0)
    firsts = sorted(int(one.split("=")[1].split("-")[0]) for _, one, _ in server.asked("data"))
    assert firsts == [BUCKET * number for number in range(buckets)]
    assert {token for *_, token in server.requests} == {f"Bearer {TOKEN}"}


def test_a_node_with_the_version_before_gets_the_difference(
    server: ServedWeights, get: Getter
) -> None:
    get(publish(server, 1))
    server.requests.clear()
    assert get(publish(server, 2)) == bytes_of(server, 2)
    assert server.asked("data") == []
    assert get.traffic.whole_buckets == 0
    assert get.traffic.nbytes == server.delta(version(2)).stat().st_size


def test_a_node_several_versions_behind_gets_a_chain_of_differences(
    server: ServedWeights, get: Getter
) -> None:
    get(publish(server, 1))
    server.requests.clear()
    assert get(publish(server, 2, 3, 4)) == bytes_of(server, 4)
    assert server.asked("data") == []
    assert {path.split("/")[2] for path, *_ in server.asked("delta")} == {"3.2", "3.3", "3.4"}


def test_a_node_further_behind_than_the_chain_gets_the_whole_version(
    server: ServedWeights, get: Getter
) -> None:
    get(publish(server, 1))
    assert get(publish(server, 2, 3, 4, 5, 6)) == bytes_of(server, 6)
    assert get.traffic.delta_buckets == 0


def test_a_node_that_holds_an_unknown_parent_gets_the_whole_version(
    server: ServedWeights, get: Getter
) -> None:
    server.write(version(1), weights(9))
    get(server.announcement(version(1)))
    server.write(PolicyVersion(incarnation=4, step=1), weights(1))
    newest = PolicyVersion(incarnation=4, step=2)
    server.write(newest, weights(2))
    manifest = server.write(PolicyVersion(incarnation=4, step=3), weights(3))
    # The chain begins after the version that the node holds.
    cut = manifest.model_copy(update={"deltas": manifest.deltas[1:]})
    (server.folder / "4.3" / "manifest.json").write_text(cut.model_dump_json())
    got = get(server.announcement(manifest.version))
    assert got == server.data(manifest.version).read_bytes()
    assert get.traffic.delta_buckets == 0


def test_a_missing_delta_is_no_reason_to_fail(server: ServedWeights, get: Getter) -> None:
    get(publish(server, 1))
    newest = publish(server, 2, 3)
    server.delta(version(2)).unlink()
    assert get(newest) == bytes_of(server, 3)
    assert get.traffic.delta_buckets == 0


@pytest.mark.parametrize("place", [0, 100, -1])
def test_of_a_damaged_delta_only_the_damaged_buckets_come_whole(
    server: ServedWeights, get: Getter, place: int
) -> None:
    get(publish(server, 1))
    newest = publish(server, 2)
    flip(server.delta(version(2)), place)
    assert get(newest) == bytes_of(server, 2)
    assert get.traffic.whole_buckets == 1
    assert get.traffic.delta_buckets > 10


def test_a_node_whose_own_bytes_changed_ends_with_the_right_ones(
    server: ServedWeights, get: Getter
) -> None:
    get(publish(server, 1))
    [copy] = get.memory.glob("*.bin")
    flip(copy, 5000)
    assert get(publish(server, 2)) == bytes_of(server, 2)
    assert get.traffic.whole_buckets == 1


@pytest.mark.parametrize("place", [0, 5000, -1])
def test_a_damaged_version_is_refused(server: ServedWeights, get: Getter, place: int) -> None:
    newest = publish(server, 1)
    flip(server.data(version(1)), place)
    with pytest.raises(CorruptWeights, match=r"weights 3\.1: .* do not match"):
        get(newest)


def test_what_was_fetched_before_a_failure_is_not_fetched_again(
    server: ServedWeights, get: Getter
) -> None:
    newest = publish(server, 1)
    flip(server.data(version(1)), -1)
    with pytest.raises(CorruptWeights):
        get(newest)
    flip(server.data(version(1)), -1)
    assert get(newest) == bytes_of(server, 1)
    assert get.traffic.whole_buckets < 5, "the ones that the other threads had in hand"


def test_a_version_cut_short_is_refused(server: ServedWeights, get: Getter) -> None:
    newest = publish(server, 1)
    data = server.data(version(1))
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(FetchFailed, match="416"):
        get(newest)


def test_without_deltas_nothing_is_kept(server: ServedWeights, tmp_path: Path) -> None:
    get = Getter(tmp_path / "memory", delta_chain=0)
    for step in (1, 2):
        assert get(publish(server, step)) == bytes_of(server, step)
        assert list(get.memory.iterdir()) == []


def test_a_version_that_is_not_kept_any_more_is_named(server: ServedWeights, get: Getter) -> None:
    with pytest.raises(FetchFailed, match=r"404 version 3\.9 is no longer kept; ask for a newer"):
        get(server.announcement(version(9)))


def test_a_wrong_token_is_named(server: ServedWeights, get: Getter) -> None:
    get.fetcher._token = "other"
    with pytest.raises(FetchFailed, match="401 wrong or missing token"):
        get(publish(server, 1))


def test_an_address_of_another_backend_is_named(get: Getter) -> None:
    with pytest.raises(FetchFailed, match=r"set weights\.backend to the same"):
        get(Announcement("1-0", version(1), "file:///runs/weights/3.1"))


def test_a_server_that_is_started_again_is_waited_for(server: ServedWeights, get: Getter) -> None:
    newest = publish(server, 1)
    server.stop()
    starting = threading.Timer(0.3, server.start)
    starting.start()
    assert get(newest) == bytes_of(server, 1)
    starting.join()


class BreakingServer:
    """A stand-in that breaks each connection after some bytes; everything comes in the end."""

    def __init__(self, data: bytes, each: int) -> None:
        self.ranges: list[int] = []
        self._data, self._each = data, each
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/weights/3.1"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536).decode()
                first, last = request.split("bytes=")[1].split("\r\n")[0].split("-")
                self.ranges.append(int(first))
                body = self._data[int(first) : int(last) + 1]
                head = f"HTTP/1.1 206 Partial\r\nContent-Length: {len(body)}\r\n\r\n"
                connection.sendall(head.encode() + body[: self._each])

    def close(self) -> None:
        self._listener.close()


def test_a_broken_transfer_continues_after_the_last_byte() -> None:
    data = bytes(range(250)) * 10
    server = BreakingServer(data, each=1000)
    buffer = bytearray(len(data))
    Download(server.url, None, 5.0).read_into("3.1", "data", 0, memoryview(buffer))
    assert bytes(buffer) == data
    assert server.ranges == [0, 1000, 2000]
    server.close()


def test_a_silent_server_is_given_up_and_its_threads_end(tmp_path: Path) -> None:
    get = Getter(tmp_path / "memory", fetch_timeout_s=0.3)
    before = threading.active_count()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/weights/3.1"
        with pytest.raises((TimeoutError, FetchFailed)):
            get(Announcement("1-0", version(1), url))
    assert threading.active_count() <= before
    get.fetcher.close()


@pytest.fixture
def manifest(server: ServedWeights) -> Manifest:
    server.write(version(1), weights(1))
    return server.write(version(2), weights(2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (lambda m: {"version": version(5)}, r"the manifest is of 3\.5"),
        (lambda m: {"buckets": m.buckets[1:]}, "no bucket covers the bytes from 0"),
        (lambda m: {"buckets": m.buckets[:-1]}, "the buckets end at byte"),
        (lambda m: {"nbytes": m.nbytes + 1}, "the buckets end at byte"),
        (lambda m: {"deltas": (m.deltas[0].model_copy(update={"version": version(1)}),)}, "chain"),
        (lambda m: {"deltas": (m.deltas[0].model_copy(update={"blocks": (1,)}),)}, "no chain"),
        (lambda m: {"tensors": (_moved(m, offset=m.nbytes - 8),)}, "tensor 'w' does not fit"),
        (lambda m: {"tensors": (_moved(m, offset=-4),)}, "tensor 'w' does not fit"),
        (lambda m: {"tensors": (_moved(m, nbytes=8),)}, "tensor 'w' does not fit"),
    ],
)
def test_a_manifest_that_leaves_something_unchecked_is_refused(
    manifest: Manifest, changes, message: str
) -> None:
    odd = manifest.model_copy(update=changes(manifest))
    with pytest.raises(CorruptWeights, match=f"weights 3.2: .*{message}"):
        read_manifest(odd.model_dump_json().encode(), version(2))


def _moved(manifest: Manifest, **changes: int):
    return manifest.tensors[0].model_copy(update=changes)
