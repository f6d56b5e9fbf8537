"""Writes every settled group to the run folder (docs/record.md), beside the run.

The script that settles a group puts it on a stream; here it is read, written, and then removed.
Nothing waits for it: when the disk fails, recording ends with one line in the log and in
``perl-rl status``, and training goes on.
"""

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import redis.asyncio

from services.trainer.control.record_folder import RecordFolder
from services.trainer.control.record_rows import Values, group_row
from services.trainer.control.shown_images import ShownImages
from shared.config import Config
from shared.errors import WaitTimeout
from shared.records.groups import TRAINED, lost_folder
from shared.service.connection import Patience
from shared.wire.keys import Keys
from shared.wire.runstate import RunState
from shared.wire.settled import RawRecord, SettledStream, settled_group

logger = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
"""Copied into the run folder, so that token ids can be read there."""

_START = "0"
_READ_AT_ONCE = 32
_BLOCK_S = 1.0
_MOST_ROWS = 256
_LONGEST_WAIT_S = 15.0
"""A row is written after this long, though its step is not complete."""


class Recorder:
    """The recorder of one run, in the control plane's process."""

    def __init__(
        self, client: redis.asyncio.Redis, keys: Keys, config: Config, run_dir: Path
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._stream = SettledStream(client, keys)
        self._state = RunState(client, keys)
        self._patient = Patience(client, "recorder", config.redis.timeout_s)
        self._folder = RecordFolder(run_dir, config.record.keep_steps)
        self.images = ShownImages(run_dir, self._images_failed)
        self._one_at_a_time = asyncio.Lock()
        self._read_to = _START
        self._waiting: list[tuple[str, Values]] = []
        self._waiting_since = 0.0
        self._trained_step = 0
        self._tidied_step = 0
        self._disk_error: OSError | None = None
        self._finishing = False
        self._ended = not (config.record.share or config.record.dropped)
        if self._ended:
            self.images.close()

    async def begin(self, settled: Mapping[str, str], step: int) -> None:
        """Record the history that continues a checkpoint; groups of a lost one are set aside.

        Args:
            settled: `Ledger.settled` of the checkpoint, which the ledger has restored.
            step: the checkpoint's step.
        """
        async with self._one_at_a_time:
            self._waiting, self._read_to, self._trained_step = [], _START, step
            await self._patient(partial(self._state.update, record=""))
            # Also where nothing is recorded: the files must not mix two histories.
            await self._surviving(partial(asyncio.to_thread, self._set_aside, settled, step))
            if self._ended:
                await self._patient(self._stream.close)
                return
            record, trainer = self._config.record, self._config.trainer
            in_flight = (trainer.max_staleness + 1) * trainer.groups_per_step
            # While no recorder runs, no more groups than are in flight can be settled.
            room = 2 * in_flight + _MOST_ROWS
            await self._patient(partial(self._stream.open, record.share, record.dropped, room))

    async def run(self) -> None:
        """Record settled groups until `finish` is called, or recording ends."""
        while not self._ended and not self._finishing:
            async with self._one_at_a_time:
                await self._surviving(self._take_in)
            # Lets `catch_up` and `begin` have their turn.
            await asyncio.sleep(0)

    async def finish(self) -> None:
        """Write what is left, and let `run` end.

        `run` must not be cancelled: a thread may be writing.
        """
        self._finishing = True
        await self.catch_up()

    async def catch_up(self) -> None:
        """Write every group that has been settled until now."""
        async with self._one_at_a_time:
            if not self._ended:
                await self._surviving(self._write_all)

    async def missed(self) -> int:
        """Groups that were not recorded because too many waited to be written."""
        return await self._stream.missed()

    async def _take_in(self) -> None:
        found = await self._read(_BLOCK_S)
        if ready := self._ready(idle=not found):
            await self._write(ready)
        if self._trained_step > self._tidied_step:
            await self._tidy()

    async def _write_all(self) -> None:
        while await self._read(0.0):
            pass
        await self._write(self._waiting)

    async def _read(self, block_s: float) -> bool:
        """Take in some entries; whether there were any."""
        read = partial(self._stream.read, self._read_to, _READ_AT_ONCE, block_s)
        found = await self._patient(read)
        if self._disk_error is not None:
            raise self._disk_error
        if not found:
            return False
        rows = await asyncio.to_thread(self._as_rows, found)
        self._waiting_since = time.monotonic() if not self._waiting else self._waiting_since
        self._waiting += [(raw.id, row) for raw, row in zip(found, rows, strict=True)]
        self._read_to = found[-1].id
        trained = [row["step"] for row in rows if row["status"] == TRAINED]
        self._trained_step = max([self._trained_step, *trained])
        return True

    def _as_rows(self, found: list[RawRecord]) -> list[Values]:
        objective, tokens = self._config.trainer.objective, self._config.record.tokens
        run = self._config.run
        return [group_row(settled_group(one), run, objective, tokens) for one in found]

    def _ready(self, idle: bool) -> list[tuple[str, Values]]:
        """What to write now: whole steps where possible, so that a step has few files."""
        waited_s = time.monotonic() - self._waiting_since
        if len(self._waiting) >= _MOST_ROWS or waited_s > _LONGEST_WAIT_S:
            return self._waiting
        complete = self._trained_step if idle else self._trained_step - 1
        return [one for one in self._waiting if one[1]["step"] <= complete]

    async def _write(self, ready: list[tuple[str, Values]]) -> None:
        if not ready:
            return
        await asyncio.to_thread(self._folder.add, [row for _, row in ready])
        entries = {entry for entry, _ in ready}
        await self._patient(partial(self._stream.finish, sorted(entries)))
        self._waiting = [one for one in self._waiting if one[0] not in entries]

    async def _tidy(self) -> None:
        """Delete old steps, and the images that no group shows any more."""
        self._tidied_step = self._trained_step
        if not await asyncio.to_thread(self._folder.delete_old, self._trained_step):
            return
        needed = await self._patient(self._stream.images_in_flight)
        # Groups that were settled before that are in the files now, or taken in here.
        while await self._read(0.0):
            pass
        for _, row in self._waiting:
            needed |= {one for images in row["order_images"] for one in images} | {*row["images"]}
        needed |= await asyncio.to_thread(self._folder.images)
        await asyncio.to_thread(self.images.delete_others, needed)

    def _set_aside(self, settled: Mapping[str, str], step: int) -> None:
        self._folder.open()
        moved = self._folder.set_lost_aside(settled, step)
        if moved:
            folder = lost_folder(self._run_dir)
            logger.info("%d groups of a lost history are moved to %s", moved, folder)
        tokenizer = Path(self._config.model.path) / TOKENIZER
        if tokenizer.is_file():
            shutil.copyfile(tokenizer, self._run_dir / TOKENIZER)

    def _images_failed(self, error: OSError) -> None:
        self._disk_error = error

    async def _surviving(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work of the recorder; whatever goes wrong there, training goes on."""
        try:
            await work()
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            await self._end(f"cannot write to the run folder ({where}{error.strerror or error})")
        except WaitTimeout:
            # Without Redis there is no run.
            raise
        except Exception as error:
            logger.exception("the recorder failed")
            await self._end(f"the recorder failed ({type(error).__name__}: {error})")

    async def _end(self, why: str) -> None:
        self._ended = True
        self.images.close()
        logger.error("%s; training goes on, and no more groups are recorded", why)
        await self._patient(self._stream.close)
        await self._patient(partial(self._state.update, record=why))
