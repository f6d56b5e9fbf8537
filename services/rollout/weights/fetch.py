"""Fetches a policy version over HTTP into a local file, while the engine keeps sampling.

Bucket by bucket, each checked against its digest before anything is used.
"""

import asyncio
import math
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
from pydantic import ValidationError

from shared.config import Config
from shared.service.auth import bearer
from shared.weights.manifest import Bucket, CorruptWeights, Manifest, TensorDtype, verify
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion

_PARALLEL_BUCKETS = 4
_ITEM_BYTES: dict[TensorDtype, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "perl-weights-"


@dataclass(frozen=True)
class FetchedVersion:
    """A version whose bytes lie on this host, verified."""

    version: PolicyVersion
    manifest: Path
    data: Path


class WeightFetcher:
    """Gets versions from the trainer; use it as long as the service runs, then close it.

    The bytes go to `spool`, shared memory, if there is room enough, else to a temporary folder.
    """

    def __init__(self, config: Config, spool: Path = SHARED_MEMORY) -> None:
        self._spool = spool
        _remove_leftovers(spool)
        self._patience_s = config.weights.fetch_timeout_s
        self._client = httpx.AsyncClient(
            headers=bearer(config.security.token),
            timeout=self._patience_s,
            # Services talk to each other directly, whatever proxy the environment names.
            trust_env=False,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def fetched(self, announcement: Announcement) -> AsyncIterator[FetchedVersion]:
        """The announced version's files, which are deleted at the end of the block.

        Raises:
            httpx.HTTPError: when the trainer cannot be reached or does not have the version.
            CorruptWeights: when the bytes do not match the manifest.
            TimeoutError: when it takes longer than ``weights.fetch_timeout_s``.
        """
        with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-") as folder:
            async with asyncio.timeout(self._patience_s):
                version = await self._fetch(announcement, Path(folder))
            try:
                yield version
            finally:
                version.data.unlink(missing_ok=True)

    async def _fetch(self, announcement: Announcement, folder: Path) -> FetchedVersion:
        manifest = await self._manifest(announcement)
        files = FetchedVersion(
            version=manifest.version,
            manifest=folder / "manifest.json",
            data=self._roomy(folder, manifest.nbytes) / f"{folder.name}.bin",
        )
        files.manifest.write_text(manifest.model_dump_json(), encoding="utf-8")
        try:
            await self._data(f"{announcement.url}/data", manifest, files.data)
        except BaseException:
            files.data.unlink(missing_ok=True)
            raise
        return files

    def _roomy(self, folder: Path, nbytes: int) -> Path:
        """The spool where it has twice the room (containers have little), else `folder`."""
        if self._spool.is_dir() and shutil.disk_usage(self._spool).free > 2 * nbytes:
            return self._spool
        return folder

    async def _manifest(self, announcement: Announcement) -> Manifest:
        answer = await self._client.get(f"{announcement.url}/manifest")
        answer.raise_for_status()
        try:
            manifest = Manifest.model_validate_json(answer.content)
        except ValidationError as error:
            raise CorruptWeights(
                f"weights {announcement.version}: the manifest does not fit ({error})"
            ) from None
        _check_layout(manifest, announcement.version)
        return manifest

    async def _data(self, url: str, manifest: Manifest, file: Path) -> None:
        slots = asyncio.Semaphore(_PARALLEL_BUCKETS)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)

        async def one(bucket: Bucket) -> None:
            async with slots:
                last = bucket.offset + bucket.nbytes - 1
                answer = await self._client.get(
                    url, headers={"Range": f"bytes={bucket.offset}-{last}"}
                )
                answer.raise_for_status()
                await asyncio.to_thread(_store, descriptor, bucket, answer.content, manifest)

        try:
            async with asyncio.TaskGroup() as group:
                for bucket in manifest.buckets:
                    group.create_task(one(bucket))
        except* (httpx.HTTPError, CorruptWeights) as several:
            raise several.exceptions[0] from None
        finally:
            os.close(descriptor)


def _remove_leftovers(spool: Path) -> None:
    """Delete what nodes that were killed while loading have left in shared memory."""
    for file in spool.glob(f"{_PREFIX}*.bin"):
        owner = file.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            file.unlink(missing_ok=True)


def _store(descriptor: int, bucket: Bucket, data: bytes, manifest: Manifest) -> None:
    verify(bucket, data, manifest.version)
    os.pwrite(descriptor, data, bucket.offset)


def _check_layout(manifest: Manifest, announced: PolicyVersion) -> None:
    if manifest.version != announced:
        raise CorruptWeights(f"weights {announced}: the manifest is of {manifest.version}")
    end = 0
    for bucket in manifest.buckets:
        if bucket.offset != end:
            raise CorruptWeights(f"weights {announced}: no bucket covers the bytes from {end}")
        end += bucket.nbytes
    if end != manifest.nbytes:
        raise CorruptWeights(
            f"weights {announced}: the buckets end at byte {end} of {manifest.nbytes}"
        )
    for tensor in manifest.tensors:
        size = math.prod(tensor.shape) * _ITEM_BYTES[tensor.dtype]
        if tensor.nbytes != size or not 0 <= tensor.offset <= end - size:
            raise CorruptWeights(
                f"weights {announced}: tensor '{tensor.name}' does not fit its shape and the bytes"
            )
