"""Packed computation of whole groups equals one plain sequence at a time."""

import numpy as np
import pytest
import torch

from perl_rl.demo.model import build_model, build_processor
from services.trainer.compute.model import GroupModel
from services.trainer.compute.packing import (
    PackedResponse,
    PreparedGroup,
    PreparedOrder,
    attention_mask,
    pack,
)

TEMPERATURE = 0.8


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model(build_processor(), seed=0).float().eval()


def _group(model, rng, image_counts_and_orders, responses):
    """A group with random pixels, prompts around the images, and ragged random responses."""
    images, orders = image_counts_and_orders
    vision = model.config.vision_config
    sides = [4 if index % 2 else 6 for index in range(images)]
    grid = torch.tensor([[1, side, side] for side in sides])
    features = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(int(grid.prod(-1).sum()), features, generator=rng)
    numbers = np.random.default_rng(images)
    tokens = (grid.prod(-1) // vision.spatial_merge_size**2).tolist()
    image_token = model.config.image_token_id
    prepared = []
    for order in orders:
        prompt = [3, 5]
        for image in order:
            prompt += [image_token] * tokens[image] + list(numbers.integers(20, 90, size=2))
        ids = torch.tensor([prompt])
        positions, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == image_token).int(),
            image_grid_thw=grid[list(order)] if order else None,
        )
        answers = [numbers.integers(20, 90, size=length).astype(np.int32) for length in responses]
        # A response may contain the image token itself: no image belongs there.
        answers[0][-1] = image_token
        prepared.append(
            PreparedOrder(
                prompt_ids=np.array(prompt, dtype=np.int32),
                positions=positions[:, 0],
                images=tuple(order),
                image_columns=np.flatnonzero(np.array(prompt) == image_token),
                responses=tuple(
                    PackedResponse(
                        token_ids=answer,
                        logprobs=np.zeros(len(answer), dtype=np.float32),
                        current=np.ones(len(answer), dtype=bool),
                        advantage=float(index),
                    )
                    for index, answer in enumerate(answers)
                ),
            )
        )
    return PreparedGroup(pixel_values=pixels, grid=grid, orders=tuple(prepared))


@pytest.fixture(scope="module")
def groups(model):
    rng = torch.Generator().manual_seed(1)
    return [
        _group(model, rng, (3, [(0, 1, 2), (2, 0, 1)]), responses=[1, 7, 4]),
        _group(model, rng, (2, [(0, 1), (1, 0), (0, 1)]), responses=[5, 2]),
    ]


@pytest.fixture(scope="module")
def small_groups(model):
    """A group of text alone, which carries an image that no prompt shows, and one of one image."""
    rng = torch.Generator().manual_seed(2)
    return [
        _group(model, rng, (1, [(), ()]), responses=[3, 6]),
        _group(model, rng, (1, [(0,), (0,)]), responses=[4, 1]),
    ]


def _plain(model, group):
    """Log-probabilities of every response, each computed alone with all its images."""
    vision = model.config.vision_config
    patches = torch.split(group.pixel_values, group.grid.prod(-1).tolist())
    results = []
    for order in group.orders:
        pixels = torch.cat([patches[image] for image in order.images]) if order.images else None
        grid = group.grid[list(order.images)] if order.images else None
        for response in order.responses:
            # The model's own forward would take a sampled image token for a picture; nothing
            # follows the last token, so another token in its place changes no log-probability.
            ids = np.concatenate([order.prompt_ids, response.token_ids]).astype(np.int64)
            given = torch.tensor(np.append(ids[:-1], 0))[None]
            logits = model(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                pixel_values=pixels,
                image_grid_thw=grid,
                mm_token_type_ids=(given == model.config.image_token_id).int(),
            ).logits[0]
            start = len(order.prompt_ids)
            chosen = torch.from_numpy(response.token_ids.astype(np.int64))
            predicted = torch.log_softmax(logits[start - 1 : -1].float() / TEMPERATURE, dim=-1)
            results.append(predicted.gather(-1, chosen[:, None]).squeeze(-1))
    assert vision.spatial_merge_size == 2
    return torch.cat(results)


def _weights(count):
    return torch.randn(count, generator=torch.Generator().manual_seed(7))


def _gradients(model, logprobs):
    model.zero_grad()
    (logprobs * _weights(len(logprobs))).sum().backward()
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("token_budget", [10_000, 64, 1])
@pytest.mark.parametrize("which", ["groups", "small_groups"])
def test_packed_logprobs_and_gradients_equal_the_plain_computation(
    model, which, token_budget, attention, request
):
    groups = request.getfixturevalue(which)
    model.set_attn_implementation(attention)
    plain = torch.cat([_plain(model, group) for group in groups])
    plain_gradients = _gradients(model, plain)

    policy = GroupModel(model, TEMPERATURE)
    batches = pack(groups, token_budget)
    packed = torch.cat([policy(batch) for batch in batches])
    packed_gradients = _gradients(model, packed)

    torch.testing.assert_close(packed, plain, atol=1e-4, rtol=0)
    assert packed_gradients.keys() == plain_gradients.keys()
    for name, gradient in plain_gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            packed_gradients[name], gradient, atol=1e-4 * max(scale, 1.0), rtol=0, msg=name
        )


def test_a_small_budget_splits_into_more_chunks_but_never_splits_a_group(groups):
    batches = pack(groups, 1)

    assert [len(batch.grid) for batch in batches] == [3, 2]
    assert [len(batch.chunks) for batch in batches] == [6, 6]
    assert [len(pack(groups, 10_000)), len(pack(groups, 10_000)[0].chunks)] == [1, 1]


def test_tokens_keep_their_response_and_length(groups):
    (batch,) = pack(groups, 10_000)

    assert batch.lengths.tolist() == [1, 7, 4, 1, 7, 4, 5, 2, 5, 2, 5, 2]
    assert torch.bincount(batch.response).tolist() == batch.lengths.int().tolist()
    assert batch.advantages.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 0, 1]


def test_a_response_sees_the_prompt_and_itself_only():
    segments = torch.tensor([[0, 0, 1, 1, 2, -1]])
    expected = torch.tensor(
        [
            [1, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [1, 1, 0, 0, 1, 0],
            [1, 1, 0, 0, 0, 1],
        ],
        dtype=torch.bool,
    )

    assert torch.equal(attention_mask(segments)[0, 0], expected)
