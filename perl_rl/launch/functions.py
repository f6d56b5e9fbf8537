"""Loads the custom functions that a run names, in a process of its own, as its services will.

``python -m perl_rl.launch.functions`` reads a `RewardConfig` on standard input and prints why a
function cannot be used. They are not loaded here: a module may load torch, or end the process.
"""

import subprocess
import sys

from services.reward.filters import ARGUMENTS as FILTER
from services.reward.group_rewards import ARGUMENTS as GROUP
from services.reward.scoring import ARGUMENTS as RESPONSE
from shared.config import RewardConfig
from shared.errors import UserError
from shared.functions import load_function

_TIMEOUT_S = 120.0
"""For the import of large libraries from a cold disk."""

_REFUSED = "refused: "


def check_functions(config: RewardConfig) -> None:
    """Check that every custom function of `config` can be loaded and takes its arguments.

    Raises:
        UserError: naming the function, its key and what is wrong.
    """
    custom = (config.group_function, *config.filter.functions)
    if config.function == RewardConfig.model_fields["function"].default and not any(custom):
        return
    named = ", ".join(path for path in (config.function, *custom) if path)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "perl_rl.launch.functions"],
            input=config.model_dump_json(include={"function", "group_function", "filter"}),
            stdout=subprocess.PIPE,
            text=True,
            timeout=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"reward: {named}: not imported within {_TIMEOUT_S:g} s; let the module do its work "
            "when its function is called"
        ) from None
    for line in ended.stdout.splitlines():
        if line.startswith(_REFUSED):
            raise UserError(line.removeprefix(_REFUSED))
    if ended.returncode != 0:
        raise UserError(
            f"reward: {named}: the process that imported them ended with status "
            f"{ended.returncode}; what it wrote is above"
        )


def load_all(config: RewardConfig) -> None:
    """Load the custom functions.

    Raises:
        UserError: as `check_functions`.
    """
    load_function(config.function, "reward.function", RESPONSE)
    if config.group_function is not None:
        load_function(config.group_function, "reward.group_function", GROUP)
    for path in config.filter.functions:
        load_function(path, "reward.filter.functions", FILTER)


def main() -> int:
    """``python -m perl_rl.launch.functions``."""
    try:
        load_all(RewardConfig.model_validate_json(sys.stdin.read()))
    except UserError as error:
        print(_REFUSED + " ".join(str(error).split()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
