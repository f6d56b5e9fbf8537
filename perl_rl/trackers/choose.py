"""Which trackers there are, what each needs, and where each sends to."""

import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perl_rl.trackers.base import Tracker
from shared.config import Config
from shared.config.trackers import TRACKER_NAMES, TrackerConfig
from shared.errors import UserError

_LOOK_TIMEOUT_S = 60.0
"""For the start of another Python from a cold disk."""
_LOOK = (
    "import importlib.util, sys; "
    "print(*[name for name in sys.argv[1:] if importlib.util.find_spec(name) is None])"
)


@dataclass(frozen=True)
class Kind:
    """One kind of tracker."""

    module: str
    """Where its class ``Adapter`` is."""
    needs: tuple[str, ...]
    """Modules that it imports."""
    asks: tuple[str, ...]
    """Environment variables that say where to, or as whom, it sends; one of them is enough."""
    extra: bool
    """Whether its packages go together with those of the run, as an extra of ``perl-rl``."""


KINDS: Mapping[str, Kind] = {
    "tensorboard": Kind("perl_rl.trackers.tensorboard", ("tensorboard", "torch"), (), True),
    "wandb": Kind("perl_rl.trackers.wandb", ("wandb",), ("WANDB_API_KEY",), True),
    "mlflow": Kind(
        "perl_rl.trackers.mlflow",
        ("mlflow", "sqlalchemy", "alembic"),
        ("MLFLOW_TRACKING_URI",),
        True,
    ),
    "trackio": Kind(
        "perl_rl.trackers.trackio",
        ("trackio",),
        ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"),
        False,
    ),
    "swanlab": Kind("perl_rl.trackers.swanlab", ("swanlab",), ("SWANLAB_API_KEY",), False),
}


def settings_of(config: Config, name: str) -> TrackerConfig:
    """A tracker's settings; one that the configuration does not name gets the defaults.

    Raises:
        UserError: when there is no such tracker.
    """
    if name not in TRACKER_NAMES:
        raise UserError(f"there is no tracker '{name}'; choose {', '.join(TRACKER_NAMES)}")
    found = next((one for one in config.trackers if one.name == name), None)
    return found or TrackerConfig.model_validate({"name": name})


def make_tracker(name: str) -> Tracker:
    """A tracker that has not started; imports its library."""
    adapter: type[Tracker] = importlib.import_module(KINDS[name].module).Adapter
    return adapter()


def is_online(config: TrackerConfig, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the tracker may use the network: only where somebody asked for it."""
    if config.name == "tensorboard":
        return False
    if config.offline is not None:
        return not config.offline
    return config.url is not None or any(environment.get(one) for one in KINDS[config.name].asks)


def where(config: TrackerConfig, run_dir: Path) -> str:
    """Where the tracker's data goes, in words."""
    if is_online(config):
        asked = "url" if config.url is not None else " or ".join(KINDS[config.name].asks)
        return f"sends ({'offline: false' if config.offline is False else asked})"
    return f"writes to {run_dir / 'trackers' / config.name}"


def check_trackers(trackers: Sequence[TrackerConfig]) -> None:
    """Check that the packages of each tracker are installed.

    Raises:
        UserError: naming the first that is not, and how to install it.
    """
    for one in trackers:
        missing = _missing(one)
        if missing:
            raise UserError(f"trackers: {one.name}: {_how_to_install(one, missing)}")


def _missing(config: TrackerConfig) -> list[str]:
    needs = KINDS[config.name].needs
    if config.python is None:
        return [name for name in needs if importlib.util.find_spec(name) is None]
    command = [str(config.python), "-c", _LOOK, "perl_rl", *needs]
    try:
        looked = subprocess.run(
            command, capture_output=True, text=True, timeout=_LOOK_TIMEOUT_S, check=True
        )
    except OSError as error:
        raise UserError(
            f"trackers: {config.name}: python {config.python}: cannot be run ({error.strerror}); "
            "name the Python of an environment that has the tracker (docs/trackers.md)"
        ) from None
    except subprocess.SubprocessError:
        raise UserError(
            f"trackers: {config.name}: python {config.python}: does not answer as Python does; "
            "name the Python of an environment that has the tracker (docs/trackers.md)"
        ) from None
    return looked.stdout.split()


def _how_to_install(config: TrackerConfig, missing: Sequence[str]) -> str:
    at = config.python or Path(sys.executable)
    words = f"not installed: {', '.join(missing)}"
    if KINDS[config.name].extra:
        return f"{words}; {at} -m pip install 'perl-rl[{config.name}]'"
    return (
        f"{words}; its packages do not go together with those of a run: make it an environment of "
        "its own, with the lines in docs/trackers.md, and name that one's Python in 'python'"
    )
