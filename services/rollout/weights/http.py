"""``weights.backend: http``: a version comes by the deltas that lead to it, or whole.

The node keeps the bytes of the version that it has. For each bucket it fetches the blocks of all
deltas from its version on, applies them, and checks the digest of the result. What cannot be made
that way (no chain, a damaged block) is fetched whole, bucket by bucket.
"""

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from services.rollout.weights.download import Download, NotThere
from services.rollout.weights.fetched import FetchedVersion, read_manifest
from services.rollout.weights.local_copy import (
    SHARED_MEMORY,
    LocalCopy,
    remove_leftovers,
    roomy,
)
from shared.config import Config
from shared.weights import delta
from shared.weights.manifest import CorruptWeights, Delta, Manifest, verify
from shared.wire.board import Announcement

logger = logging.getLogger(__name__)

_THREADS = 4
_END_S = 10.0
"""Longest wait for the threads of a fetch that was broken off; each ends with its bucket."""


@dataclass(frozen=True)
class _Job:
    """Neighbouring buckets that are brought to the new version in the same way."""

    buckets: range
    chain: tuple[Delta, ...] | None
    """None: whole."""


@dataclass(frozen=True)
class Traffic:
    """What the last fetch took."""

    nbytes: int
    """Bytes over the wire, without the manifest."""
    whole_buckets: int
    delta_buckets: int
    chain: int = 0
    """Versions that the longest chain of deltas led over."""

    def __str__(self) -> str:
        chain = f" by a chain of {self.chain}" if self.chain > 1 else ""
        return (
            f"{self.delta_buckets} buckets by deltas{chain}, {self.whole_buckets} whole, "
            f"{self.nbytes / 1e6:.1f} MB"
        )


class HttpFetcher:
    """Fetches versions from the weight server; between two versions it keeps the last one's bytes,
    unless there are no deltas (``weights.delta_chain: 0``)."""

    def __init__(self, config: Config, shared_memory: Path = SHARED_MEMORY) -> None:
        self._shared_memory = shared_memory
        remove_leftovers(shared_memory, Path(tempfile.gettempdir()))
        self._patience_s = config.weights.fetch_timeout_s
        self._token = config.security.token
        self._keep = config.weights.delta_chain > 0
        self._copy: LocalCopy | None = None
        self.traffic = Traffic(0, 0, 0)

    def close(self) -> None:
        """Delete the node's copy."""
        if self._copy is not None:
            self._copy.remove()
            self._copy = None

    @asynccontextmanager
    async def fetched(self, announcement: Announcement) -> AsyncIterator[FetchedVersion]:
        """The announced version's files; see `Fetcher`."""
        download = Download(announcement.url, self._token, self._patience_s)
        working = asyncio.ensure_future(asyncio.to_thread(self._fetch, download, announcement))
        try:
            async with asyncio.timeout(self._patience_s):
                files = await asyncio.shield(working)
        finally:
            download.close()
            await self._ended(working)
        try:
            yield files
        finally:
            if not self._keep:
                self.close()

    async def _ended(self, working: "asyncio.Future[FetchedVersion]") -> None:
        """Wait for the threads of a fetch that was broken off: no two may write into the copy."""
        done, _ = await asyncio.wait({working}, timeout=_END_S)
        if not done:
            logger.error("the threads of a fetch have not ended; the next version comes whole")
            self.close()
        elif not working.cancelled():
            # Its error was raised already, or another one came first.
            working.exception()

    def _fetch(self, download: Download, announcement: Announcement) -> FetchedVersion:
        version = announcement.version
        manifest = read_manifest(download.manifest(str(version)), version)
        copy = self._copy
        if copy is None or not copy.fits(manifest):
            self.close()
            copy = LocalCopy(manifest, roomy(manifest.nbytes, self._shared_memory))
            self._copy = copy
        self.traffic = _Update(download, manifest, copy).run()
        logger.info("weights %s fetched: %s", version, self.traffic)
        copy.manifest.write_text(manifest.model_dump_json(), encoding="utf-8")
        return FetchedVersion(version, copy.manifest, copy.file)


class _Update:
    """Brings all buckets of a copy to one version."""

    def __init__(self, download: Download, manifest: Manifest, copy: LocalCopy) -> None:
        self._download = download
        self._manifest = manifest
        self._copy = copy
        self._starts = {one.version: _starts(one) for one in manifest.deltas}
        self._count = threading.Lock()
        self._nbytes = self._whole = self._by_delta = self._longest = 0

    def run(self) -> Traffic:
        """Do it; buckets that are done stay done when others fail."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="weights") as pool:
            futures = [pool.submit(self._do, job) for job in self._jobs()]
            try:
                for future in futures:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self._download.close()
                raise
        return Traffic(self._nbytes, self._whole, self._by_delta, self._longest)

    def _jobs(self) -> Iterator[_Job]:
        """Neighbours with the same chain together: one request for each delta, if it is not too
        large, and enough jobs to keep all threads busy."""
        count = len(self._manifest.buckets)
        longest = max(1, count // (2 * _THREADS))
        start = 0
        while start < count:
            chain, stop = self._chain(start), start + 1
            room = self._size(start) - self._sent(start, chain)
            while chain is not None and stop < min(count, start + longest):
                room -= self._sent(stop, chain)
                if room < 0 or self._chain(stop) != chain:
                    break
                stop += 1
            yield _Job(range(start, stop), chain)
            start = stop

    def _chain(self, number: int) -> tuple[Delta, ...] | None:
        """The deltas from what the copy has of a bucket; None when the whole bucket is better."""
        held = self._copy.versions[number]
        chain = None if held is None else self._manifest.chain_from(held)
        return None if self._sent(number, chain) > self._size(number) else chain

    def _sent(self, number: int, chain: tuple[Delta, ...] | None) -> int:
        """Bytes of a bucket's blocks."""
        return sum(one.blocks[number] for one in chain or ())

    def _size(self, number: int) -> int:
        return self._manifest.buckets[number].nbytes

    def _do(self, job: _Job) -> None:
        if job.chain == ():
            return
        blocks = None if job.chain is None else self._blocks(job.buckets, job.chain)
        for number in job.buckets:
            if blocks is None or not self._by_blocks(number, [one[number] for one in blocks]):
                self._whole_bucket(number)

    def _blocks(
        self, buckets: range, chain: tuple[Delta, ...]
    ) -> list[dict[int, memoryview]] | None:
        """Each delta's blocks by bucket; None when the server lacks one of the deltas."""
        found = []
        for one in chain:
            starts = self._starts[one.version]
            first = starts[buckets[0]]
            size = starts[buckets[-1] + 1] - first
            data = memoryview(bytearray(size))
            try:
                self._download.read_into(str(one.version), "delta", first, data)
            except NotThere as error:
                logger.warning("weights %s come whole: %s", self._manifest.version, error)
                return None
            self._add(nbytes=size)
            found.append({at: data[starts[at] - first : starts[at + 1] - first] for at in buckets})
        return found

    def _by_blocks(self, number: int, blocks: list[memoryview]) -> bool:
        """Apply blocks to what is here; False when the result is not what it must be."""
        bucket, version = self._manifest.buckets[number], self._manifest.version
        try:
            with self._copy.changing(number, version) as data:
                for block in blocks:
                    delta.apply(block, data, self._manifest.item_bytes)
                verify(bucket, data.data, version)
        except CorruptWeights as error:
            logger.warning(
                "weights %s: bucket %d of the delta is damaged and comes whole: %s",
                version,
                number,
                error,
            )
            return False
        self._add(by_delta=1, chain=len(blocks))
        return True

    def _whole_bucket(self, number: int) -> None:
        bucket, version = self._manifest.buckets[number], self._manifest.version
        with self._copy.changing(number, version) as data:
            self._download.read_into(str(version), "data", bucket.offset, data.data)
            self._add(nbytes=bucket.nbytes, whole=1)
            verify(bucket, data.data, version)

    def _add(self, nbytes: int = 0, whole: int = 0, by_delta: int = 0, chain: int = 0) -> None:
        with self._count:
            self._nbytes += nbytes
            self._whole += whole
            self._by_delta += by_delta
            self._longest = max(self._longest, chain)


def _starts(one: Delta) -> list[int]:
    """Where each block starts in the delta's file, and where the last one ends."""
    starts = [0]
    for size in one.blocks:
        starts.append(starts[-1] + size)
    return starts
