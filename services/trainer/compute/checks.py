"""Checks that sampler and trainer saw the same group, before it may change the policy.

``prepare.py`` compares the token ids of the prompts.
"""

from collections.abc import Sequence

from shared.errors import UserError
from shared.wire.messages import ScoredOrder


class GuardStop(UserError):
    """A guard ends the run: continuing would train on answers to questions that were not asked."""


def check_vocabulary(order: ScoredOrder, size: int) -> None:
    """Refuse sampled tokens that the trainer's model, with a vocabulary of `size`, does not have.

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
    """Refuse an order whose pictures the sampler cut into other patches than the trainer.

    Equal token ids do not show this: pictures of 2 x 8 and of 4 x 4 patches have as many tokens,
    at other positions.

    Args:
        ours: (images, 3) the trainer's patches in time, height and width of each image.

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
    """Refuse pixel values that do not have as many patches as the images' grids say.

    Args:
        grid_patches: patches of each distinct image, by the grid that also sets its prompt tokens.
        patches: rows of the pixel values.

    Raises:
        GuardStop: when they differ.
    """
    if sum(grid_patches) != patches:
        raise GuardStop(
            f"group {group_id}: the grids of {len(grid_patches)} images have {sum(grid_patches)} "
            f"patches, their pixels {patches}; the processor in model.path belongs to another model"
        )


def check_features_fit(features: int, columns: int) -> None:
    """Refuse a number of image features that differs from the number of image tokens.

    PyTorch would fill all image tokens with a single feature, without an error.

    Raises:
        GuardStop: when they differ.
    """
    if features != columns:
        raise GuardStop(
            f"the vision tower gave {features} features for {columns} image tokens; the model "
            "and the processor in model.path do not belong together"
        )
