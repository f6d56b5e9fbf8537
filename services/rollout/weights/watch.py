"""Keeps a node's engine at the newest policy: watches for versions, fetches them, loads them."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from services.rollout.failures import EngineFailed
from services.rollout.node import Node
from services.rollout.weights.fetched import FetchedVersion, Fetcher, FetchFailed
from services.rollout.weights.filesystem import FilesystemFetcher
from services.rollout.weights.http import HttpFetcher
from services.rollout.weights.merged import Merger
from shared.config import Config
from shared.service.connection import Patience
from shared.weights.manifest import CorruptWeights
from shared.wire.board import Announcement, VersionBoard
from shared.wire.messages import PolicyVersion

logger = logging.getLogger(__name__)

ChangeWeights = Callable[[Path, Path, PolicyVersion], Awaitable[float]]
"""Loads the version of a manifest and a data file into the engine; the seconds it was paused."""

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
LOAD_TRIES = 3


def fetcher(config: Config) -> Fetcher:
    """The way to get weights that ``weights.backend`` names."""
    return (
        FilesystemFetcher(config) if config.weights.backend == "filesystem" else HttpFetcher(config)
    )


class WeightWatcher:
    """Follows the version board; the node is ready while its engine holds complete weights.

    A version that cannot be fetched leaves the node sampling with the one it has, for a while, and
    the newest one is tried again. One that cannot be loaded leaves the node not ready; after a few
    such tries the service ends, for a fresh one to take its place.
    """

    def __init__(
        self,
        change_weights: ChangeWeights,
        board: VersionBoard,
        node: Node,
        config: Config,
        patient: Patience,
        merger: Merger,
    ) -> None:
        self._change_weights = change_weights
        self._board = board
        self._node = node
        self._patient = patient
        self._block_s = config.rollout.heartbeat_s
        self._fetcher = fetcher(config)
        self._merger = merger
        self._outdated_after_s = config.rollout.outdated_after_s
        self._failing_since: float | None = None
        self._failed_loads = 0

    async def run(self) -> None:
        """Follow the board until cancelled.

        Raises:
            EngineFailed: when versions cannot be loaded.
        """
        last, pause_s = "0", FIRST_PAUSE_S
        try:
            while True:
                newest = await self._patient(partial(self._board.next_after, last, self._block_s))
                if newest is None:
                    continue
                if await self._take(newest):
                    last, pause_s = newest.entry_id, FIRST_PAUSE_S
                else:
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            self._fetcher.close()
            self._merger.close()

    async def _take(self, announcement: Announcement) -> bool:
        """Fetch and load one version; False when that failed."""
        try:
            async with self._fetcher.fetched(announcement) as files:
                await self._load(await self._merger.whole(files))
        except (FetchFailed, CorruptWeights, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            logger.warning("weights %s not fetched, trying again: %s", announcement.version, why)
            self._not_fetched()
            return False
        except EngineFailed as error:
            self._failed_loads += 1
            self._node.set_state("starting")
            logger.error("%s; the node does not sample until a version is loaded", error)
            if self._failed_loads >= LOAD_TRIES:
                raise
            return False
        self._failed_loads = 0
        self._failing_since = None
        return True

    def _not_fetched(self) -> None:
        """Work that is meant for a newer policy goes to other nodes after a while."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        if self._node.ready and now - self._failing_since > self._outdated_after_s:
            self._node.set_state("outdated")
            logger.error(
                "no new weights for %.0f s (rollout.outdated_after_s): no work is taken until "
                "they come; check the way to weights.public_url",
                now - self._failing_since,
            )

    async def _load(self, files: FetchedVersion) -> None:
        paused_s = await self._change_weights(files.manifest, files.data, files.version)
        self._node.loaded(files.version, paused_s)
        self._node.set_state("ready")
        logger.info("weights %s loaded, the engine was paused %.3f s", files.version, paused_s)
