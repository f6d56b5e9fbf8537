"""Stage ``balance``: draw samples so that their pass rates have the target's histogram.

Samples are drawn without replacement, so the scarcest bin bounds the size unless one is given.
"""

import random
from collections.abc import Mapping, Sequence
from fractions import Fraction

from perl_rl.data.config import BalanceSettings
from perl_rl.data.histogram import PAPER, TENTHS, bin_name, bin_of, histogram, mean
from perl_rl.data.stage import Context, Result
from shared.errors import UserError
from shared.sample import Sample
from shared.seeds import generator
from shared.words import amount


async def run(samples: Sequence[Sample], context: Context) -> Result:
    """Draw by the configured target; the samples keep their order."""
    settings = context.config.balance
    rates = [_rate(sample) for sample in samples]
    rng = generator(context.config.seed, "balance")
    chosen, reasons = choose(rates, settings, rng)
    result = Result(kept=[samples[index] for index in chosen])
    result.dropped.update(reasons)
    kept = [rates[index] for index in chosen]
    edges = TENTHS if isinstance(settings.target, str) else tuple(settings.target)
    result.details = {
        "mean accuracy": {"before": mean(rates), "after": mean(kept)},
        "before": histogram(rates, edges),
        "after": histogram(kept, edges),
    }
    if settings.size is not None:
        result.details["short of the size asked for"] = settings.size - len(kept)
    return result


def choose(
    rates: Sequence[float], settings: BalanceSettings, rng: random.Random
) -> tuple[list[int], list[str]]:
    """Indices of the rates to keep, ascending, and for each other rate why it is dropped.

    Raises:
        UserError: when a bin has too few samples and the settings allow no shortfall.
    """
    if settings.target == "drop-0-and-1":
        return _between(rates, settings.size, rng)
    target = PAPER if settings.target == "paper" else settings.target
    assert not isinstance(target, str)
    edges = list(target)
    bins: list[list[int]] = [[] for _ in edges]
    for index, rate in enumerate(rates):
        bins[bin_of(rate, edges)].append(index)
    wanted = quotas([len(bin_) for bin_ in bins], target, settings)
    chosen = {
        index for bin_, count in zip(bins, wanted, strict=True) for index in rng.sample(bin_, count)
    }
    weights = list(target.values())
    reasons = [
        "bin_not_wanted" if weights[bin_of(rate, edges)] == 0 else "bin_full"
        for index, rate in enumerate(rates)
        if index not in chosen
    ]
    return sorted(chosen), reasons


def quotas(
    counts: Sequence[int], target: Mapping[float, float], settings: BalanceSettings
) -> list[int]:
    """How many to draw from each bin: its share of the size, rounded by the largest remainder.

    Raises:
        UserError: when a bin has too few samples and the settings allow no shortfall.
    """
    # Fractions: with floats, a rounding error could ask the scarcest bin for one too many.
    weights = [Fraction(str(weight)) for weight in target.values()]
    shares = [weight / sum(weights) for weight in weights]
    edges = list(target)
    bounds = {
        index: int(count / share)
        for index, (count, share) in enumerate(zip(counts, shares, strict=True))
        if share
    }
    scarcest = min(bounds, key=lambda index: bounds[index])
    size = bounds[scarcest] if settings.size is None else settings.size
    if size == 0 or (size > bounds[scarcest] and not settings.shortfall):
        raise UserError(
            f"balance: {counts[scarcest]} of {amount(sum(counts), 'sample')} have a pass rate in "
            "the bin "
            f"{bin_name(scarcest, edges)}, which balance.target makes "
            f"{float(shares[scarcest]):.1%} of the result; that allows "
            f"{amount(bounds[scarcest], 'sample')}; "
            "lower balance.size, set it with balance.shortfall, or give a target of wider bins"
        )
    return [min(count, quota) for count, quota in zip(counts, _rounded(size, shares), strict=True)]


def _rounded(size: int, shares: Sequence[Fraction]) -> list[int]:
    exact = [size * share for share in shares]
    quotas = [int(part) for part in exact]
    by_remainder = sorted(
        range(len(shares)), key=lambda index: (quotas[index] - exact[index], index)
    )
    for index in by_remainder[: size - sum(quotas)]:
        quotas[index] += 1
    return quotas


def _between(
    rates: Sequence[float], size: int | None, rng: random.Random
) -> tuple[list[int], list[str]]:
    """Keep rates that are neither 0 nor 1, and `size` of them at most."""
    mixed = [index for index, rate in enumerate(rates) if 0 < rate < 1]
    chosen = mixed if size is None else rng.sample(mixed, min(size, len(mixed)))
    reasons = [
        "never_right" if rate == 0 else "always_right" if rate == 1 else "size_reached"
        for index, rate in enumerate(rates)
        if index not in set(chosen)
    ]
    return sorted(chosen), reasons


def _rate(sample: Sample) -> float:
    if sample.pass_rate is None:
        raise UserError(
            f"balance: sample '{sample.id}' has no pass_rate; run the stage difficulty first"
        )
    return sample.pass_rate
