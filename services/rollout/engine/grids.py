"""How the engine's processor cut each image, for the trainer to compare with its own cut.

The engine keeps what it has processed, and then says of an image only that it keeps it; so the
node remembers the cut under the image's name.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from services.rollout.failures import SamplingFailed

Grid = tuple[int, int, int]
"""Patches of an image in time, height and width."""

GRIDS_KEPT = 200_000
"""More than the processed images that the engine keeps: 4 GiB of at least 75 kB each."""


class GridMemory:
    """The grids of the images seen last."""

    def __init__(self, capacity: int = GRIDS_KEPT) -> None:
        self._capacity = capacity
        self._grids: OrderedDict[str, Grid] = OrderedDict()

    def of(self, names: Sequence[str], processed: Sequence[Any]) -> tuple[Grid, ...]:
        """The grids of the images of one prompt that is about to be sampled.

        Args:
            names: of the images, in the prompt's order.
            processed: for each what the engine's processor made of it (vLLM's
                ``MultiModalKwargsItem``); None for one that the engine keeps.

        Raises:
            SamplingFailed: when the engine keeps an image that is not remembered here.
        """
        found = []
        for name, item in zip(names, processed, strict=True):
            if item is not None:
                time, height, width = item["image_grid_thw"].data.flatten().tolist()
                self._grids[name] = (time, height, width)
            if name not in self._grids:
                raise SamplingFailed(f"the engine keeps image {name[:12]}, its grid is not known")
            self._grids.move_to_end(name)
            found.append(self._grids[name])
        while len(self._grids) > self._capacity:
            self._grids.popitem(last=False)
        return tuple(found)
