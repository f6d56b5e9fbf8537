"""Waiting for a condition in another process, never longer than a deadline."""

import time
from collections.abc import Callable

LOOK_EVERY_S = 0.05


def wait_until(
    condition: Callable[[], bool],
    what: str | Callable[[], str],
    timeout_s: float,
    look_every_s: float = LOOK_EVERY_S,
) -> None:
    """Look again and again until `condition` holds.

    Raises:
        AssertionError: naming `what` (asked for only then) when it does not within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(
                f"waited {timeout_s:g} s for {what if isinstance(what, str) else what()}"
            )
        time.sleep(look_every_s)
