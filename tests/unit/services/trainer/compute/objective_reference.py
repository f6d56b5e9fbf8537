"""The objectives once more, from rewards to gradient: plain Python, one token at a time, in fp64.

Written from docs/objectives.md and the papers it names, without a look at the trainer's tensors.
Gradients are derived by hand rather than by differences, so that kinks do not blur them.
"""

import math
from dataclasses import dataclass
from typing import Literal

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Switches:
    """One objective, all of it spelled out."""

    advantage: Literal["pooled", "per_order", "two_level"]
    normalise: Literal["population", "sample", "none"]
    aggregate: Literal["response_mean", "token_mean", "constant_length", "response_sum"]
    low: float | None = None
    high: float | None = None
    beta: float = 0.0
    kl: Literal["k1", "k2", "k3"] = "k3"
    sequence: bool = False
    dual: float | None = None
    leave_one_out: bool = False
    own_weight: float = 0.5
    eps: float = 1e-6
    proximal: bool = False
    cap: float | None = None
    floor: float | None = None
    whole: bool = False
    """One importance weight for a response: the product of its tokens'."""
    reject: bool = False
    """Weights beyond a bound are 0."""
    share_out: bool = False
    """Weights are divided by their mean."""
    cispo: bool = False
    kl_most: float | None = None
    skip_truncated: bool = False


@dataclass(frozen=True)
class Answer:
    """A response's log-probabilities, token by token."""

    policy: list[float]
    reference: list[float]
    sampler: list[float]
    proximal: list[float]
    truncated: bool = False


@dataclass
class Outcome:
    """Loss, its derivative by each log-probability of the policy, and what is reported."""

    loss: float
    gradient: list[list[float]]
    kl: float
    clipped: int
    idle: int
    """Tokens without an advantage but for rounding, of which either sign may count as clipped."""


def advantages(rewards: list[list[float]], switches: Switches) -> list[float]:
    """Of all responses of a group, order by order."""
    everyone = [reward for order in rewards for reward in order]
    weight = {"pooled": 0.0, "per_order": 1.0, "two_level": switches.own_weight}[switches.advantage]
    found: list[float] = []
    for order in rewards:
        for place in range(len(order)):
            own = _advantage(order, place, switches)
            pooled = _advantage(everyone, len(found), switches)
            found.append(weight * own + (1 - weight) * pooled)
    return found


def _advantage(peers: list[float], place: int, switches: Switches) -> float:
    if len(peers) == 1:
        return 0.0
    mean = math.fsum(peers) / len(peers)
    others = [one for index, one in enumerate(peers) if index != place]
    baseline = math.fsum(others) / len(others) if switches.leave_one_out else mean
    if switches.normalise == "none":
        return peers[place] - baseline
    squares = math.fsum((one - mean) ** 2 for one in peers)
    count = len(peers) if switches.normalise == "population" else len(peers) - 1
    return (peers[place] - baseline) / (math.sqrt(squares / count) + switches.eps)


def objective(
    answers: list[Answer], advantage: list[float], switches: Switches, max_tokens: int
) -> Outcome:
    """The loss of one update that is made of these responses."""
    tokens = sum(len(one.policy) for one in answers)
    outcome = Outcome(0.0, [], 0.0, 0, 0)
    weights = [_weights(one, switches) for one in answers]
    if switches.share_out:
        counted = [one[:1] if switches.whole else one for one in weights]
        mean = math.fsum(map(math.fsum, counted)) / sum(map(len, counted)) or 1.0
        weights = [[one / mean for one in several] for several in weights]
    for answer, value, several in zip(answers, advantage, weights, strict=True):
        length = len(answer.policy)
        share = {
            "response_mean": 1 / length / len(answers),
            "token_mean": 1 / tokens,
            "constant_length": 1 / max_tokens / len(answers),
            "response_sum": 1 / len(answers),
        }[switches.aggregate]
        outcome.idle += length if abs(value) < _ROUNDING else 0
        _add_response(outcome, answer, value, share, several, switches)
    return outcome


def _weights(answer: Answer, switches: Switches) -> list[float]:
    """The importance weight of each token."""
    logs = [new - then for new, then in zip(answer.proximal, answer.sampler, strict=True)]
    if not switches.proximal or (switches.cap is None and switches.floor is None):
        return [1.0] * len(logs)
    if switches.whole:
        logs = [math.fsum(logs)] * len(logs)
    return [_bounded(math.exp(log), switches) for log in logs]


def _bounded(weight: float, switches: Switches) -> float:
    above = switches.cap is not None and weight > switches.cap
    below = switches.floor is not None and weight < switches.floor
    if switches.reject and (above or below):
        return 0.0
    if above:
        return switches.cap
    return switches.floor if below else weight


def _add_response(
    outcome: Outcome,
    answer: Answer,
    advantage: float,
    share: float,
    weights: list[float],
    switches: Switches,
) -> None:
    length = len(answer.policy)
    if switches.skip_truncated and answer.truncated:
        share = 0.0
    old = answer.proximal if switches.proximal else answer.sampler
    logs = [new - then for new, then in zip(answer.policy, old, strict=True)]
    if switches.sequence:
        logs = [math.fsum(logs) / length] * length
    gradient, shared = [0.0] * length, 0.0
    for t, (log, weight) in enumerate(zip(logs, weights, strict=True)):
        gain, slope, clipped = _gain(math.exp(log), advantage, switches)
        if switches.cispo:
            # Of the token's own log-probability, whatever the ratio is of.
            gain, slope, clipped = _cispo(math.exp(log), answer.policy[t], advantage, switches)
        kl, kl_slope = _kl(answer.policy[t], answer.reference[t], switches.kl)
        if switches.kl_most is not None and abs(kl) > switches.kl_most:
            kl, kl_slope = math.copysign(switches.kl_most, kl), 0.0
        outcome.loss -= share * (weight * gain - switches.beta * kl)
        outcome.kl += kl
        outcome.clipped += clipped
        gradient[t] += share * switches.beta * kl_slope
        if switches.sequence and not switches.cispo:
            shared -= share * weight * slope / length
        else:
            gradient[t] -= share * weight * slope
    outcome.gradient.append([one + shared for one in gradient])


def _gain(ratio: float, advantage: float, switches: Switches) -> tuple[float, float, bool]:
    """A token's gain, its derivative by the logarithm of the ratio, and whether it was clipped."""
    bounded = ratio
    if switches.low is not None:
        bounded = max(bounded, switches.low)
    if switches.high is not None:
        bounded = min(bounded, switches.high)
    clipped = bounded * advantage < ratio * advantage
    gain = bounded * advantage if clipped else ratio * advantage
    if switches.dual is not None and advantage < 0 and gain < switches.dual * advantage:
        return switches.dual * advantage, 0.0, True
    return gain, 0.0 if clipped else ratio * advantage, clipped


def _cispo(
    ratio: float, log: float, advantage: float, switches: Switches
) -> tuple[float, float, bool]:
    low = -math.inf if switches.low is None else switches.low
    high = math.inf if switches.high is None else switches.high
    weight = min(max(ratio, low), high)
    return weight * advantage * log, weight * advantage, weight != ratio


def _kl(policy: float, reference: float, estimate: str) -> tuple[float, float]:
    """The estimate of KL(policy || reference) at one token, and its derivative by the policy's."""
    ratio = math.exp(reference - policy)
    if estimate == "k1":
        return policy - reference, 1.0
    if estimate == "k2":
        return (policy - reference) ** 2 / 2, policy - reference
    return ratio - 1 + (policy - reference), 1 - ratio
