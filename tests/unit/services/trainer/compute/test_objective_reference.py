"""From rewards to gradient, through packing, against the reference: presets and any switches."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from services.trainer.compute.advantages import group_advantages
from services.trainer.compute.importance import importance_weights, mean_terms
from services.trainer.compute.loss import LossSums, normaliser, policy_loss
from services.trainer.compute.packing import (
    PackedBatch,
    PackedResponse,
    PreparedGroup,
    PreparedOrder,
    pack,
)
from shared.config import ObjectiveConfig
from shared.config.objective import PRESETS
from tests.unit.services.trainer.compute.objective_reference import (
    Answer,
    Outcome,
    Switches,
    advantages,
    objective,
)

MAX_TOKENS = 16
EXACT = {"rel": 1e-6, "abs": 1e-6}

PRESET_SWITCHES: dict[str, Switches] = {
    "perl": Switches("pooled", "population", "response_mean", 0.8, 1.2, 0.01),
    "perl_code": Switches("pooled", "sample", "token_mean", 0.8, 1.2, 0.01, dual=3.0, kl_most=10.0),
    "grpo": Switches("per_order", "population", "response_mean", 0.8, 1.2, 0.04),
    "dr_grpo": Switches("per_order", "none", "constant_length", 0.8, 1.2),
    "dapo": Switches("per_order", "population", "token_mean", 0.8, 1.28),
    "gspo": Switches(
        "per_order",
        "population",
        "response_mean",
        1 - 3e-4,
        1 + 4e-4,
        sequence=True,
        proximal=True,
    ),
    "rloo": Switches("per_order", "none", "response_sum", leave_one_out=True),
    "cispo": Switches("per_order", "population", "token_mean", high=5.0, cispo=True),
}
"""Each preset from its paper, every switch of it."""


@dataclass
class Update:
    """The groups of one update: rewards by group and order, and each response's numbers."""

    rewards: list[list[list[float]]]
    answers: list[Answer]

    def expected(self, switches: Switches) -> Outcome:
        """Value and gradient by the reference."""
        found = itertools.chain(*(advantages(group, switches) for group in self.rewards))
        return objective(self.answers, list(found), switches, MAX_TOKENS)


def random_update(seed: int) -> Update:
    """Ragged throughout: groups, orders, responses and lengths; some rewards are equal.

    Ratios lie on both sides of every bound, the dual clip's 3 among them. In every other group the
    ratios are close to 1, as GSPO's narrow clip needs.
    """
    rng = np.random.default_rng(seed)
    rewards, answers = [], []
    for group in range(rng.integers(1, 4)):
        sizes = rng.integers(1, 5, size=rng.integers(1, 4))
        rewards.append([rng.choice([0.0, 0.1, 0.9, 1.0, 1.3], size).tolist() for size in sizes])
        for _ in range(sizes.sum()):
            length, spread = int(rng.integers(1, 10)), 5e-4 if group % 2 else 0.8
            # The sampler's travel as float32.
            sampler = -rng.exponential(1.0, length).astype(np.float32).astype(float)
            proximal = sampler + rng.normal(0.0, 0.2, length)
            policy = proximal + rng.normal(0.0, spread, length)
            reference = policy + rng.normal(0.0, 0.3, length)
            rows = (policy, reference, sampler, proximal)
            truncated = bool(rng.random() < 0.3)
            answers.append(Answer(*(row.tolist() for row in rows), truncated))
    return Update(rewards, answers)


def packed_outcome(update: Update, config: ObjectiveConfig, budget: int) -> tuple[Outcome, int]:
    """The trainer's own: advantages, packing into batches of `budget` tokens, loss and gradient."""
    batches = pack(list(_prepared(update, config)), budget)
    policy, reference, proximal = (
        torch.tensor(
            [value for one in update.answers for value in getattr(one, name)], dtype=torch.float64
        )
        for name in ("policy", "reference", "proximal")
    )
    policy.requires_grad_()
    responses, tokens = float(len(update.answers)), float(len(policy))
    mean_weight = _mean_weight(batches, proximal, config)
    sums, loss = LossSums(), torch.zeros((), dtype=torch.float64)
    for chunk in (chunk for batch in batches for chunk in batch.chunks):
        # Token ids number all tokens of the update: they tell where each one went.
        places, answers = chunk.targets, chunk.responses
        answers = replace(
            answers,
            old_logprobs=answers.old_logprobs.double(),
            advantages=answers.advantages.double(),
            lengths=answers.lengths.double(),
        )
        own = config.old_logprobs == "trainer"
        one, figures = policy_loss(
            policy[places],
            reference[places] if config.kl_coef > 0 else None,
            answers,
            config,
            MAX_TOKENS,
            proximal[places] if own else None,
            mean_weight,
        )
        sums.add(figures)
        loss = loss + one / normaliser(responses, tokens, config)
    loss.backward()
    assert (sums.responses, sums.tokens) == (responses, tokens)
    gradient = iter(policy.grad.tolist())
    ragged = [list(itertools.islice(gradient, len(one.policy))) for one in update.answers]
    chunks = sum(len(batch.chunks) for batch in batches)
    return Outcome(loss.item(), ragged, sums.kl, int(sums.clipped), 0), chunks


def _mean_weight(
    batches: list[PackedBatch], proximal: torch.Tensor, config: ObjectiveConfig
) -> float:
    if not config.importance_normalise:
        return 1.0
    total = count = 0.0
    for chunk in (chunk for batch in batches for chunk in batch.chunks):
        answers = replace(chunk.responses, lengths=chunk.responses.lengths.double())
        weights, _ = importance_weights(proximal[chunk.targets].double(), answers, config)
        one, several = mean_terms(weights, answers, config)
        total, count = total + one, count + several
    return total / count if total else 1.0


def _prepared(update: Update, config: ObjectiveConfig) -> Iterator[PreparedGroup]:
    answers, ids = iter(update.answers), itertools.count()
    for group in update.rewards:
        found = iter(group_advantages([np.array(order) for order in group], config))
        yield PreparedGroup(
            pixel_values=torch.zeros(0, 1),
            grid=torch.zeros(0, 3, dtype=torch.int64),
            orders=tuple(
                _order([_response(next(answers), next(found), ids) for _ in order])
                for order in group
            ),
        )


def _order(responses: list[PackedResponse]) -> PreparedOrder:
    return PreparedOrder(
        prompt_ids=np.array([7, 7, 7], dtype=np.int32),
        positions=torch.arange(3).repeat(3, 1),
        images=(),
        image_columns=np.array([], dtype=np.int64),
        responses=tuple(responses),
    )


def _response(answer: Answer, advantage: float, ids: Iterator[int]) -> PackedResponse:
    length = len(answer.sampler)
    return PackedResponse(
        token_ids=np.array(list(itertools.islice(ids, length)), dtype=np.int32),
        logprobs=np.array(answer.sampler, dtype=np.float32),
        current=np.zeros(length, dtype=bool),
        advantage=float(advantage),
        truncated=answer.truncated,
    )


def assert_equal(found: Outcome, expected: Outcome, wants_kl: bool) -> None:
    """Loss, gradient and figures to 1e-6."""
    assert found.loss == pytest.approx(expected.loss, **EXACT)
    for ours, theirs in zip(found.gradient, expected.gradient, strict=True):
        assert ours == pytest.approx(theirs, **EXACT)
    assert abs(found.clipped - expected.clipped) <= expected.idle
    if wants_kl:
        assert found.kl == pytest.approx(expected.kl, **EXACT)


def test_every_preset_is_spelled_out() -> None:
    assert PRESET_SWITCHES.keys() == PRESETS.keys()


@pytest.mark.parametrize("budget", [12, 40, 10_000])
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_its_paper_from_rewards_to_gradient(preset: str, budget: int) -> None:
    switches, config = PRESET_SWITCHES[preset], ObjectiveConfig.model_validate({"preset": preset})
    clipped = tokens = most_batches = 0
    for seed in range(25):
        update = random_update(seed)
        expected = update.expected(switches)
        found, batches = packed_outcome(update, config, budget)
        assert_equal(found, expected, switches.beta > 0)
        clipped += expected.clipped
        tokens += sum(map(len, expected.gradient))
        most_batches = max(most_batches, batches)
    assert (most_batches > 1) == (budget < 10_000), "the update is split where it has to be"
    assert 0 < clipped < tokens or preset == "rloo", "both sides of the clip are met"


@st.composite
def any_switches(draw: st.DrawFn) -> tuple[Switches, ObjectiveConfig]:
    """A combination of switches, none of them from a preset, in both spellings."""
    low, high = (draw(st.sampled_from([None, 3e-4, 0.2, 0.28])) for _ in range(2))
    proximal, cispo = draw(st.booleans()), draw(st.booleans())
    cap = draw(st.sampled_from([None, 0.9, 1.1, 2.0])) if proximal else None
    floor = draw(st.sampled_from([None, 0.5, 0.8])) if proximal else None
    weighted = cap is not None or floor is not None
    # Without a bound there is nothing to choose.
    whole, reject, share_out = (draw(st.booleans()) and weighted for _ in range(3))
    switches = Switches(
        advantage=draw(st.sampled_from(["pooled", "per_order", "two_level"])),
        normalise=draw(st.sampled_from(["population", "sample", "none"])),
        aggregate=draw(
            st.sampled_from(["response_mean", "token_mean", "constant_length", "response_sum"])
        ),
        low=None if low is None else 1 - low,
        high=None if high is None else 1 + high,
        beta=draw(st.sampled_from([0.0, 0.01, 0.5])),
        kl=draw(st.sampled_from(["k1", "k2", "k3"])),
        sequence=draw(st.booleans()),
        dual=None if cispo else draw(st.sampled_from([None, 1.5, 3.0])),
        leave_one_out=draw(st.booleans()),
        own_weight=draw(st.floats(0, 1)),
        eps=draw(st.sampled_from([1e-6, 1e-3])),
        proximal=proximal,
        cap=cap,
        floor=floor,
        whole=whole,
        reject=reject,
        share_out=share_out,
        cispo=cispo,
        kl_most=draw(st.sampled_from([None, 0.02, 10.0])),
        skip_truncated=draw(st.booleans()),
    )
    keys: dict[str, Any] = {
        # Where the other keys come from must not matter once all are written.
        "preset": draw(st.sampled_from(sorted(PRESETS))),
        "clip_low": low,
        "clip_high": high,
        "ratio": "sequence" if switches.sequence else "token",
        "surrogate": "cispo" if cispo else "ppo",
        "dual_clip": switches.dual,
        "aggregate": switches.aggregate,
        "mask_truncated": switches.skip_truncated,
        "kl": switches.kl,
        "kl_coef": switches.beta,
        "kl_clamp": switches.kl_most,
        "advantage": switches.advantage,
        "per_order_weight": switches.own_weight,
        "baseline": "leave_one_out" if switches.leave_one_out else "mean",
        "normalise": switches.normalise,
        "advantage_eps": switches.eps,
        "old_logprobs": "trainer" if proximal else "sampler",
        "importance_cap": cap,
        "importance_floor": floor,
        "importance_level": "sequence" if whole else "token",
        "importance_outside": "mask" if reject else "truncate",
        "importance_normalise": share_out,
    }
    assert keys.keys() == ObjectiveConfig.model_fields.keys()
    return switches, ObjectiveConfig.model_validate(keys)


@pytest.mark.slow
@given(any_switches(), st.integers(0, 2**32), st.sampled_from([12, 40, 10_000]))
@settings(derandomize=True, max_examples=400, deadline=None)
def test_any_combination_of_switches_is_its_formula(
    both: tuple[Switches, ObjectiveConfig], seed: int, budget: int
) -> None:
    switches, config = both
    update = random_update(seed)
    found, _ = packed_outcome(update, config, budget)
    assert_equal(found, update.expected(switches), switches.beta > 0)


KINDS = list(
    itertools.product(
        ("k1", "k2", "k3"),
        ("response_mean", "token_mean"),
        (None, 1.1),
        ("pooled", "per_order", "two_level"),
    )
)


@pytest.mark.parametrize(("kl", "aggregate", "cap", "advantage"), KINDS)
def test_estimators_means_corrections_and_advantages_in_all_pairings(
    kl: Any, aggregate: Any, cap: float | None, advantage: Any
) -> None:
    switches = Switches(
        advantage, "population", aggregate, 0.8, 1.2, 0.1, kl, proximal=True, cap=cap
    )
    config = ObjectiveConfig(
        kl=kl,
        aggregate=aggregate,
        importance_cap=cap,
        advantage=advantage,
        kl_coef=0.1,
        old_logprobs="trainer",
    )
    for seed in range(5):
        update = random_update(seed)
        found, _ = packed_outcome(update, config, 40)
        assert_equal(found, update.expected(switches), wants_kl=True)
