"""Advantages and the loss against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from services.trainer.advantages import pooled_advantages
from services.trainer.loss import LossSums, policy_loss
from services.trainer.packing import PackedBatch
from shared.config import ObjectiveConfig


def test_advantages_are_pooled_over_all_orders():
    # Order 0 is answered right three times of three, order 1 never: within an order nothing can be
    # told apart, over the group everything can. Mean 0.5, population deviation 0.5.
    rewards = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])

    assert pooled_advantages(rewards, 0.0).tolist() == [1, 1, 1, -1, -1, -1]


def test_advantages_use_the_population_deviation():
    # Mean 0.4; deviations 0.6, -0.3, -0.3; population variance (0.36 + 0.09 + 0.09) / 3 = 0.18.
    advantages = pooled_advantages(np.array([1.0, 0.1, 0.1]), 0.0)

    assert advantages == pytest.approx([math.sqrt(2), -1 / math.sqrt(2), -1 / math.sqrt(2)])


def test_equal_rewards_give_no_advantage():
    assert pooled_advantages(np.full(4, 0.9), 1e-6) == pytest.approx(np.zeros(4))


def _batch(old, response, advantages, current=None):
    response = torch.tensor(response)
    return PackedBatch(
        pixel_values=torch.empty(0),
        grid=torch.empty(0),
        chunks=[],
        old_logprobs=torch.tensor(old, dtype=torch.float64),
        current=torch.tensor(current or [False] * len(old)),
        response=response,
        lengths=torch.bincount(response).double(),
        advantages=torch.tensor(advantages, dtype=torch.float64),
    )


def test_loss_of_two_responses_worked_by_hand():
    # Ratios: response 0 has 1.5 (clipped to 1.2, A = 2) and 1.0; response 1 has 0.5 (clipped to
    # 0.8, A = -1: the minimum is the clipped -0.8).
    ratios = torch.tensor([1.5, 1.0, 0.5], dtype=torch.float64)
    batch = _batch([-1.0, -2.0, -3.0], [0, 0, 1], [2.0, -1.0])
    logprobs = batch.old_logprobs + ratios.log()
    # The reference is e^0.1 times as likely on the first token, equal elsewhere.
    reference = logprobs + torch.tensor([0.1, 0.0, 0.0])
    k3 = math.exp(0.1) - 0.1 - 1

    loss, sums = policy_loss(logprobs, reference, batch, ObjectiveConfig(kl_coef=0.5))

    response_0 = ((1.2 * 2 - 0.5 * k3) + 1.0 * 2) / 2
    response_1 = -0.8
    assert loss.item() == pytest.approx(-(response_0 + response_1), abs=1e-9)
    assert sums.kl == pytest.approx(k3)
    assert sums.clipped == 2
    assert (sums.tokens, sums.responses) == (3, 2)


def test_gradient_is_the_policy_gradient_where_nothing_is_clipped():
    batch = _batch([-1.0, -2.0, -3.0], [0, 0, 1], [2.0, -1.0])
    logprobs = batch.old_logprobs.clone().requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0))
    loss.backward()

    assert logprobs.grad.tolist() == pytest.approx([-1.0, -1.0, 1.0])


def test_clipped_tokens_have_no_gradient():
    batch = _batch([-1.0, -1.0], [0, 1], [1.0, -1.0])
    ratios = torch.tensor([1.3, 0.7], dtype=torch.float64)
    logprobs = (batch.old_logprobs + ratios.log()).requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0))
    loss.backward()

    assert logprobs.grad.tolist() == [0.0, 0.0]


def test_mismatch_counts_only_tokens_of_the_current_version():
    batch = _batch([-1.0, -1.0, -1.0], [0, 0, 0], [0.0], current=[True, True, False])
    logprobs = batch.old_logprobs + torch.tensor([0.2, -0.1, 5.0])

    _, sums = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0))

    assert sums.mismatch_tokens == 2
    assert sums.mismatch_abs == pytest.approx(0.3)
    expected = (math.exp(0.2) - 0.2 - 1) + (math.exp(-0.1) + 0.1 - 1)
    assert sums.mismatch_kl == pytest.approx(expected)


def test_sums_of_batches_add_up():
    sums = LossSums(loss=1.0, tokens=2.0)
    sums.add(LossSums(loss=0.5, tokens=3.0, kl=1.0))

    assert (sums.loss, sums.tokens, sums.kl) == (1.5, 5.0, 1.0)
