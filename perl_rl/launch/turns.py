"""Starts programs so that each engine measures the memory of its GPU while nothing else changes it.

An engine gives its KV cache what it finds free. A rank, or a second engine, that takes or frees
memory of the same GPU meanwhile makes that figure wrong, and vLLM then refuses to start.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

from perl_rl.launch.processes import Child, Program, Supervisor
from perl_rl.report.watch import LOOK_EVERY_S
from shared.errors import WaitTimeout

ENGINES = "rollout-"
"""How the names of programs begin that hold an engine."""


async def start_in_turn(
    engines: Sequence[Program],
    supervisor: Supervisor,
    engine_is_up: Callable[[str], Awaitable[bool]],
    after_death: Callable[[Supervisor, Child], Awaitable[None]],
    patience_s: float,
) -> None:
    """Start engines one after the other.

    Args:
        engine_is_up: whether the rollout node of this name has its engine in memory.
        after_death: called with a program that ends meanwhile; starts it again or raises.
        patience_s: longest wait for one engine.

    Raises:
        WaitTimeout: when an engine is not up in time.
    """
    for program in engines:
        await supervisor.start(program)
        deadline = time.monotonic() + patience_s
        while not await engine_is_up(program.name):
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    "launcher",
                    f"the engine of {program.name}",
                    patience_s,
                    "rollout.start_timeout_s",
                )
            child = await supervisor.next_exit(LOOK_EVERY_S)
            if child is not None:
                await after_death(supervisor, child)
