"""Injects faults into a run, one after another, and records what happens."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

from redis.exceptions import RedisError

from shared.errors import UserError
from tests.faults.account import Account
from tests.faults.catalog import FAULTS
from tests.faults.system import FaultFound, System

PATIENCE_S = 180.0
"""The longest time after a fault without a trained step."""

CLOSING_S = 90.0
"""Reserved for the end: the last steps, the last checkpoint, the audit."""

RECOVERY_S = 60.0
"""No fault begins with less time than this left before the closing."""

AUDIT_WITHIN_S = 15.0
"""Time for the audit, also of a run that was cut short."""


def schedule(counts: dict[str, int], rng: random.Random) -> list[str]:
    """Names of faults, each as often as asked: one of every kind first, both parts shuffled."""
    first = [name for name, count in counts.items() if count]
    more = [name for name, count in counts.items() for _ in range(count - 1)]
    rng.shuffle(first)
    rng.shuffle(more)
    return first + more


async def inject_all(system: System, account: Account, rng: random.Random, until: float) -> None:
    """Inject the faults one after another; each waits until the run has trained after the last.

    Args:
        until: no fault begins after this moment of the monotonic clock.

    Raises:
        FaultFound: when the system does not recover from one.
    """
    await trains(system, 0, account.patience_s)
    for number, name in enumerate(account.asked, start=1):
        if time.monotonic() > until:
            print("no time for more faults", flush=True)
            return
        await inject(system, account, name, number, rng)


async def inject(
    system: System, account: Account, name: str, number: int, rng: random.Random
) -> None:
    """Inject one fault and wait until the run has trained a step after it.

    Raises:
        FaultFound: when the system does not recover.
    """
    row, before, start = account.rows[name], await system.view(), time.monotonic()
    fault, _ = FAULTS[name]
    row.times += 1
    try:
        await fault(system, rng)
        await trains(system, system.steps_done(), account.patience_s)
    except FaultFound as found:
        raise FaultFound(f"{name}: {found}") from None
    finally:
        account.longest_stall_s, account.deaths = system.longest_stall_s, system.deaths
    row.add(before.counts, (await system.view()).counts, time.monotonic() - start)
    print(f"[{number}/{len(account.asked)}] {name}: {row.recovery_s[-1]:.1f} s", flush=True)


async def trains(system: System, steps: int, within_s: float) -> None:
    """Wait until the trainer has trained more than `steps` steps."""

    async def on() -> bool:
        return system.steps_done() > steps

    await system.until(on, "step trained", within_s)


@contextlib.asynccontextmanager
async def accounted(system: System, account: Account, deadline: float) -> AsyncIterator[None]:
    """Start the system; record in `account` what fails in the block, and the audit after it.

    Args:
        deadline: the moment of the monotonic clock at which the block is cut short.
    """
    async with system.started():
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                yield
        except (FaultFound, UserError) as found:
            account.failure = str(found)
        except TimeoutError:
            account.cut_short = "the time was up"
        finally:
            account.longest_stall_s, account.deaths = system.longest_stall_s, system.deaths
            # Redis itself may not answer.
            with contextlib.suppress(RedisError, TimeoutError):
                async with asyncio.timeout(AUDIT_WITHIN_S):
                    account.audit = await system.audit()


async def run_suite(folder: Path, seed: int, account: Account, seconds: float) -> None:
    """Inject the faults, end the run cleanly, and fill `account`, even if the run fails.

    Args:
        seconds: limit for everything except the end of the processes.
    """
    rng, deadline = random.Random(seed), time.monotonic() + seconds
    system = System(folder, seed)
    async with accounted(system, account, deadline):
        await inject_all(system, account, rng, deadline - CLOSING_S - RECOVERY_S)
        if account.to_the_end:
            await system.finish(more_steps=3, within_s=account.patience_s)
        else:
            await system.stop(within_s=account.patience_s)
