"""``make faults FAULTS_FLAGS="--engine real"``: does a disturbed run learn as well?

Runs the demo twice with the same seed, data and number of steps, and with vLLM, DeepSpeed and
everything else real: once undisturbed, once under a few faults. Then both policies answer the
held-out questions in every order of their images.
"""

import asyncio
import math
import random
import time
from pathlib import Path

from perl_rl.eval.bootstrap import Bootstrap, Estimate
from perl_rl.eval.robustness import ItemAnswers
from shared.config import Config
from shared.sample import load_samples
from tests.faults.account import Account, in_columns
from tests.faults.injection import accounted, inject
from tests.faults.setups import Real
from tests.faults.system import System
from tests.greedy import answers_by_item, load

STEPS = 60
"""As many as the demo trains."""

PATIENCE_S = 300.0
"""An engine takes a minute to restart, or more if other programs use the machine."""

EVALUATION_S = 120.0
"""Reserved for the answers of both policies."""

RUN_SPREAD = 0.012
"""Standard deviation of the final accuracy of undisturbed runs (seeds 1 to 3 in README.md).
Sampling and training overlap, so two runs with one seed differ."""

FAULTS = {
    "kill -9 of a rollout node": 1,
    "kill -9 of a reward node": 1,
    "kill -9 of a trainer rank": 1,
    "kill -9 of the control plane": 1,
    "kill -9 and restart of Redis": 1,
    "corrupted weights on the wire": 1,
    "corrupted delta on the wire": 1,
    "malformed message": 1,
    "truncated message": 1,
}


async def run_both(folder: Path, seed: int, account: Account, seconds: float, steps: int) -> None:
    """Do both runs and compare them; fills `account` with the disturbed run's results.

    Args:
        seconds: limit for everything except the end of the processes.
        steps: of each run.
    """
    deadline = time.monotonic() + seconds - EVALUATION_S
    systems = []
    for name, faults in (("undisturbed", []), ("disturbed", account.asked)):
        began, system = time.monotonic(), System(folder / name, seed, Real(steps))
        async with accounted(system, account, deadline):
            await _disturb(system, account, faults, steps, random.Random(seed))
            await system.ended("done", deadline - time.monotonic())
        if account.cut_short or account.wrong():
            return
        print(f"{name} run: {steps} steps in {time.monotonic() - began:.0f} s", flush=True)
        systems.append(system)
    answers = [
        await asyncio.to_thread(_answers, one.run_dir / "policy", one.config) for one in systems
    ]
    account.comparison, worse = compare(*answers)
    if worse:
        account.failure = "the disturbed run has learnt less, by more than noise explains"


async def _disturb(
    system: System, account: Account, faults: list[str], steps: int, rng: random.Random
) -> None:
    """Inject the faults, spread evenly over the run's steps."""
    for number, name in enumerate(faults, start=1):
        due = number * steps // (len(faults) + 1)

        async def reached(due: int = due) -> bool:
            return (await system.view()).trainer.step >= due

        await system.until(reached, f"step {due}", PATIENCE_S)
        await inject(system, account, name, number, rng)


def _answers(policy: Path, config: Config) -> list[ItemAnswers]:
    [source] = config.data.heldout_sources()
    model, processor = load(policy)
    settings, samples = config.eval, load_samples(source.path)
    instruction = config.data.instruction
    return answers_by_item(
        model, processor, samples, instruction, settings.orders, settings.max_tokens
    )


def compare(undisturbed: list[ItemAnswers], disturbed: list[ItemAnswers]) -> tuple[str, bool]:
    """A table of accuracies over the same questions, and whether the disturbed run is worse.

    The difference has two 95 % intervals. One is over the choice of questions (paired bootstrap).
    The wider one adds how much two undisturbed runs differ. If the wider one is below zero, the
    disturbed run is worse.
    """
    bootstrap = Bootstrap(len(undisturbed))
    runs = [[item.accuracy for item in items] for items in (undisturbed, disturbed)]
    gaps = [hurt - whole for whole, hurt in zip(*runs, strict=True)]
    gap = bootstrap.mean(gaps)
    error = math.hypot(float(bootstrap.means(gaps).std()), math.sqrt(2) * RUN_SPREAD)
    low, high = gap.value - 1.96 * error, gap.value + 1.96 * error
    lines = [
        (f"held-out accuracy, all orders of {len(gaps)} questions", "", "95 %"),
        ("undisturbed", *_cells(bootstrap.mean(runs[0]), "")),
        ("disturbed", *_cells(bootstrap.mean(runs[1]), "")),
        ("difference", *_cells(gap, "+")),
        ("with the spread between runs", "", f"[{low:+.3f}, {high:+.3f}]"),
    ]
    return in_columns(lines), high < 0


def _cells(one: Estimate, sign: str) -> tuple[str, str]:
    value, low, high = (f"{figure:{sign}.3f}" for figure in (one.value, one.low, one.high))
    return value, f"[{low}, {high}]"
