"""A node's own copy of the policy's bytes: every bucket was checked and is of a known version.

A fetch replaces bucket by bucket. One that was broken off leaves buckets of two versions, and the
next one brings each from where it is: nothing is fetched twice, and no second copy is needed.
"""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import psutil

from shared.weights.delta import Bytes
from shared.weights.manifest import Manifest
from shared.wire.messages import PolicyVersion

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "perl-weights-"


class LocalCopy:
    """The file, and the version of each of its buckets. Threads may work on different buckets."""

    def __init__(self, layout: Manifest, folder: Path) -> None:
        self._layout = layout
        self.versions: list[PolicyVersion | None] = [None] * len(layout.buckets)
        descriptor, name = tempfile.mkstemp(".bin", f"{_PREFIX}{os.getpid()}-", folder)
        os.close(descriptor)
        self.file = Path(name)
        self.manifest = self.file.with_suffix(".json")

    def fits(self, manifest: Manifest) -> bool:
        """Whether that version's buckets can replace those that are here."""
        return self._layout.same_layout(manifest)

    def read(self, number: int) -> Bytes:
        """A bucket's bytes, to be changed freely."""
        bucket = self._layout.buckets[number]
        data = np.empty(bucket.nbytes, np.uint8)
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(bucket.offset)
            # Were the file cut short, the rest would be whatever was in memory: the digest says so.
            stream.readinto(data.data)
        return data

    def store(self, number: int, data: memoryview, version: PolicyVersion) -> None:
        """Replace a bucket by checked bytes."""
        # While it is written it is of no version.
        self.versions[number] = None
        with self.file.open("r+b", buffering=0) as stream:
            stream.seek(self._layout.buckets[number].offset)
            while data:
                data = data[stream.write(data) :]
        self.versions[number] = version

    def remove(self) -> None:
        """Delete the files."""
        self.file.unlink(missing_ok=True)
        self.manifest.unlink(missing_ok=True)


def roomy(nbytes: int, shared_memory: Path) -> Path:
    """Shared memory where it has twice the room (containers have little), else a folder on disk."""
    if shared_memory.is_dir() and shutil.disk_usage(shared_memory).free > 2 * nbytes:
        return shared_memory
    return Path(tempfile.gettempdir())


def remove_leftovers(*folders: Path) -> None:
    """Delete the copies that killed nodes have left."""
    for folder in folders:
        for file in folder.glob(f"{_PREFIX}*"):
            owner = file.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdecimal() and not psutil.pid_exists(int(owner)):
                file.unlink(missing_ok=True)
