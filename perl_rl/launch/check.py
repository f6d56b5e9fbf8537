"""``perl-rl check``: refuses what `launch` would refuse, and says what the run will do.

It writes the data where `data.prepare` says how. Run it before a launch, or before you start
services one by one.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from perl_rl.counting import Advance, counting
from perl_rl.launch.data_check import check_data
from perl_rl.launch.data_report import data_lines
from perl_rl.launch.device import check_attention, settled_model
from perl_rl.launch.division import division_of
from perl_rl.launch.engine_fits import check_engine
from perl_rl.launch.estimates import disk_line, time_line
from perl_rl.launch.functions import check_functions
from perl_rl.launch.given_redis import check_given_redis
from perl_rl.launch.model_size import ModelSize
from perl_rl.launch.preflight import check_model, check_ports, earlier_run, model_line
from perl_rl.launch.source_paths import find_sources
from perl_rl.plan.warning import smallest_gpu, warn_unless_it_fits
from perl_rl.report.progress import Progress
from perl_rl.trackers.choose import check_trackers
from services.trainer.control.identity import check_identity, identity_of
from shared.config import Config, load_config
from shared.errors import UserError
from shared.files import tentative_folder
from shared.functions import in_one_line, load_function
from shared.service.tracing import check_packages


def main(config_path: Path, run_dir: Path | None, overrides: list[str], elsewhere: bool) -> int:
    """Print what the run will do with its data; returns 0 when it can start.

    Args:
        elsewhere: its services run on other machines, so that this one need have no free ports and
            no GPUs for them, and need not reach their Redis.

    Raises:
        UserError: naming what is wrong with settings, model, functions or data, and the fix.
    """
    config = load_config(config_path, overrides)
    with tentative_folder((run_dir or Path("runs") / config.run).absolute(), "--run-dir") as folder:
        _check(config, folder, elsewhere)
    return 0


def _check(config: Config, folder: Path, elsewhere: bool) -> None:
    size = check_model(config.model)
    check_packages(config.tracing)
    # Told at once and raised last: the data may take long to check, and they say nothing about it.
    in_the_way = (
        []
        if elsewhere
        else [
            *_told(lambda: check_ports(config)),
            *_told(lambda: check_given_redis(config, resume=False)),
        ]
    )
    _note(model_line(config))
    if not elsewhere:
        config = settle_machine(config, size, _note)
    check_functions(config.reward)
    if not elsewhere:
        check_trackers(config.trackers)
    prepare_data(config, _note)
    checked = check_data(config, folder, counting, _note)
    lines = [*data_lines(config, checked, counting), disk_line(config, size, folder)]
    print("\n".join(["", *lines, time_line(config, folder), "", checked.line()]))
    if earlier := earlier_run(folder):
        _note(f"{folder} holds an earlier run ({earlier}): {_continued(config, folder)}")
    if in_the_way:
        # Last: another run that uses the ports now says nothing about this one's data.
        raise in_the_way[0]


def _continued(config: Config, folder: Path) -> str:
    """Whether ``launch --resume`` goes on with these settings, or why not."""
    try:
        check_identity(folder, identity_of(config))
    except UserError as error:
        return f"launch --resume refuses it; {error}"
    return "launch --resume continues it"


def _told(check: Callable[[], None]) -> list[UserError]:
    """What the check refuses, said at once: the data may take long to check."""
    try:
        check()
    except UserError as error:
        _note(f"{error}; the data is checked all the same")
        return [error]
    return []


def settle_machine(config: Config, size: ModelSize, note: Callable[[str], None]) -> Config:
    """The configuration with the device and the number type that this machine decides.

    Raises:
        UserError: when GPUs are missing, or the rollout engine could not start here.
    """
    model, computing = settled_model(config.model)
    note(computing)
    config = config.model_copy(update={"model": model})
    check_attention(config)
    division = division_of(config)
    check_engine(config, size, smallest_gpu() if division.trainer.gpus else None)
    warn_unless_it_fits(config, division, note)
    return config


def _note(text: str) -> None:
    print(text, flush=True)


def prepare_data(config: Config, note: Callable[[str], None]) -> None:
    """Write the training data with the function `data.prepare`, unless the file exists.

    Raises:
        UserError: when `data.prepare` names no function, or data is not where the configuration
            says.
    """
    path, train = config.data.prepare, config.data.train
    if path is None or not isinstance(train, Path) or train.exists():
        find_sources(config)
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
    find_sources(config)


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
