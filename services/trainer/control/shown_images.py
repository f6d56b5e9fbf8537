"""The images that a run's groups show, one file each, for the record.

The feeder keeps a group's images before it issues the group, so every group in the record has its
images. The recorder deletes those that no group shows any more.
"""

import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from shared.files import write_atomically
from shared.images import PILLOW_MAX_PIXELS, image_format
from shared.records.groups import images_folder


class ShownImages:
    """The folder of a run's images; used by the feeder and the recorder, in different threads."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = images_folder(run_dir)
        self._lock = threading.Lock()
        self._open = True
        self._there: set[str] = set()
        # Names that were kept since the last two deletions: their groups may not be issued yet.
        self._new: set[str] = set()
        self._newer: set[str] = set()
        self.error: OSError | None = None
        """Why an image could not be written; none is written then, until `open`."""

    def keep(self, images: Mapping[str, bytes]) -> None:
        """Write those of these images, SHA-256 to bytes, that are not there."""
        with self._lock:
            if not self._open or self.error is not None:
                return
            self._newer.update(images)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                for name in images.keys() - self._there:
                    suffix = image_format(images[name], name, PILLOW_MAX_PIXELS).lower()
                    file = self._folder / f"{name}.{suffix}"
                    if not file.exists():
                        write_atomically(file, images[name])
                    self._there.add(name)
            except OSError as error:
                self.error = error

    def has(self, names: Collection[str]) -> bool:
        """Whether these images need not be given to `keep`; they stay until the next deletions."""
        with self._lock:
            if not self._open or self.error is not None:
                return True
            self._newer.update(names)
            return self._there.issuperset(names)

    def open(self) -> None:
        """Try again to write images, after an error."""
        with self._lock:
            self.error = None

    def close(self) -> None:
        """Write no more images."""
        with self._lock:
            self._open = False

    def delete_others(self, shown: Iterable[str]) -> None:
        """Delete the images that are not among these SHA-256 and were not kept lately."""
        with self._lock:
            needed = {*shown, *self._new, *self._newer}
            self._new, self._newer = self._newer, set()
            for file in self._folder.glob("*.*"):
                if file.stem not in needed:
                    file.unlink(missing_ok=True)
                    self._there.discard(file.stem)
