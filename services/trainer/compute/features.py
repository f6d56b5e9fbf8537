"""The image features of a batch: computed once, read by every chunk, differentiated once.

The backward pass of each chunk frees what its forward pass kept, so that memory does not grow with
the number of chunks. For that the graph is cut at the features: all chunks but the last read a
leaf, in which their gradients add up, and the backward pass of the last chunk takes the sum through
the vision tower.
"""

import torch

from services.trainer.compute.packing import PackedBatch


class BatchFeatures:
    """The features of a batch's distinct images: F of size W in all."""

    def __init__(self, batch: PackedBatch) -> None:
        self.pixel_values = batch.pixel_values
        self.grid = batch.grid
        self._features: torch.Tensor | None = None
        self._leaf: torch.Tensor | None = None
        self._sizes: list[int] = []

    @property
    def encoded(self) -> bool:
        """Whether `hold` was called."""
        return self._features is not None

    def hold(self, each: tuple[torch.Tensor, ...]) -> None:
        """Keep the (f, W) features of each image, with their graph."""
        self._sizes = [len(one) for one in each]
        self._features = torch.cat(each)

    def of(self, images: tuple[int, ...], last: bool) -> torch.Tensor:
        """(f, W) features of `images`, one after another, for one chunk.

        Args:
            images: indices of the batch's images, at least one.
            last: whether the batch's last chunk reads them.
        """
        assert self._features is not None
        shown = self._features if last else self._cut_off(self._features)
        parts = shown.split(self._sizes)
        return torch.cat([parts[image] for image in images])

    def _cut_off(self, features: torch.Tensor) -> torch.Tensor:
        if self._leaf is None:
            # In fp32, because the gradients of many chunks add up in it.
            self._leaf = features.detach().float().requires_grad_(features.requires_grad)
        return self._leaf

    def carried(self) -> torch.Tensor:
        """A scalar to add to the last chunk's loss; its value means nothing.

        Its gradient in the features is the sum of the other chunks' gradients. It is there when no
        chunk shows an image, too: the vision tower takes part in every rank's backward pass.
        """
        assert self._features is not None
        if self._leaf is None or self._leaf.grad is None:
            return 0.0 * self._features.sum()
        return (self._features.float() * self._leaf.grad).sum()
