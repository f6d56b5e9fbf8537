"""``perl-rl check``: writes a run's data where `data.prepare` says how, and checks data and model.

`launch` does this itself. Run the command before you start services one by one.
"""

import importlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perl_rl.counting import Advance, counting
from perl_rl.launch.data_check import check_data
from perl_rl.launch.preflight import check_model
from perl_rl.report.progress import Progress
from shared.config import Config, load_config
from shared.errors import UserError
from shared.files import make_folder


def main(config_path: Path, run_dir: Path | None, overrides: list[str]) -> int:
    """Returns 0 when a run of this configuration can start.

    Raises:
        UserError: naming what is wrong with the model or the data, and the fix.
    """
    config = load_config(config_path, overrides)
    folder = (run_dir or Path("runs") / config.run).absolute()
    make_folder(folder, "--run-dir")
    check_model(config.model)
    prepare_data(config, _note)
    print(check_data(config, folder, counting, _note).line())
    return 0


def _note(text: str) -> None:
    print(text, flush=True)


def prepare_data(config: Config, note: Callable[[str], None]) -> None:
    """Write the training data with the function `data.prepare`, unless the file exists.

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


def check_data_shown(
    config: Config,
    folder: Path,
    progress: Progress,
    pictures_done: Callable[[], None],
    stopped: Callable[[], bool],
) -> None:
    """Check the data, and show how far the check is where the run will be shown.

    Args:
        folder: the run's; pictures inside data files are copied there.
        pictures_done: called when only the prompts are left.
        stopped: whether to give up.

    Raises:
        UserError: as `check_data`, and when it has given up.
    """

    @contextmanager
    def shown(what: str, total: int | None) -> Iterator[Advance]:
        numbers, of = itertools.count(1), "" if total is None else f" of {total}"

        def advance() -> None:
            if stopped():
                raise UserError("the data check was stopped")
            progress.state(f"checking {what}: {next(numbers)}{of}", None)

        yield advance

    progress.note(check_data(config, folder, shown, progress.note, pictures_done).line())
