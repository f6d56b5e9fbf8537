"""``perl-rl status``: shows a run, from its Redis, or from its folder after its end."""

import asyncio
import os
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import redis.asyncio
from rich.console import Console
from rich.live import Live
from rich.text import Text

from perl_rl.folder_lock import is_held
from perl_rl.report.left import describe_left
from perl_rl.report.observe import RunView, find_runs, look
from perl_rl.trackers.left import tracker_lines
from shared.config import Config, load_config
from shared.errors import UserError
from shared.named_folders import RUN_CONFIG, RUNS, run_config
from shared.service.connection import RedisUnreachable, connect, without_password
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo
from shared.words import amount

DEFAULT_URL = "redis://127.0.0.1:6379/0"
URL_VARIABLE = "PERL_REDIS_URL"
WATCH_EVERY_S = 2.0


class RunNotFound(UserError):
    """Redis answers, but does not hold the run."""


@dataclass(frozen=True)
class Seen:
    """A run at one moment."""

    text: str
    """In words, one fact a line."""
    over: bool
    """Whether nothing more will happen to it."""


def watch(url: str | None, run: str | None, run_dir: Path | None, out: TextIO) -> None:
    """Show the run until it is over: in place in a terminal, else whenever it has changed."""
    shown, console = "", Console(file=out)
    with Live(console=console, auto_refresh=False) if out.isatty() else nullcontext() as live:
        while True:
            seen = status(url, run, run_dir)
            if live is not None:
                live.update(Text(seen.text), refresh=True)
            elif seen.text != shown:
                print(f"{seen.text}\n", file=out, flush=True)
            shown = seen.text
            if seen.over:
                return
            time.sleep(WATCH_EVERY_S)


def status(url: str | None, run: str | None, run_dir: Path | None, timeout_s: float = 10.0) -> Seen:
    """The run's state.

    Args:
        url: where Redis is; default: the address in `run_dir`'s configuration, else the
            environment variable PERL_REDIS_URL, else this machine's port 6379.
        run: its name; needed when Redis holds several.
        run_dir: folder of a run that ``perl-rl launch`` started. When its Redis has ended, the
            folder says what became of the run.
    """
    if run_dir is None or url is not None:
        given = url or os.environ.get(URL_VARIABLE)
        if given is not None and "://" not in given:
            named = "--redis" if url else f"${URL_VARIABLE}"
            raise UserError(f"{named} {given}: must begin with redis://, rediss:// or unix://")
        try:
            return asyncio.run(_status(given or DEFAULT_URL, run, timeout_s))
        except (RedisUnreachable, RunNotFound) as error:
            if given is not None:
                raise
            raise type(error)(_which_run()) from None
    config = load_config(run_config(run_dir, "--run-dir"))
    seen = _status_of(run_dir, config, timeout_s)
    return Seen("\n".join([seen.text, *tracker_lines(run_dir)]), seen.over)


def _status_of(run_dir: Path, config: Config, timeout_s: float) -> Seen:
    try:
        return asyncio.run(
            _status(
                config.redis.url or DEFAULT_URL,
                config.run,
                timeout_s,
                config.redis.ca_file,
                config.rollout.nodes + config.reward.nodes if is_held(run_dir) else 0,
            )
        )
    except (RedisUnreachable, RunNotFound):
        return Seen(describe_left(run_dir, config), over=not is_held(run_dir))


def _which_run() -> str:
    """What to name when nothing was named and no run is at the default address."""
    runs = [one.parent.name for one in RUNS.glob(f"*/{RUN_CONFIG}")]
    known = f"; runs/ holds {', '.join(sorted(runs)[:10])}" if runs else ""
    return (
        f"status: which run? name its folder with --run-dir, or the address of its Redis with "
        f"--redis (there is none at {DEFAULT_URL}){known}"
    )


async def _status(
    url: str,
    run: str | None,
    timeout_s: float,
    ca_file: str | None = None,
    expected_nodes: int = 0,
) -> Seen:
    client = await connect(url, timeout_s, ca_file=ca_file)
    try:
        name = await _choose(client, without_password(url), run)
        view = await look(client, Keys(name))
        return Seen(describe(name, view, expected_nodes), over=view.trainer.phase == "done")
    finally:
        await client.aclose()


async def _choose(client: redis.asyncio.Redis, where: str, run: str | None) -> str:
    found = await find_runs(client)
    if not found:
        raise RunNotFound(f"{where}: holds no run; check --redis, or start one with perl-rl launch")
    if run is None and len(found) > 1:
        raise UserError(f"{where}: holds {len(found)} runs; choose with --run: {', '.join(found)}")
    name = run or found[0]
    if name not in found:
        raise RunNotFound(f"{where}: holds no run '{name}'; it holds: {', '.join(found)}")
    return name


def describe(name: str, view: RunView, expected_nodes: int = 0) -> str:
    """A `RunView` as text; `expected_nodes`: how many nodes the launcher starts, if it does."""
    state = view.trainer
    lines = [f"run      {name}", f"now      {view.waiting_for(expected_nodes)}"]
    lines.append(f"step     {state.step} of {state.steps}")
    lines += [f"alarm    {state.alarms}, at the last step"] if state.alarms else []
    lines.append(f"policy   version {view.version or 'none yet'}")
    if state.evaluation or state.evaluating:
        running = f"step {state.evaluating} is being evaluated" if state.evaluating else ""
        lines.append(f"eval     {'; '.join(one for one in (state.evaluation, running) if one)}")
    lines += [f"record   {state.record}"] if state.record else []
    lines += [f"node     {_node(node, view.version)}" for node in view.nodes]
    lines += [f"node     {lost}  lost (no heartbeat)" for lost in view.lost]
    lines += [f"queue    {stream}: {length}" for stream, length in view.queued.items()]
    counts = view.counts
    dropped = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.dropped.items()))
    lines.append(
        f"ledger   issued {counts.issued} = trained {counts.trained} + dropped "
        f"{sum(counts.dropped.values())}{f' ({dropped})' if dropped else ''} + in flight "
        f"{counts.in_flight}{'' if counts.balanced() else '  DOES NOT BALANCE'}"
    )
    if counts.skipped:
        skipped = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.skipped.items()))
        lines.append(f"skipped  {sum(counts.skipped.values())} not issued ({skipped})")
    return "\n".join(lines)


def _node(node: NodeInfo, current: str | None) -> str:
    words = [f"{node.name}  {node.kind}  {node.state}  {node.url}"]
    if node.kind == "rollout":
        lag = "" if node.version in (None, current) else f" (current: {current})"
        words.append(f"version {node.version or 'none yet'}{lag}, {amount(node.tokens, 'token')}")
    words.append(f"working on {node.working_on}, done {node.done}")
    return "  ".join(words)
