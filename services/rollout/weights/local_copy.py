"""A node's own copy of the policy's bytes: every bucket was checked and is of a known version.

A fetch replaces bucket by bucket. One that was broken off leaves buckets of two versions, and the
next one brings each from where it is: nothing is fetched twice, and no second copy is needed.
"""

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
        """Raises OSError: when the folder has not enough room."""
        self._layout = layout
        self.versions: list[PolicyVersion | None] = [None] * len(layout.buckets)
        descriptor, name = tempfile.mkstemp(".bin", f"{_PREFIX}{os.getpid()}-", folder)
        self.file = Path(name)
        self.manifest = self.file.with_suffix(".json")
        try:
            # Writing to a mapped file on a full disk would end the process.
            os.posix_fallocate(descriptor, 0, layout.nbytes)
            self._bytes = np.frombuffer(mmap.mmap(descriptor, layout.nbytes), np.uint8)
        except OSError:
            self.remove()
            raise
        finally:
            os.close(descriptor)

    def fits(self, manifest: Manifest) -> bool:
        """Whether that version's buckets can replace those that are here."""
        return self._layout.same_layout(manifest)

    @contextmanager
    def changing(self, number: int, version: PolicyVersion) -> Iterator[Bytes]:
        """A bucket's own bytes, to be made those of `version` in the block.

        If the block fails the bucket is of no version: it must come whole.
        """
        bucket = self._layout.buckets[number]
        self.versions[number] = None
        yield self._bytes[bucket.offset : bucket.offset + bucket.nbytes]
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
