"""Corrections of the mismatch between sampler and trainer, and CISPO, worked by hand.

``test_objective_reference.py`` holds any combination of them to a reference in fp64.
"""

import math

import pytest
import torch

from services.trainer.compute.importance import importance_weights, mean_terms
from services.trainer.compute.loss import policy_loss
from shared.config import ObjectiveConfig
from tests.unit.services.trainer.compute.loss_batches import loss_batch

MAX_TOKENS = 50
# Response 0 has the weights 2 and 3, response 1 the weights 0.5 and 0.25.
WEIGHTS = [2.0, 3.0, 0.5, 0.25]


def corrected(**switches: object) -> ObjectiveConfig:
    return ObjectiveConfig(old_logprobs="trainer", kl_coef=0.0, **switches)


def loss_and_gradient(objective: ObjectiveConfig, mean_weight: float = 1.0):
    """At the first update: the policy is still the proximal one, so every ratio is 1."""
    batch = loss_batch([-1.0, -2.0, -3.0, -4.0], [0, 0, 1, 1], [1.0, -2.0])
    proximal = batch.old_logprobs + torch.tensor(WEIGHTS, dtype=torch.float64).log()
    logprobs = proximal.clone().requires_grad_()
    loss, figures = policy_loss(
        logprobs, None, batch, objective, MAX_TOKENS, proximal, mean_weight=mean_weight
    )
    loss.backward()
    return loss.item(), logprobs.grad.tolist(), figures


@pytest.mark.parametrize(
    ("switches", "weights", "outside"),
    [
        # Truncated importance sampling of each token: min(w, 2.5).
        ({"importance_cap": 2.5}, [2, 2.5, 0.5, 0.25], 1),
        # Both bounds.
        ({"importance_cap": 2.5, "importance_floor": 0.4}, [2, 2.5, 0.5, 0.4], 2),
        ({"importance_floor": 0.4}, [2, 3, 0.5, 0.4], 1),
        # IcePop: a weight beyond the bounds is 0.
        (
            {"importance_cap": 2.5, "importance_floor": 0.4, "importance_outside": "mask"},
            [2, 0, 0.5, 0],
            2,
        ),
        # The products are 6 and 0.125. Truncated at the level of the sequence:
        ({"importance_cap": 5.0, "importance_level": "sequence"}, [5, 5, 0.125, 0.125], 2),
        # and rejected (masked importance sampling).
        (
            {"importance_cap": 5.0, "importance_level": "sequence", "importance_outside": "mask"},
            [0, 0, 0.125, 0.125],
            2,
        ),
    ],
    ids=["tis", "both bounds", "floor", "icepop", "sequence tis", "sequence mis"],
)
def test_importance_weights_worked_by_hand(switches, weights, outside):
    loss, gradient, figures = loss_and_gradient(corrected(**switches))

    # Means over two tokens; advantages 1 and -2, so each token of response 1 counts twice, negated.
    w = weights
    assert loss == pytest.approx(-(w[0] + w[1]) / 2 + (w[2] + w[3]))
    assert gradient == pytest.approx([-w[0] / 2, -w[1] / 2, w[2], w[3]])
    assert figures.importance == pytest.approx(sum(weights))
    assert figures.importance_outside == outside


def test_the_mean_that_weights_are_divided_by():
    batch = loss_batch([-1.0, -2.0, -3.0], [0, 0, 1], [1.0, -2.0])
    proximal = batch.old_logprobs + torch.tensor([2.0, 3.0, 0.5], dtype=torch.float64).log()
    by_token = corrected(importance_cap=2.5, importance_normalise=True)
    weights, _ = importance_weights(proximal, batch, by_token)
    # 2 + 2.5 + 0.5, after the cap, over three tokens.
    assert mean_terms(weights, batch, by_token) == pytest.approx((5.0, 3.0))

    by_sequence = by_token.model_copy(update={"importance_level": "sequence"})
    weights, _ = importance_weights(proximal, batch, by_sequence)
    # 6, capped to 2.5, and 0.5, over two responses, however long.
    assert mean_terms(weights, batch, by_sequence) == pytest.approx((3.0, 2.0))


def test_normalised_weights_are_divided_by_their_mean():
    objective = corrected(importance_cap=2.5, importance_normalise=True)
    plain, gradient, _ = loss_and_gradient(corrected(importance_cap=2.5))
    divided, smaller, _ = loss_and_gradient(objective, mean_weight=1.3125)
    assert divided == pytest.approx(plain / 1.3125)
    assert smaller == pytest.approx([one / 1.3125 for one in gradient])


def test_importance_weights_do_not_multiply_the_kl():
    objective = ObjectiveConfig(
        old_logprobs="trainer", importance_cap=0.5, importance_outside="mask", kl_coef=0.5
    )
    batch = loss_batch([-1.0], [0], [1.0])
    logprobs = batch.old_logprobs.clone()
    reference = logprobs + 0.1
    loss, _ = policy_loss(logprobs, reference, batch, objective, MAX_TOKENS, logprobs)
    # The gain is masked, its KL is not: TRL's and verl's order.
    assert loss.item() == pytest.approx(0.5 * (math.exp(0.1) - 0.1 - 1))


@pytest.mark.parametrize("aggregate", ["response_mean", "token_mean"])
def test_truncated_responses_add_nothing_but_count(aggregate):
    objective = ObjectiveConfig(mask_truncated=True, aggregate=aggregate, kl_coef=0.5)
    batch = loss_batch([-1.0, -2.0, -3.0], [0, 0, 1], [1.0, -2.0], truncated=[True, False])
    logprobs = batch.old_logprobs.clone().requires_grad_()
    loss, figures = policy_loss(logprobs, logprobs.detach() + 0.1, batch, objective, MAX_TOKENS)
    loss.backward()
    k3 = math.exp(0.1) - 0.1 - 1
    assert loss.item() == pytest.approx(2.0 + 0.5 * k3)
    assert logprobs.grad.tolist() == pytest.approx([0.0, 0.0, 2.0 + 0.5 * (1 - math.exp(0.1))])
    # The divisors of both means.
    assert (figures.responses, figures.tokens) == (2, 3)


def test_cispo_keeps_the_gradient_of_clipped_tokens():
    # Ratios 8 (weight 5), 2 and 0.5, whose lower side is open.
    objective = ObjectiveConfig(preset="cispo")
    batch = loss_batch([-3.0, -2.0, -1.0], [0, 0, 1], [1.0, -2.0])
    ratios = torch.tensor([8.0, 2.0, 0.5], dtype=torch.float64)
    logprobs = (batch.old_logprobs + ratios.log()).requires_grad_()
    loss, figures = policy_loss(logprobs, None, batch, objective, MAX_TOKENS)
    loss.backward()
    first, second, third = logprobs.tolist()
    assert loss.item() == pytest.approx(-(5 * first + 2 * second) + 2 * 0.5 * third)
    assert logprobs.grad.tolist() == pytest.approx([-5.0, -2.0, 1.0])
    assert figures.clipped == 1


def test_a_kl_estimate_is_clamped_where_asked_for():
    # verl's low_var_kl: the difference to +-20, the value to 10; e^3 - 3 - 1 is 16.1.
    batch = loss_batch([-5.0, -5.0], [0, 0], [0.0])
    logprobs = batch.old_logprobs.clone().requires_grad_()
    reference = logprobs.detach() + torch.tensor([3.0, 1.0])
    objective = ObjectiveConfig(preset="perl_code", kl_coef=1.0)
    loss, figures = policy_loss(logprobs, reference, batch, objective, MAX_TOKENS)
    loss.backward()
    assert figures.kl == pytest.approx(10 + math.e - 2)
    assert loss.item() == pytest.approx(figures.kl)
    assert logprobs.grad.tolist() == pytest.approx([0.0, 1 - math.e])


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"importance_cap": 2.0}, "importance_cap needs old_logprobs: trainer"),
        ({"importance_floor": 0.5}, "importance_floor needs old_logprobs: trainer"),
        (
            {"importance_cap": 0.5, "importance_floor": 0.5, "old_logprobs": "trainer"},
            r"importance_floor \(0.5\) must be less than importance_cap \(0.5\)",
        ),
        ({"importance_level": "sequence"}, "importance_level needs importance_cap or"),
        ({"importance_outside": "mask"}, "importance_outside needs importance_cap or"),
        ({"importance_normalise": True}, "importance_normalise needs importance_cap or"),
        ({"preset": "cispo", "dual_clip": 3.0}, "leave it out with surrogate: cispo"),
        ({"kl_clamp": math.inf}, "finite"),
        ({"kl_coef": math.nan}, "finite"),
    ],
)
def test_switches_that_mean_nothing_are_refused(switches, message):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**switches)
