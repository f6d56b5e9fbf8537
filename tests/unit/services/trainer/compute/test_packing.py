"""Packed computation of whole groups equals one plain sequence at a time, for each family."""

import weakref
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from services.trainer.compute.attention import attention_mask
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.model import GroupModel, chunk_logprobs
from services.trainer.compute.packing import pack
from tests.family_models import SIZES, family_model
from tests.prepared_groups import prepared_group

TEMPERATURE = 0.8


@pytest.fixture(scope="module", params=SIZES)
def model(request):
    return family_model(request.param).eval()


@pytest.fixture(scope="module")
def groups(model):
    rng = torch.Generator().manual_seed(1)
    return [
        prepared_group(model, rng, (3, [(0, 1, 2), (2, 0, 1)]), responses=[1, 7, 4]),
        prepared_group(model, rng, (2, [(0, 1), (1, 0), (0, 1)]), responses=[5, 2]),
    ]


@pytest.fixture(scope="module")
def small_groups(model):
    """A group of text alone, which carries an image that no prompt shows, and one of one image."""
    rng = torch.Generator().manual_seed(2)
    return [
        prepared_group(model, rng, (1, [(), ()]), responses=[3, 6]),
        prepared_group(model, rng, (1, [(0,), (0,)]), responses=[4, 1]),
    ]


@pytest.fixture(scope="module")
def long_group(model):
    """Five orders of three images; the last order shows one image only."""
    rng = torch.Generator().manual_seed(3)
    orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1), (1,)]
    return prepared_group(model, rng, (3, orders), responses=[6, 2, 5])


def _plain(model, group):
    """Log-probabilities of every response, each computed alone with all its images."""
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
    return torch.cat(results)


def _weights(count):
    return torch.randn(count, generator=torch.Generator().manual_seed(7))


def _gradients(model):
    return {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def _plain_pass(model, groups):
    """Log-probabilities and gradients, computed one sequence at a time."""
    plain = torch.cat([_plain(model, group) for group in groups])
    model.zero_grad()
    (plain * _weights(len(plain))).sum().backward()
    return plain.detach(), _gradients(model)


def _packed_pass(model, batches):
    """The same, a forward and a backward pass for each chunk."""
    policy = GroupModel(model, TEMPERATURE)
    tokens = sum(len(chunk.targets) for batch in batches for chunk in batch.chunks)
    weights, found = _weights(tokens), []
    model.zero_grad()
    for batch in batches:
        features = BatchFeatures(batch)
        for chunk in batch.chunks:
            last = chunk is batch.chunks[-1]
            logprobs = policy(chunk, features, last)
            weight, weights = weights.split([len(logprobs), len(weights) - len(logprobs)])
            loss = (logprobs * weight).sum()
            (loss + features.carried() if last else loss).backward()
            found.append(logprobs.detach())
    return torch.cat(found), _gradients(model)


def _assert_equal(packed, plain):
    (logprobs, gradients), (expected, expected_gradients) = packed, plain
    torch.testing.assert_close(logprobs, expected, atol=1e-4, rtol=0)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            gradients[name], gradient, atol=1e-4 * max(scale, 1.0), rtol=0, msg=name
        )


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("token_budget", [10_000, 64, 1])
@pytest.mark.parametrize("which", ["groups", "small_groups"])
def test_packed_logprobs_and_gradients_equal_the_plain_computation(
    model, which, token_budget, attention, request
):
    groups = request.getfixturevalue(which)
    model.set_attn_implementation(attention)
    batches = pack(groups, token_budget)

    packed = _packed_pass(model, batches)

    _assert_equal(packed, _plain_pass(model, groups))
    policy = GroupModel(model, TEMPERATURE)
    alone = torch.cat([one for batch in batches for one in chunk_logprobs(policy, batch)])
    torch.testing.assert_close(alone, packed[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("token_budget", "chunks"), [(10_000, 1), (150, 2), (60, 5)])
def test_a_group_of_any_number_of_chunks_equals_the_plain_computation(
    model, long_group, token_budget, chunks
):
    batches = pack([long_group], token_budget)
    assert [len(batch.chunks) for batch in batches] == [chunks]

    _assert_equal(_packed_pass(model, batches), _plain_pass(model, [long_group]))


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.parametrize(("token_budget", "attention"), [(10_000, "eager"), (64, "sdpa")])
def test_replicated_rows_equal_the_plain_computation(family, token_budget, attention):
    model = family_model(family).eval()
    _assert_rows_equal_plain(model, token_budget, attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_replicated_rows_keep_to_a_sliding_window(attention):
    layers = ["full_attention", "sliding_attention"] * 2
    model = family_model(
        "qwen2_vl", use_sliding_window=True, sliding_window=8, layer_types=layers
    ).eval()
    _assert_rows_equal_plain(model, 64, attention)
    with pytest.raises(AssertionError):
        _assert_rows_equal_plain(model, 64, attention, packing="packed")


def _assert_rows_equal_plain(model, token_budget, attention, packing="replicated"):
    model.set_attn_implementation(attention)
    rng = torch.Generator().manual_seed(1)
    several = [
        prepared_group(model, rng, (3, [(0, 1, 2), (2, 0, 1)]), responses=[1, 7, 4]),
        prepared_group(model, rng, (1, [(), ()]), responses=[3, 6]),
    ]
    batches = pack(several, token_budget, packing)
    rows = sum(len(chunk.input_ids) for batch in batches for chunk in batch.chunks)
    assert packing == "packed" or rows == 10

    _assert_equal(_packed_pass(model, batches), _plain_pass(model, several))


def test_a_frozen_vision_tower_gets_no_gradient(model, long_group):
    (batch,) = pack([long_group], 60)
    policy = GroupModel(model, TEMPERATURE, freeze_vision=True)
    try:
        model.zero_grad()
        features = BatchFeatures(batch)
        for chunk in batch.chunks:
            policy(chunk, features, chunk is batch.chunks[-1]).sum().backward()
        assert not any(name.startswith("model.visual") for name in _gradients(model))
    finally:
        model.model.visual.requires_grad_(True)


def test_a_small_budget_splits_into_more_chunks_but_never_splits_a_group(groups):
    batches = pack(groups, 1)

    assert [len(batch.grid) for batch in batches] == [3, 2]
    assert [len(batch.chunks) for batch in batches] == [6, 6]
    assert [len(pack(groups, 10_000)), len(pack(groups, 10_000)[0].chunks)] == [1, 1]


def test_tokens_keep_their_response_and_length(groups):
    (batch,) = pack(groups, 10_000)
    (chunk,) = batch.chunks
    batch = chunk.responses

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


@dataclass(eq=False)
class Kept:
    tensor: torch.Tensor


class LiveActivations(torch.autograd.graph.saved_tensors_hooks):
    """Counts the bytes that autograd keeps for backward passes to come."""

    def __init__(self):
        self.live = self.peak = 0
        super().__init__(self._keep, lambda kept: kept.tensor)

    def _keep(self, tensor):
        kept, size = Kept(tensor), tensor.nbytes
        if isinstance(tensor, torch.nn.Parameter):
            return kept
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(kept, self._free, size)
        return kept

    def _free(self, size):
        self.live -= size


def test_the_peak_of_activations_does_not_grow_with_the_number_of_chunks(model):
    rng = torch.Generator().manual_seed(4)
    peaks = []
    for orders in (2, 5):
        group = prepared_group(
            model, rng, (2, [(0, 1), (1, 0), (0, 1), (1, 0), (0, 1)][:orders]), responses=[6, 5]
        )
        (batch,) = pack([group], 40)
        assert len(batch.chunks) == orders
        activations = LiveActivations()
        with activations:
            _packed_pass(model, [batch])
        peaks.append(activations.peak)
        assert activations.live == 0

    assert peaks[1] == peaks[0]
