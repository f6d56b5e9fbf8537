"""Numbers that float32 cannot hold: losses and gradients stay finite, or no update applies them."""

import math

import pytest
import torch

from services.trainer.compute.importance import importance_weights
from services.trainer.compute.loss import policy_loss
from shared.config import ObjectiveConfig
from shared.config.objective import PRESETS
from tests.unit.services.trainer.compute.loss_batches import loss_batch

MAX_TOKENS = 50
TRAINER = {"old_logprobs": "trainer", "importance_cap": 2.0}


def outcome(objective: ObjectiveConfig, log_ratio: float, advantage: float = 1.0):
    """Loss, gradient and figures of a response of an ordinary token and one with `log_ratio`."""
    # float32, as in training: there the exponential of 89 is infinite.
    old = [-1.0, -1.0 - log_ratio]
    batch = loss_batch(old, [0, 0], [advantage], [True, True], dtype=torch.float32)
    logprobs = torch.tensor([-1.0, -1.0], requires_grad=True)
    proximal = logprobs.detach() if objective.old_logprobs == "trainer" else None
    loss, figures = policy_loss(
        logprobs, torch.tensor([-1.1, -1.1]), batch, objective, MAX_TOKENS, proximal
    )
    loss.backward()
    return loss.item(), logprobs.grad.tolist(), figures


def test_the_exponential_of_89_has_a_nan_gradient_behind_a_clip():
    """What the bound is for: the plain formula, whose loss looks sound."""
    log_ratio = torch.tensor([89.0], requires_grad=True)
    ratio = log_ratio.exp()
    gain = torch.minimum(ratio * 1.0, ratio.clamp(0.8, 1.2) * 1.0)
    gain.sum().backward()
    assert gain.item() == pytest.approx(1.2)
    assert math.isnan(log_ratio.grad.item())


@pytest.mark.parametrize("log_ratio", [88.0, 89.0, 119.0, 1e4, -89.0, -1e4])
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_every_preset_has_finite_gradients_at_any_log_ratio(preset, log_ratio, advantage):
    for more in ({}, TRAINER):
        objective = ObjectiveConfig(preset=preset, **more)
        loss, gradient, figures = outcome(objective, log_ratio, advantage)
        assert math.isfinite(loss)
        assert all(map(math.isfinite, gradient))
        assert all(map(math.isfinite, vars(figures).values()))


@pytest.mark.parametrize("log_ratio", [89.0, 119.0])
def test_a_clipped_token_has_no_gradient_and_its_neighbour_keeps_its_own(log_ratio):
    loss, gradient, figures = outcome(ObjectiveConfig(kl_coef=0.0), log_ratio)
    assert loss == pytest.approx(-(1.0 + 1.2) / 2)
    assert gradient == pytest.approx([-0.5, 0.0])
    assert figures.clipped == 1


def test_ratios_are_bounded_as_in_verl():
    unclipped = {"clip_low": None, "clip_high": None, "kl_coef": 0.0}
    loss, _, _ = outcome(ObjectiveConfig(**unclipped), 119.0)
    assert loss == pytest.approx(-(1.0 + math.exp(20)) / 2)
    # GSPO: the mean over the response, 59.5, is bounded to 10 from above.
    loss, _, _ = outcome(ObjectiveConfig(ratio="sequence", **unclipped), 119.0)
    assert loss == pytest.approx(-math.exp(10))
    loss, _, _ = outcome(ObjectiveConfig(ratio="sequence", **unclipped), -119.0)
    assert loss == pytest.approx(-math.exp(-59.5))


def test_a_reference_far_away_is_bounded_before_the_exponential():
    batch = loss_batch([-1.0], [0], [0.0], dtype=torch.float32)
    logprobs = torch.tensor([-120.0], requires_grad=True)
    objective = ObjectiveConfig(kl_coef=1.0)
    loss, figures = policy_loss(logprobs, torch.tensor([-1.0]), batch, objective, MAX_TOKENS)
    loss.backward()
    assert figures.kl == pytest.approx(math.exp(20) - 21)
    assert logprobs.grad.item() == 0.0


def test_importance_weights_of_impossible_tokens_are_finite():
    batch = loss_batch([-1.0, -120.0], [0, 0], [1.0], dtype=torch.float32)
    proximal = torch.tensor([-120.0, -1.0])
    for level in ("token", "sequence"):
        switches = {"importance_floor": 1e-12, "importance_level": level}
        objective = ObjectiveConfig(old_logprobs="trainer", **switches)
        weights, _ = importance_weights(proximal, batch, objective)
        assert torch.isfinite(weights).all()


@pytest.mark.parametrize("field", ["old_logprobs", "advantages"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_has_no_finite_gradient(field, value):
    """A clamp hides NaN from the gradient: the update must be refused all the same."""
    batch = loss_batch([-1.0, -1.0], [0, 1], [1.0, -1.0], dtype=torch.float32)
    getattr(batch, field)[0] = value
    logprobs = torch.tensor([-1.0, -1.0], requires_grad=True)
    loss, figures = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)
    loss.backward()
    if math.isfinite(figures.loss):
        assert torch.isfinite(logprobs.grad).all()
    else:
        assert torch.isnan(logprobs.grad).all()
