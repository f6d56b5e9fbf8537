"""Advantages and the loss against numbers worked out by hand.

``test_objective_reference.py`` holds every preset and any switches to a reference in fp64.
"""

import math

import numpy as np
import pytest
import torch

from services.trainer.compute.advantages import group_advantages
from services.trainer.compute.loss import LossSums, policy_loss
from shared.config import ObjectiveConfig
from tests.unit.services.trainer.compute.loss_batches import loss_batch

MAX_TOKENS = 50


def _advantages(rewards, **switches):
    objective = ObjectiveConfig(advantage_eps=1e-300, **switches)
    return group_advantages([np.array(one) for one in rewards], objective).tolist()


def test_advantages_are_pooled_over_all_orders():
    # Order 0 is answered right three times of three, order 1 never: within an order nothing can be
    # told apart, over the group everything can. Mean 0.5, population deviation 0.5.
    rewards = [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]

    assert _advantages(rewards) == [1, 1, 1, -1, -1, -1]
    assert _advantages(rewards, preset="grpo") == [0] * 6
    two_level = _advantages(rewards, advantage="two_level", per_order_weight=0.25)
    assert two_level == [0.75, 0.75, 0.75, -0.75, -0.75, -0.75]


def test_advantages_use_the_deviation_that_is_asked_for():
    # Mean 0.4; deviations 0.6, -0.3, -0.3, squares 0.36 + 0.09 + 0.09 = 0.54; over 3: 0.18.
    rewards = [[1.0, 0.1, 0.1]]
    by_population = [math.sqrt(2), -1 / math.sqrt(2), -1 / math.sqrt(2)]
    # Over 2: 0.27.
    by_sample = [0.6 / math.sqrt(0.27), -0.3 / math.sqrt(0.27), -0.3 / math.sqrt(0.27)]

    assert _advantages(rewards) == pytest.approx(by_population)
    assert _advantages(rewards, preset="perl_code") == pytest.approx(by_sample)
    assert _advantages(rewards, preset="dr_grpo") == pytest.approx([0.6, -0.3, -0.3])


def test_leave_one_out_compares_with_the_others():
    # 1 - mean(0, 0.5) = 0.75; 0 - mean(1, 0.5) = -0.75; 0.5 - mean(1, 0) = 0.
    assert _advantages([[1.0, 0.0, 0.5]], preset="rloo") == pytest.approx([0.75, -0.75, 0.0])


def test_equal_rewards_and_single_ones_give_no_advantage():
    same = [np.full(4, 0.9)]
    assert group_advantages(same, ObjectiveConfig()) == pytest.approx(np.zeros(4))
    alone = ObjectiveConfig(preset="perl_code", advantage="per_order")
    assert group_advantages([np.ones(1), np.zeros(1)], alone).tolist() == [0.0, 0.0]


def test_keys_that_are_written_override_the_preset():
    objective = ObjectiveConfig(preset="dapo", kl_coef=0.02)
    assert (objective.clip_high, objective.aggregate) == (0.28, "token_mean")
    assert objective.kl_coef == 0.02
    assert ObjectiveConfig.model_validate(objective.model_dump()) == objective


def test_a_correction_of_the_sampler_by_itself_is_refused():
    with pytest.raises(ValueError, match="importance_cap needs old_logprobs: trainer"):
        ObjectiveConfig(importance_cap=2.0)


def test_loss_of_two_responses_worked_by_hand():
    # Ratios: response 0 has 1.5 (clipped to 1.2, A = 2) and 1.0; response 1 has 0.5 (clipped to
    # 0.8, A = -1: the minimum is the clipped -0.8).
    ratios = torch.tensor([1.5, 1.0, 0.5], dtype=torch.float64)
    batch = loss_batch([-1.0, -2.0, -3.0], [0, 0, 1], [2.0, -1.0])
    logprobs = batch.old_logprobs + ratios.log()
    # The reference is e^0.1 times as likely on the first token, equal elsewhere.
    reference = logprobs + torch.tensor([0.1, 0.0, 0.0])
    k3 = math.exp(0.1) - 0.1 - 1

    loss, sums = policy_loss(logprobs, reference, batch, ObjectiveConfig(kl_coef=0.5), MAX_TOKENS)

    response_0 = ((1.2 * 2 - 0.5 * k3) + 1.0 * 2) / 2
    response_1 = -0.8
    assert loss.item() == pytest.approx(-(response_0 + response_1), abs=1e-9)
    assert sums.kl == pytest.approx(k3)
    assert sums.clipped == 2
    assert (sums.tokens, sums.responses) == (3, 2)


def test_gradient_is_the_policy_gradient_where_nothing_is_clipped():
    batch = loss_batch([-1.0, -2.0, -3.0], [0, 0, 1], [2.0, -1.0])
    logprobs = batch.old_logprobs.clone().requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)
    loss.backward()

    assert logprobs.grad.tolist() == pytest.approx([-1.0, -1.0, 1.0])


def test_clipped_tokens_have_no_gradient():
    batch = loss_batch([-1.0, -1.0], [0, 1], [1.0, -1.0])
    ratios = torch.tensor([1.3, 0.7], dtype=torch.float64)
    logprobs = (batch.old_logprobs + ratios.log()).requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)
    loss.backward()

    assert logprobs.grad.tolist() == [0.0, 0.0]


def test_mismatch_counts_only_tokens_of_the_current_version():
    batch = loss_batch([-1.0, -1.0, -1.0], [0, 0, 0], [0.0], current=[True, True, False])
    logprobs = batch.old_logprobs + torch.tensor([0.2, -0.1, 5.0])

    _, sums = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)

    assert sums.mismatch_tokens == 2
    assert sums.mismatch_abs == pytest.approx(0.3)
    expected = (math.exp(0.2) - 0.2 - 1) + (math.exp(-0.1) + 0.1 - 1)
    assert sums.mismatch_kl == pytest.approx(expected)


def test_sums_of_batches_add_up():
    sums = LossSums(loss=1.0, tokens=2.0)
    sums.add(LossSums(loss=0.5, tokens=3.0, kl=1.0))

    assert (sums.loss, sums.tokens, sums.kl) == (1.5, 5.0, 1.0)


def test_its_line_says_what_holds():
    line = ObjectiveConfig(preset="dapo", kl_coef=0.01).line()

    assert line == (
        "preset=dapo ratio=token clip_low=0.2 clip_high=0.28 surrogate=ppo dual_clip=off "
        "aggregate=token_mean mask_truncated=off kl=k3 kl_coef=0.01 kl_clamp=off "
        "advantage=per_order per_order_weight=0.5 baseline=mean normalise=population "
        "advantage_eps=1e-06 old_logprobs=sampler importance_cap=off importance_floor=off "
        "importance_level=token importance_outside=truncate importance_normalise=off"
    )
