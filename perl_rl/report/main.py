"""``perl-rl report``: what `launch` does after training, for services that were started one by one.

Waits for the run's end, evaluates the start model and the policy on the held-out questions, and
writes ``summary.json`` and, with held-out questions, ``report.md``.
"""

import asyncio
import time
from pathlib import Path

import redis.asyncio

from perl_rl.launch.processes import Supervisor
from perl_rl.report.account import check_account
from perl_rl.report.evaluation import Evaluation
from perl_rl.report.meanwhile import MeanwhileEvaluation
from perl_rl.report.page import report_on
from perl_rl.report.progress import Progress, open_progress
from perl_rl.report.summary import DONE
from perl_rl.report.watch import LOOK_EVERY_S, RunWatch
from shared.config import Config, load_config, save_config
from shared.errors import UserError, WaitTimeout
from shared.files import make_folder
from shared.service.connection import connect
from shared.together import together


def main(config_path: Path, run_dir: Path, overrides: list[str]) -> int:
    """Returns 0 when the run did what its configuration asked.

    Raises:
        RunFailed: when it did not.
        UserError: when Redis cannot be reached.
        WaitTimeout: when the run makes no progress for ``trainer.groups_timeout_s``, or an
            evaluation takes longer than ``eval.timeout_s``.
    """
    config = load_config(config_path, overrides)
    if config.redis.url is None:
        raise UserError(f"{config_path}: the key 'redis.url' is missing; the run is watched there")
    folder = run_dir.absolute()
    progress = open_progress()
    watch = RunWatch(config, folder, progress, "report")
    try:
        file = folder / "report-config.yaml"
        make_folder(folder, "--run-dir")
        save_config(config, file)
        evaluation = Evaluation(config, file, folder, progress, "report")
        wall_s = asyncio.run(_follow(config, config.redis.url, folder, watch, evaluation, progress))
        asyncio.run(_evaluate_rest(config, folder, evaluation))
    finally:
        progress.close()
    results = evaluation.results
    watch.write_summary(DONE, wall_s, results, restarts={})
    print(f"done: {folder / 'summary.json'}")
    if results:
        print(report_on(folder, f"PeRL: {config.run}"))
    return 0


async def _follow(
    config: Config,
    url: str,
    folder: Path,
    watch: RunWatch,
    evaluation: Evaluation,
    progress: Progress,
) -> float:
    """Watch the run to its end, and evaluate on its nodes; seconds until its end.

    Raises:
        RunFailed: when it did not do what its configuration asks.
    """
    client = await connect(url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file)
    try:
        began = time.monotonic()
        until_done = _until_done(client, watch, config.trainer.groups_timeout_s)
        async with MeanwhileEvaluation(client, config, folder, progress, "report").beside():
            await together([until_done, evaluation.before(client)])
        wall_s = time.monotonic() - began
        assert watch.view is not None, "the run is done"
        check_account(watch.view, folder, "see the trainer's log")
        await evaluation.after(client)
        return wall_s
    finally:
        await client.aclose()


async def _until_done(client: redis.asyncio.Redis, watch: RunWatch, patience: float) -> None:
    seen, moved = None, time.monotonic()
    while True:
        view = await watch.look(client)
        if view is not None:
            if view.trainer.phase == "done":
                return
            # The trainer restarts failed ranks, so a failure is the end only when nothing follows.
            state = (view.trainer.phase, view.trainer.step, view.trainer.since, view.counts)
            if state != seen or view.trainer.phase == "paused":
                seen, moved = state, time.monotonic()
            elif time.monotonic() - moved > patience:
                what = f"the run to get on ({view.waiting_for()})"
                raise WaitTimeout("report", what, patience, "trainer.groups_timeout_s")
        await asyncio.sleep(LOOK_EVERY_S)


async def _evaluate_rest(config: Config, folder: Path, evaluation: Evaluation) -> None:
    async with Supervisor(folder / "logs", config.launcher.stop_timeout_s) as supervisor:
        await evaluation.rest(supervisor)
