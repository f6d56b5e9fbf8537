"""Advantages and the loss against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from services.trainer.advantages import group_advantages
from services.trainer.loss import LossSums, normaliser, policy_loss
from services.trainer.packing import PackedBatch
from shared.config import ObjectiveConfig
from shared.config.objective import PRESETS

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
    with pytest.raises(ValueError, match="set old_logprobs: trainer"):
        ObjectiveConfig(importance_cap=2.0)


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

    loss, sums = policy_loss(logprobs, reference, batch, ObjectiveConfig(kl_coef=0.5), MAX_TOKENS)

    response_0 = ((1.2 * 2 - 0.5 * k3) + 1.0 * 2) / 2
    response_1 = -0.8
    assert loss.item() == pytest.approx(-(response_0 + response_1), abs=1e-9)
    assert sums.kl == pytest.approx(k3)
    assert sums.clipped == 2
    assert (sums.tokens, sums.responses) == (3, 2)


def test_gradient_is_the_policy_gradient_where_nothing_is_clipped():
    batch = _batch([-1.0, -2.0, -3.0], [0, 0, 1], [2.0, -1.0])
    logprobs = batch.old_logprobs.clone().requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)
    loss.backward()

    assert logprobs.grad.tolist() == pytest.approx([-1.0, -1.0, 1.0])


def test_clipped_tokens_have_no_gradient():
    batch = _batch([-1.0, -1.0], [0, 1], [1.0, -1.0])
    ratios = torch.tensor([1.3, 0.7], dtype=torch.float64)
    logprobs = (batch.old_logprobs + ratios.log()).requires_grad_()

    loss, _ = policy_loss(logprobs, None, batch, ObjectiveConfig(kl_coef=0.0), MAX_TOKENS)
    loss.backward()

    assert logprobs.grad.tolist() == [0.0, 0.0]


def test_mismatch_counts_only_tokens_of_the_current_version():
    batch = _batch([-1.0, -1.0, -1.0], [0, 0, 0], [0.0], current=[True, True, False])
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


def _reference_loss(logprobs, reference, sampler, proximal, lengths, advantages, preset, switches):
    """The objectives as docs/objectives.md writes them, one response and one token at a time."""
    total, token = 0.0, 0
    for length, advantage in zip(lengths, advantages, strict=True):
        tokens = range(token, token + length)
        token += length
        old = proximal if proximal is not None else sampler
        ratios = [math.exp(logprobs[t] - old[t]) for t in tokens]
        if preset == "gspo":
            ratios = [math.prod(ratios) ** (1 / length)] * length
        gains = []
        for t, ratio in zip(tokens, ratios, strict=True):
            low, high = switches["clip"]
            gain = min(ratio * advantage, min(max(ratio, low), high) * advantage)
            if preset == "perl_code" and advantage < 0:
                gain = max(gain, 3.0 * advantage)
            if proximal is not None and switches["cap"] is not None:
                gain *= min(math.exp(proximal[t] - sampler[t]), switches["cap"])
            d = reference[t] - logprobs[t]
            kl = {"k1": -d, "k2": d * d / 2, "k3": math.exp(d) - d - 1}[switches["kl"]]
            gains.append(gain - switches["beta"] * kl)
        if preset in ("perl", "grpo", "gspo"):
            total += sum(gains) / length
        elif preset == "dr_grpo":
            total += sum(gains) / MAX_TOKENS
        else:
            total += sum(gains)
    divisor = sum(lengths) if preset in ("perl_code", "dapo") else len(lengths)
    return -total / divisor


NUMBERS = {
    "perl": ((0.8, 1.2), 0.01),
    "perl_code": ((0.8, 1.2), 0.01),
    "grpo": ((0.8, 1.2), 0.04),
    "dr_grpo": ((0.8, 1.2), 0.0),
    "dapo": ((0.8, 1.28), 0.0),
    "gspo": ((1 - 3e-4, 1 + 4e-4), 0.0),
    "rloo": ((0.0, math.inf), 0.0),
}
"""Bounds of the ratio and weight of the KL of each preset, once more."""


def _random(seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, size=7).tolist()
    count = sum(lengths)
    sampler = -rng.exponential(1.0, count)
    # Ratios on both sides of every bound, the dual clip's 3 among them.
    logprobs = sampler + rng.normal(0.0, 0.8, count)
    reference = logprobs + rng.normal(0.0, 0.3, count)
    proximal = sampler + rng.normal(0.0, 0.2, count)
    return lengths, sampler, logprobs, reference, proximal, rng.normal(0.0, 1.0, 7)


def _ours(lengths, sampler, logprobs, reference, proximal, advantages, objective):
    response = [number for number, length in enumerate(lengths) for _ in range(length)]
    batch = _batch(sampler.tolist(), response, advantages.tolist())
    trained = torch.tensor(logprobs, requires_grad=True)
    wants = objective.kl_coef > 0
    loss, _ = policy_loss(
        trained,
        torch.tensor(reference) if wants else None,
        batch,
        objective,
        MAX_TOKENS,
        None if proximal is None else torch.tensor(proximal),
    )
    loss = loss / normaliser(float(len(lengths)), float(sum(lengths)), objective)
    loss.backward()
    return loss.item(), trained.grad.numpy()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize(
    ("kl", "cap", "own"), [("k3", None, False), ("k1", None, True), ("k2", 1.1, True)]
)
def test_each_preset_is_its_formula(preset, seed, kl, cap, own):
    lengths, sampler, logprobs, reference, proximal, advantages = _random(seed)
    proximal = proximal if own else None
    clip, beta = NUMBERS[preset]
    objective = ObjectiveConfig(
        preset=preset,
        kl=kl,
        importance_cap=cap,
        old_logprobs="trainer" if own else "sampler",
    )
    assert objective.kl_coef == beta

    def expected(values):
        return _reference_loss(
            values,
            reference,
            sampler,
            proximal,
            lengths,
            advantages,
            preset,
            {"clip": clip, "beta": beta, "kl": kl, "cap": cap},
        )

    loss, gradient = _ours(lengths, sampler, logprobs, reference, proximal, advantages, objective)

    assert loss == pytest.approx(expected(logprobs), abs=1e-6)
    step = 1e-6
    for token in range(len(logprobs)):
        moved = np.zeros_like(logprobs)
        moved[token] = step
        slope = (expected(logprobs + moved) - expected(logprobs - moved)) / (2 * step)
        assert gradient[token] == pytest.approx(slope, abs=1e-6)


def test_its_line_says_what_holds():
    line = ObjectiveConfig(preset="dapo", kl_coef=0.01).line()

    assert line == (
        "preset=dapo ratio=token clip_low=0.2 clip_high=0.28 dual_clip=off aggregate=token_mean "
        "kl=k3 kl_coef=0.01 advantage=per_order per_order_weight=0.5 baseline=mean "
        "normalise=population advantage_eps=1e-06 old_logprobs=sampler importance_cap=off"
    )
