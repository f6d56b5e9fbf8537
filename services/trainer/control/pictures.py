"""The pictures of the groups that are issued: each file is read and decoded once a run.

Later groups name a picture by its hash, as long as Redis has it; when Redis no longer has it, its
bytes are read again.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.trainer.control.shown_images import ShownImages
from services.trainer.plan.augmentation import distorted
from shared.images import decode_image, digest, image_bytes
from shared.sample import Sample
from shared.wire.messages import PromptTask

Images = Mapping[str, bytes | None]
"""SHA-256 to bytes; None for an image that Redis should have."""


class Pictures:
    """Reads the image files of samples.

    Args:
        shown: where the images of the issued groups are recorded.
    """

    def __init__(self, max_pixels: int, shown: ShownImages | None = None) -> None:
        self._max_pixels = max_pixels
        self._shown = shown
        self._decoded: set[str] = set()
        self.names: dict[str, str] = {}
        """Image file to SHA-256, of every file that was read."""

    async def of(self, sample: Sample, fresh: bool = False) -> Images:
        """The sample's images; with bytes where they are needed, or all of them when `fresh`.

        Raises:
            UserError: naming the file that cannot be read or decoded.
        """
        if not fresh and all(file in self.names for file in sample.images):
            names = dict.fromkeys(self.names[file] for file in sample.images)
            if self._shown is None or self._shown.has(names):
                return names
        return await asyncio.to_thread(self._read, sample.images)

    def _read(self, files: Sequence[str]) -> Images:
        images: dict[str, bytes | None] = {}
        for file in files:
            data = image_bytes(Path(file))
            name = digest(data)
            if name not in self._decoded:
                decode_image(data, file, self._max_pixels)
                self._decoded.add(name)
            self.names[file] = name
            images[name] = data
        return images

    async def keep(self, images: Images) -> None:
        """Record these images, before their group is issued."""
        given = {name: data for name, data in images.items() if data is not None}
        if self._shown is not None and given:
            await asyncio.to_thread(self._shown.keep, given)

    def distort(
        self, images: Images, strength: float, tasks: list[PromptTask], noisy: set[int]
    ) -> tuple[list[PromptTask], Images]:
        """The tasks, with noisy images in the orders `noisy`, and all images by SHA-256.

        Args:
            images: with their bytes.
        """
        everything, changed = dict(images), list(tasks)
        for order in sorted(noisy):
            task, names = tasks[order], []
            for name in task.images:
                clean = images[name]
                assert clean is not None, "noise needs the picture"
                picture = decode_image(clean, name, self._max_pixels)
                data = distorted(picture, strength, task.seed, name)
                names.append(digest(data))
                everything[names[-1]] = data
            shown = {"images": tuple(names), "clean_images": task.images}
            changed[order] = task.model_copy(update=shown)
        return changed, everything
