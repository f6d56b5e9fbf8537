"""NoisyRollout, PODS and the consistency reward together: real vLLM, Redis and two DeepSpeed ranks.

The demo's taught model answers noisy and clean pictures. What each signal did is worked out once
more from the groups as the reward node saw them, and compared with what the run reports.
"""

import hashlib
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from perl_rl.launch.start_times import ALL, PARTS, last_start
from services.trainer.plan.augmentation import distorted
from tests.integration.signals_run import (
    GROUPS,
    KEEP,
    STEPS,
    STRENGTH,
    WEIGHT,
    Group,
    N,
    SignalsRun,
)

pytestmark = pytest.mark.timeout(600)

RESPONSES = 2 * N
WORDS = ("first", "second", "third", "fourth")


@pytest.fixture(scope="module")
def results(signals_run: SignalsRun) -> SignalsRun:
    """What the run left behind."""
    return signals_run


def test_the_run_did_all_its_steps_on_two_ranks(results: SignalsRun) -> None:
    summary, counts = results.summary, results.summary["groups"]
    assert (summary["outcome"], summary["steps"]) == ("done", STEPS)
    assert counts["trained"] == STEPS * GROUPS
    assert counts["issued"] == counts["trained"] + sum(counts["dropped"].values())
    assert counts["in_flight"] == 0
    (checkpoint,) = (results.folder / "checkpoints").glob("step-*")
    assert list(checkpoint.rglob("*zero_pp_rank_1_*")), "the second rank's share of the optimizer"
    settled = json.loads((checkpoint / "state.json").read_text())["settled"]
    for row in results.metrics:
        assert {settled[name] for name in row["groups"]} == {f"trained:{row['step']}"}
        assert math.isfinite(row["loss"]) and row["grad_norm"] > 0
    (node,) = (one for one in summary["nodes"] if one["kind"] == "rollout")
    assert node["version"].endswith(f".{STEPS}"), "the engine took the last weights"


def test_the_next_launch_knows_how_long_each_part_took_to_start(results: SignalsRun) -> None:
    times = last_start(results.folder, "signals-test")
    assert times.keys() == {ALL, *PARTS}
    assert all(0 < times[part] <= times[ALL] for part in PARTS)


def test_half_of_the_orders_are_sampled_with_noise_that_fades(results: SignalsRun) -> None:
    strengths = set()
    for row, groups in zip(results.metrics, results.trained(), strict=True):
        found = [_strength(group, results) for group in groups]
        assert row["noisy_orders"] == sum(strength > 0 for strength in found)
        strengths.update(found)
    assert len(strengths - {0.0}) > 1, "the noise fades from step to step"
    # Before the first update engine and trainer are the same model, and equal ratios would cancel
    # out in the loss: what is left of it comes from the clean pictures that the trainer saw. The
    # mismatch leaves the noisy orders out.
    first = results.metrics[0]
    assert 3 * first["logprob_mismatch_abs"] < abs(first["loss"])


def _strength(group: Group, results: SignalsRun) -> float:
    """The strength of a group's noise, after a check of its pictures; 0 when it has none."""
    # Group i is meant for step i // GROUPS; a dropped group makes way for a later one.
    strength = STRENGTH * max(0.0, 1 - int(group["group"][1:]) // GROUPS / STEPS)
    noisy = [order for order in group["orders"] if order["clean_images"]]
    clean = [order for order in group["orders"] if not order["clean_images"]]
    assert len(noisy) == (1 if strength > 0 else 0), "half of two orders"
    for order in noisy:
        assert _original(order, "clean_images") == _original(clean[0], "images")
        assert order["images"] == [
            _noisy(results.pictures[name], strength, order["seed"], name)
            for name in order["clean_images"]
        ]
    return strength


def _original(order: dict[str, Any], key: str) -> list[str]:
    """An order's images in the sample's own order."""
    return [order[key][order["permutation"].index(i)] for i in range(len(order["permutation"]))]


def _noisy(file: Path, strength: float, seed: int, name: str) -> str:
    with Image.open(file) as picture:
        data = distorted(picture.convert("RGB"), strength, seed, name)
    return hashlib.sha256(data).hexdigest()


def test_rewards_hold_the_agreement_between_orders(results: SignalsRun) -> None:
    seen = set()
    for row, groups in zip(results.metrics, results.trained(), strict=True):
        totals = []
        for group in groups:
            for response, agreement in zip(_responses(group), _agreement(group), strict=True):
                own = 0.9 * response["accuracy"] + 0.1 * response["format"]
                assert response["total"] == pytest.approx(own + WEIGHT * agreement)
                totals.append(response["total"])
                seen.add(agreement)
        assert row["reward"] == pytest.approx(np.mean(totals))
    assert len(seen) > 2, "some answers agree, some do not, some with a part"


def _responses(group: Group) -> list[dict[str, Any]]:
    return [one for order in group["orders"] for one in order["responses"]]


def _agreement(group: Group) -> list[float]:
    """PA-GRPO's consistency, from the images that the answers mean."""
    meant = [
        [_meaning(one["extracted"], order) for one in order["responses"]]
        for order in group["orders"]
    ]
    found = []
    for number, answers in enumerate(meant):
        others = Counter(itertools.chain(*meant[:number], *meant[number + 1 :]))
        found += [0.0 if one is None else others[one] / others.total() for one in answers]
    return found


def _meaning(answer: str | None, order: dict[str, Any]) -> str | int | None:
    """The original index of the image that an answer names, or what else it says."""
    names = {"letter": "ABCD", "position": WORDS}.get(order["rule"], ())
    if answer in list(names)[: len(order["permutation"])]:
        return int(order["permutation"][list(names).index(answer)])
    return answer


def test_only_the_responses_that_vary_most_are_trained(results: SignalsRun) -> None:
    assert results.summary["samples_trained"] == STEPS * GROUPS * KEEP
    assert results.summary["samples_generated"] == STEPS * GROUPS * RESPONSES
    told = 0
    for row, groups in zip(results.metrics, results.trained(), strict=True):
        assert (row["samples"], row["samples_generated"]) == (GROUPS * KEEP, GROUPS * RESPONSES)
        sampled = sum(one["tokens"] for group in groups for one in _responses(group))
        assert row["generated_tokens"] == sampled
        # Equal rewards leave several best subsets; the log-probabilities tell which was trained.
        best = [_best_subsets(group) for group in groups]
        told += sum(len(one) < math.comb(RESPONSES, KEEP) for one in best)
        possible = [np.add(*pair) for pair in itertools.product(*best)]
        trained = [row["trained_tokens"], row["entropy"] * row["trained_tokens"]]
        assert any(np.allclose(trained, one, rtol=1e-4) for one in possible), (trained, possible)
    assert told > 0, "at least one group has subsets that vary less"


def _best_subsets(group: Group) -> set[tuple[int, float]]:
    """Tokens and summed surprise of each subset of KEEP responses with the largest variance."""
    subsets = list(itertools.combinations(_responses(group), KEEP))
    spread = [float(np.var([one["total"] for one in subset])) for subset in subsets]
    return {
        (sum(one["tokens"] for one in subset), sum(one["surprise"] for one in subset))
        for subset, variance in zip(subsets, spread, strict=True)
        if variance > max(spread) - 1e-12
    }
