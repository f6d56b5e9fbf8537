"""``perl-rl report``: what `launch` does after training, where services were started one by one.

Waits for the run's end, evaluates the start model and the policy on the held-out questions, and
writes ``summary.json`` and, with held-out questions, ``report.md``.
"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import redis.asyncio

from perl_rl.eval.robustness import OrderRobustness
from perl_rl.launch.session import DONE, LOOK_EVERY_S, RunFailed, check_account
from perl_rl.report.observe import RunView, look
from perl_rl.report.page import write_report
from perl_rl.report.progress import Progress, open_progress
from perl_rl.report.summary import (
    MetricsTail,
    plain_robustness,
    read_metrics,
    summarise,
    write_json,
)
from shared.config import Config, load_config, save_config
from shared.errors import UserError, WaitTimeout
from shared.service.connection import Patience, connect
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo


def main(config_path: Path, run_dir: Path, overrides: list[str]) -> int:
    """Returns 0 when the run did what its configuration asked, else 1.

    Raises:
        UserError: when Redis cannot be reached.
        WaitTimeout: when the run gets nowhere for ``trainer.groups_timeout_s``, or an evaluation
            takes longer than ``eval.timeout_s``.
    """
    config = load_config(config_path, overrides)
    if config.redis.url is None:
        raise UserError(f"{config_path}: the key 'redis.url' is missing; the run is watched there")
    folder = run_dir.absolute()
    progress = open_progress()
    try:
        began = time.monotonic()
        view, nodes = asyncio.run(_until_done(config, config.redis.url, folder, progress))
        wall_s = time.monotonic() - began
        check_account(view, config.trainer.steps, folder, "see the trainer's log")
        evaluation = _evaluate(config, folder, progress)
    except RunFailed as failure:
        print(f"perl-rl: failed: {failure}", file=sys.stderr)
        return 1
    finally:
        progress.close()
    metrics = folder / "metrics.jsonl"
    plain: dict[str, Any] = {"before": None, "after": None}
    plain |= {when: plain_robustness(report) for when, report in evaluation.items()}
    summary = summarise(
        read_metrics(metrics),
        view.counts,
        sorted(nodes.values(), key=lambda node: node.name),
        {},
        wall_s,
        plain,
        DONE,
    )
    write_json(folder / "summary.json", summary)
    if evaluation:
        before, after = (OrderRobustness.model_validate(evaluation[when]) for when in evaluation)
        print(write_report(folder, before, after, metrics, f"PeRL: {config.run}"))
    print(f"done: {folder / 'summary.json'}")
    return 0


async def _until_done(
    config: Config, url: str, folder: Path, progress: Progress
) -> tuple[RunView, dict[str, NodeInfo]]:
    """The run at its end, and each node's last word about itself."""
    client = await connect(url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file)
    try:
        return await _watch(client, config, folder, progress)
    finally:
        await client.aclose()


async def _watch(
    client: redis.asyncio.Redis, config: Config, folder: Path, progress: Progress
) -> tuple[RunView, dict[str, NodeInfo]]:
    patient = Patience(client, "report", config.redis.timeout_s)
    keys, metrics = Keys(config.run), MetricsTail(folder / "metrics.jsonl")
    nodes: dict[str, NodeInfo] = {}
    patience = config.trainer.groups_timeout_s
    seen, moved = None, time.monotonic()
    while True:
        view = await patient(lambda: look(client, keys))
        nodes |= {node.name: node for node in view.nodes}
        for row in metrics.new():
            progress.step(row, config.trainer.steps)
        if view.trainer.phase == "done":
            return view, nodes
        progress.state(view.waiting_for(), view)
        # The trainer starts failed ranks again, so a failure is the end only when nothing follows.
        state = (view.trainer.phase, view.trainer.step, view.trainer.since, view.counts)
        if state != seen:
            seen, moved = state, time.monotonic()
        elif time.monotonic() - moved > patience:
            what = f"the run to get on ({view.waiting_for()})"
            raise WaitTimeout("report", what, patience, "trainer.groups_timeout_s")
        await asyncio.sleep(LOOK_EVERY_S)


def _evaluate(config: Config, folder: Path, progress: Progress) -> dict[str, dict[str, Any]]:
    """The order reports ``before`` and ``after``; empty without held-out questions.

    Each runs in a process of its own: this one never loads torch. Reports that are there are kept.
    """
    if config.data.heldout is None:
        return {}
    file = folder / "report-config.yaml"
    save_config(config, file)
    found = {}
    for when, model in (("before", config.model.path), ("after", folder / "policy")):
        out = folder / f"eval-{when}.json"
        if when == "after" or not out.exists():
            progress.note(f"evaluation {when} training")
            command = [sys.executable, "-m", "perl_rl.report.heldout", str(file)]
            _run([*command, "--model", str(model), "--out", str(out)], when, config.eval.timeout_s)
        found[when] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _run(command: list[str], when: str, timeout_s: float) -> None:
    try:
        status = subprocess.run(command, timeout=timeout_s).returncode
    except subprocess.TimeoutExpired:
        raise WaitTimeout("report", f"evaluation {when}", timeout_s, "eval.timeout_s") from None
    if status != 0:
        raise RunFailed(f"the evaluation {when} training ended with status {status}")
