"""What must hold between sampler and trainer before a group may change the policy.

The token ids of prompts are compared in ``prepare.py``.
"""

from collections.abc import Sequence

from shared.errors import UserError
from shared.wire.messages import ScoredOrder


class GuardStop(UserError):
    """A guard ends the run: training on would use answers to other questions than were asked."""


def check_vocabulary(order: ScoredOrder, size: int) -> None:
    """Refuse sampled tokens that the trainer's model, of `size` tokens, does not have.

    Raises:
        GuardStop: naming group, node and token.
    """
    for response in order.batch.responses:
        strange = response.token_ids[(response.token_ids < 0) | (response.token_ids >= size)]
        if len(strange):
            raise GuardStop(
                f"group {order.batch.task.group_id}: node {order.batch.node} sampled token "
                f"{strange[0]}, the trainer's model has {size}; give both the same model folder"
            )


def check_grids(order: ScoredOrder, ours: list[list[int]]) -> None:
    """Sampler and trainer cut each picture into the same patches, rows and columns alike.

    Equal token ids do not say so: a picture of 2 x 8 patches has as many tokens as one of 4 x 4,
    and other positions.

    Args:
        ours: (images, 3) patches in time, height and width, of the order's images.

    Raises:
        GuardStop: naming group, node, image and both grids.
    """
    task = order.batch.task
    for place, (theirs, own) in enumerate(zip(order.batch.image_grids, ours, strict=True)):
        if list(theirs) != own:
            raise GuardStop(
                f"group {task.group_id}, order {task.order_index}: node {order.batch.node} cut "
                f"image {place + 1} into {_product(theirs)} patches, the trainer into "
                f"{_product(own)}; give both the same model folder, model.min_pixels and "
                "model.max_pixels, and the same release"
            )


def _product(grid: Sequence[int]) -> str:
    return "x".join(map(str, grid))


def check_features(group_id: str, grid_patches: list[int], patches: int) -> None:
    """The pixels have as many patches as the images' grids say: each becomes a feature's part.

    Args:
        grid_patches: patches of each distinct image, from its grid; prompt tokens follow from it.
        patches: rows of the pixel values.

    Raises:
        GuardStop: when they differ.
    """
    if sum(grid_patches) != patches:
        raise GuardStop(
            f"group {group_id}: the grids of {len(grid_patches)} images have {sum(grid_patches)} "
            f"patches, their pixels {patches}; the processor in model.path is not the model's own"
        )


def check_features_fit(features: int, columns: int) -> None:
    """As many image features as the prompts have image tokens: one would fill any number of them.

    Raises:
        GuardStop: when they differ.
    """
    if features != columns:
        raise GuardStop(
            f"the vision tower gave {features} features for {columns} image tokens; the model in "
            "model.path and its processor do not belong together"
        )
