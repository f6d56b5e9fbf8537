"""``perl-rl check``: writes a run's data where `data.prepare` says how, and checks data and model.

`launch` does this itself. Run the command before you start services one by one.
"""

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
from shared.functions import in_one_line, load_function


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
    prepare = load_function(path, "data.prepare", ("folder", "seed"))
    note(f"writing the data to {train.parent}")
    try:
        prepare(train.parent, config.seed)
    except (UserError, OSError):
        raise
    except Exception as error:  # What a custom function may raise is not defined.
        raise UserError(f"data.prepare '{path}': failed with {in_one_line(error)}") from error
    if not train.exists():
        raise UserError(f"data.prepare '{path}': has not written data.train, {train}")


def check_data_shown(config: Config, folder: Path, progress: Progress) -> None:
    """Check the data, and show how far the check is where the run will be shown.

    Args:
        folder: the run's; pictures inside data files are copied there.
    """

    @contextmanager
    def shown(what: str, total: int | None) -> Iterator[Advance]:
        numbers, of = itertools.count(1), "" if total is None else f" of {total}"
        yield lambda: progress.state(f"checking {what}: {next(numbers)}{of}", None)

    progress.note(check_data(config, folder, shown, progress.note).line())
