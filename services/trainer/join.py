"""The ranks of a further host: they follow the trainer from one incarnation to the next."""

import asyncio
import logging
import signal
from pathlib import Path

from services.trainer.ranks import HostRanks, RanksFailed, run_ranks
from services.trainer.runstate import RunState, TrainerState
from shared.config import Config, save_config
from shared.connection import Patience, connect
from shared.errors import UserError
from shared.keys import Keys

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5


def join(config: Config, run_dir: Path | None, host: int) -> int:
    """Run this host's ranks until the run is done; 0 then, and when told to stop.

    Args:
        run_dir: the run's folder, the same files as on the trainer's host.
        host: 1 .. ``trainer.hosts - 1``.

    Raises:
        UserError: when the configuration has no such host, or the ranks cannot go on.
    """
    if config.redis.url is None:
        raise UserError("redis.url: the ranks of a further host need the address of Redis")
    if run_dir is None:
        raise UserError("trainer join: --run-dir is needed: the folder of the run, on all hosts")
    if not 0 < host < config.trainer.hosts:
        raise UserError(
            f"trainer join --host {host}: trainer.hosts is {config.trainer.hosts}, so the further "
            f"hosts are 1 to {config.trainer.hosts - 1}"
        )
    file = run_dir / f"trainer-config-{host}.yaml"
    run_dir.mkdir(parents=True, exist_ok=True)
    save_config(config, file)
    asyncio.run(
        _join(config, config.redis.url, HostRanks(config.trainer, file, run_dir, host=host))
    )
    return 0


async def _join(config: Config, redis_url: str, ranks: HostRanks) -> None:
    client = await connect(
        redis_url, config.redis.timeout_s, wait=True, ca_file=config.redis.ca_file
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    patient = Patience(client, "trainer join", config.redis.timeout_s)
    state = RunState(client, Keys(config.run))
    try:
        await _follow(state, patient, ranks, stop)
    finally:
        await client.aclose()


async def _follow(
    state: RunState, patient: Patience, ranks: HostRanks, stop: asyncio.Event
) -> None:
    done = 0
    while not stop.is_set():
        now = await patient(state.get)
        if now.phase == "done":
            return
        if now.incarnation > done and now.phase != "failed":
            done = now.incarnation
            await _one_incarnation(state, patient, ranks, done, stop)
        else:
            await _pause(stop)


async def _one_incarnation(
    state: RunState, patient: Patience, ranks: HostRanks, incarnation: int, stop: asyncio.Event
) -> None:
    """Run the ranks until they end, the trainer has gone on to another incarnation, or `stop`."""
    logger.info("joining incarnation %d", incarnation)
    running = asyncio.create_task(run_ranks(ranks, incarnation))

    def over(now: TrainerState) -> bool:
        return now.incarnation != incarnation or now.phase == "failed"

    try:
        while not (running.done() or stop.is_set() or over(await patient(state.get))):
            await asyncio.wait({running}, timeout=_LOOK_EVERY_S)
        if running.done():
            running.result()
    except RanksFailed as error:
        logger.error("%s; waiting for the trainer's next incarnation", error)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _pause(stop: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({stopping}, timeout=_LOOK_EVERY_S)
    stopping.cancel()
