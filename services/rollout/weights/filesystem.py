"""``weights.backend: filesystem``: the trainer's files themselves, on a folder that both see.

Nothing is copied: the engine's workers map the file that the trainer wrote. It is read once before,
to check it, while the engine samples; that also brings it into the page cache.
"""

import asyncio
import mmap
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from services.rollout.weights.fetched import FetchedVersion, FetchFailed, read_manifest
from shared.config import Config
from shared.weights.manifest import DATA_FILE, MANIFEST_FILE, Manifest, verify
from shared.wire.board import Announcement

_THREADS = 4


class FilesystemFetcher:
    """Finds versions where the trainer wrote them."""

    def __init__(self, config: Config) -> None:
        self._patience_s = config.weights.fetch_timeout_s

    def close(self) -> None:
        """Nothing is kept."""

    @asynccontextmanager
    async def fetched(self, announcement: Announcement) -> AsyncIterator[FetchedVersion]:
        """The announced version's files, checked; see `Fetcher`."""
        folder = _folder(announcement)
        async with asyncio.timeout(self._patience_s):
            await asyncio.to_thread(_check, folder, announcement)
        yield FetchedVersion(announcement.version, folder / MANIFEST_FILE, folder / DATA_FILE)


def _folder(announcement: Announcement) -> Path:
    address = urlsplit(announcement.url)
    if address.scheme != "file":
        raise FetchFailed(
            f"weights {announcement.version} are at {announcement.url}, no folder: set "
            "weights.backend to the same for trainer and nodes"
        )
    return Path(unquote(address.path))


def _check(folder: Path, announcement: Announcement) -> None:
    try:
        manifest = read_manifest((folder / MANIFEST_FILE).read_bytes(), announcement.version)
        _verify(manifest, folder / DATA_FILE)
    except (OSError, ValueError) as error:
        raise FetchFailed(
            f"weights {announcement.version} cannot be read in {folder} ({error}); it must be a "
            "folder that trainer and nodes share (weights.folder)"
        ) from None


def _verify(manifest: Manifest, file: Path) -> None:
    with (
        file.open("rb") as stream,
        mmap.mmap(stream.fileno(), manifest.nbytes, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
        ThreadPoolExecutor(_THREADS) as pool,
    ):

        def one(number: int) -> None:
            bucket = manifest.buckets[number]
            with data[bucket.offset : bucket.offset + bucket.nbytes] as part:
                verify(bucket, part, manifest.version)

        for _ in pool.map(one, range(len(manifest.buckets))):
            pass
