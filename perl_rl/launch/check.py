"""What comes before the services: data that the configuration knows how to write, and the checks.

`launch` does it by itself; where services start one by one, ``perl-rl check`` does it before them.
"""

import importlib
from collections.abc import Callable
from pathlib import Path

from perl_rl.launch.preflight import check_data, check_model
from perl_rl.report.progress import Progress, open_progress
from shared.config import Config, load_config
from shared.errors import UserError


def main(config_path: Path, run_dir: Path | None, overrides: list[str]) -> int:
    """``perl-rl check``: returns 0 when a run of this configuration can start.

    Raises:
        UserError: naming what is wrong with model or data, and the mend.
    """
    config = load_config(config_path, overrides)
    check_model(config.model)
    progress = open_progress()
    try:
        prepare_data(config, progress.note)
        checked_data(config, (run_dir or Path("runs") / config.run).absolute(), progress)
    finally:
        progress.close()
    return 0


def prepare_data(config: Config, note: Callable[[str], None]) -> None:
    """Have the data written that the configuration knows how to write, unless it is there.

    Raises:
        UserError: when `data.prepare` names no function.
    """
    path, train = config.data.prepare, config.data.train
    if path is None or not isinstance(train, Path) or train.exists():
        return
    module, _, name = path.partition(":")
    try:
        prepare = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(
            f"data.prepare '{path}': {error}; write it as package.module:function"
        ) from None
    note(f"writing the data to {train.parent}")
    prepare(train.parent, config.seed)


def checked_data(config: Config, folder: Path, progress: Progress) -> None:
    """Check the data, and say how much of it was looked at.

    Args:
        folder: the run's, which keeps pictures that lie inside data files.
    """
    checked, total = check_data(
        config, folder, lambda doing: progress.state(doing, None), progress.note
    )
    rest = "" if checked == total else f" of {total}; the others are checked as they come up"
    progress.note(f"data: {checked} pictures checked{rest}")
