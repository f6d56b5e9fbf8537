"""``perl-rl launch``: checks the input, starts Redis, and runs a `Session` until it ends.

`perl_rl.launch.session` starts and watches the services.
"""

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from perl_rl.folder_lock import hold_folder
from perl_rl.launch.check import prepare_data, settle_machine
from perl_rl.launch.division import division_of
from perl_rl.launch.embedded_redis import EmbeddedRedis, embedded_redis
from perl_rl.launch.functions import check_functions
from perl_rl.launch.given_redis import check_given_redis
from perl_rl.launch.pinned import with_pinned_data
from perl_rl.launch.preflight import check_model, check_ports, check_run_dir, model_line
from perl_rl.launch.processes import Supervisor
from perl_rl.launch.session import Session
from perl_rl.launch.view import view_port, with_pages
from perl_rl.report.progress import open_progress
from perl_rl.report.summary import DONE
from perl_rl.trackers.choose import check_trackers
from services.trainer.control.identity import check_identity, identity_of, read_identity
from services.trainer.control.resuming import where_it_goes_on
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import Config, load_config, save_config
from shared.config.secrets import secret_words
from shared.files import tentative_folder
from shared.logs import HidingFormatter
from shared.service.ports import free_port
from shared.service.tracing import check_packages
from shared.words import amount

logger = logging.getLogger(__name__)

_BUSY = "another perl-rl launch is running there; end it or choose another --run-dir"
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(
    config_path: Path,
    run_dir: Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    debug: bool = False,
) -> int:
    """Run a configuration to its end, with every service on this machine. Call in the main thread.

    Returns the exit status: 0 when every step was trained and the ledger balances, 128 + number
    when a signal ended it. All processes have ended when it returns.

    Args:
        config_path: the YAML file.
        run_dir: where the run's files go; default: ``runs/<run>``.
        overrides: ``key.path=value`` settings.
        resume: continue from the last checkpoint in `run_dir`.
        debug: services log debug messages.

    Raises:
        RunFailed: when the run did not do what its configuration asks.
        UserError: for bad input or settings, found before the start or by a service.
    """
    config = load_config(config_path, list(overrides))
    folder = (run_dir or Path("runs") / config.run).absolute()
    check_run_dir(folder, resume)
    with tentative_folder(folder, "--run-dir"):
        if resume and (steps := _has_ended(folder, config)):
            # Of other data or settings it is another run, and has not been trained.
            check_identity(folder, identity_of(with_pinned_data(config, logger.info)))
            print(f"nothing to do: {folder} has trained its {amount(steps, 'step')}")
            return 0
        return _launch(config, folder, resume, debug)


def _launch(config: Config, folder: Path, resume: bool, debug: bool) -> int:
    size, said = check_model(config.model), list[str]()
    check_packages(config.tracing)
    family = model_line(config)
    check_ports(config)
    config = settle_machine(config, size, said.append)
    division = division_of(config)
    check_functions(config.reward)
    check_trackers(config.trackers)
    progress = open_progress()
    try:
        for line in (family, *said):
            progress.note(line)
        config = with_pinned_data(config, progress.note)
        prepare_data(config, progress.note)
        if resume:
            check_identity(folder, identity_of(config))
            progress.note(_going_on(config, folder))
        with (
            hold_folder(folder, _BUSY),
            _log_to(folder / "logs", config),
            _redis(config, folder, resume) as server,
        ):
            logger.info("%s", said[0])
            config = _complete(config, server)
            file = folder / "config.yaml"
            save_config(config, file)
            session = Session(config, file, folder, division, progress, server, debug)
            try:
                status = asyncio.run(_until_signal(session, config, folder))
            finally:
                if not session.data_checked and not resume:
                    # There is no run: the folder may be used again.
                    file.unlink(missing_ok=True)
    finally:
        progress.close()
    if status == 0 and config.data.heldout is not None:
        _show_report(config.run, folder)
    return status


def _show_report(run: str, folder: Path) -> None:
    # Here, because the library that draws takes a while to import.
    from perl_rl.report.page import report_on

    print(report_on(folder, f"PeRL: {run}"))


async def _until_signal(session: Session, config: Config, folder: Path) -> int:
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[int] = loop.create_future()
    async with Supervisor(folder / "logs", config.launcher.stop_timeout_s) as supervisor:

        def stop(number: signal.Signals) -> None:
            if stopped.done():
                supervisor.hurry()
            else:
                session.progress.note(
                    f"{number.name}: stopping everything (send it again to kill at once)"
                )
                stopped.set_result(number)

        for number in _STOP_SIGNALS:
            # Under ``nohup`` SIGHUP is ignored; keep it so.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                loop.add_signal_handler(number, stop, number)
        work = asyncio.create_task(session.run(supervisor))
        either: set[asyncio.Future[Any]] = {work, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
            return 0
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    how = f"to continue after step {_saved_step(folder)}: --resume --run-dir {folder}"
    session.progress.note(f"stopped; {how if session.data_checked else 'nothing was started yet'}")
    return 128 + stopped.result()


def _going_on(config: Config, folder: Path) -> str:
    found, identity = (
        CheckpointFolder(folder / "checkpoints", keep=1).latest(),
        read_identity(folder),
    )
    if found is None:
        return "resuming: there is no checkpoint yet, so the run begins again at step 1"
    sources = [] if identity is None else identity.sources
    return f"resuming with {where_it_goes_on(config, found[1], sources)}"


def _saved_step(folder: Path) -> int:
    return CheckpointFolder(folder / "checkpoints", keep=1).newest_step()


def _has_ended(folder: Path, config: Config) -> int:
    """The steps of the run in `folder` if it is done, by `config`; else 0."""
    summary, most = folder / "summary.json", config.trainer.max_responses
    if not summary.is_file():
        return 0
    content = json.loads(summary.read_text(encoding="utf-8"))
    spent = most is not None and content.get("responses", 0) >= most
    ended = content["outcome"] == DONE and (content["steps"] >= config.trainer.steps or spent)
    return int(content["steps"]) if ended else 0


@contextlib.contextmanager
def _log_to(folder: Path, config: Config) -> Iterator[None]:
    """Write ``launcher.log`` next to the logs of the children."""
    folder.mkdir(exist_ok=True)
    logger = logging.getLogger("perl_rl")
    level = logger.level
    handler = logging.FileHandler(folder / "launcher.log")
    handler.setFormatter(HidingFormatter("%(asctime)s %(message)s", secret_words(config)))
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        handler.close()


@contextlib.contextmanager
def _redis(config: Config, folder: Path, resume: bool) -> Iterator[EmbeddedRedis | None]:
    """A Redis that runs until the block ends; None when the configuration names one."""
    if config.redis.url is None:
        with embedded_redis(folder / "redis", config.redis.timeout_s) as server:
            yield server
        return
    check_given_redis(config, resume)
    yield None


def _complete(config: Config, server: EmbeddedRedis | None) -> Config:
    """The configuration with what the launcher decides.

    That is the address of Redis, the ports of the trainer and of the pages, and how many nodes to
    start with.
    """
    trainer = config.trainer
    port = trainer.port or free_port(trainer.host)
    nodes = config.rollout.nodes if trainer.start_nodes is None else trainer.start_nodes
    url = config.redis.url if server is None else server.url
    config = config.model_copy(
        update={
            "redis": config.redis.model_copy(update={"url": url}),
            "trainer": trainer.model_copy(update={"port": port, "start_nodes": nodes}),
            "view": config.view.model_copy(update={"port": view_port(config.view)}),
        }
    )
    return config.model_copy(update={"trackers": with_pages(config)})
