"""Writes every settled group to the run folder (docs/record.md), beside the run.

The script that settles a group puts it on a stream; here it is read, written, and then removed.
Nothing waits for it: when the disk fails, one line in the log and in ``perl-rl status`` says so,
training goes on, and what still waits on the stream is written when the disk is back.
"""

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import redis.asyncio

from services.trainer.control.record_folder import History, RecordFolder
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

_READ_AT_ONCE = 32
_BLOCK_S = 1.0
_RETRY_S = 10.0
"""How long to wait before a disk that failed is tried again."""
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
        self._history = History({}, 0, 0)
        self._one_at_a_time = asyncio.Lock()
        self._read_to = "0"
        self._waiting: list[tuple[str, Values]] = []
        """Stream entries and rows that are not written yet."""
        self._waiting_since = 0.0
        self._trained_step = 0
        self._tidied_step = 0
        self._told = 0
        self.failing = False
        """Whether the disk fails."""
        self._finishing = asyncio.Event()
        self._ended = not (config.record.share or config.record.dropped)
        self.images = ShownImages(run_dir)
        if self._ended:
            self.images.close()

    async def begin(self, settled: Mapping[str, str], step: int, incarnation: int) -> None:
        """Record the history that continues a checkpoint; groups of a lost one are set aside.

        Args:
            settled: `Ledger.settled` of the checkpoint, which the ledger has restored.
            step: the checkpoint's step.
            incarnation: of the trainer that continues.
        """
        async with self._one_at_a_time:
            self._history = History(settled, step, incarnation)
            self._trained_step = step
            await self._patient(partial(self._state.update, record=""))
            # Also where nothing is recorded: the files must not mix two histories.
            await self._surviving(partial(asyncio.to_thread, self._set_aside))
            if self._ended:
                await self._patient(self._stream.close)
                return
            record, trainer = self._config.record, self._config.trainer
            in_flight = (trainer.max_staleness + 1) * trainer.groups_per_step
            # While no recorder runs, no more groups than are in flight can be settled.
            room = 2 * in_flight + _MOST_ROWS
            await self._patient(partial(self._stream.open, record.share, record.dropped, room))

    async def run(self) -> None:
        """Record settled groups until `finish` is called.

        It must not be cancelled: a thread may be writing.
        """
        while not self._ended and not self._finishing.is_set():
            async with self._one_at_a_time:
                await self._surviving(self._take_in)
            with contextlib.suppress(TimeoutError):
                # At least one turn of the loop, in which `catch_up` and `begin` get the lock.
                pause_s = _RETRY_S if self.failing else 0.0
                await asyncio.wait_for(self._finishing.wait(), pause_s)

    async def finish(self) -> None:
        """Write what is left, and let `run` end."""
        self._finishing.set()
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
        await self._write(self._ready(idle=not found))
        if self._trained_step > self._tidied_step:
            await self._tidy()
            await self._tell_missed()

    async def _write_all(self) -> None:
        while await self._read(0.0):
            pass
        await self._write(self._waiting)

    async def _read(self, block_s: float) -> bool:
        """Take in some entries; whether there were any."""
        read = partial(self._stream.read, self._read_to, _READ_AT_ONCE, block_s)
        found = await self._patient(read)
        if self.images.error is not None:
            raise self.images.error
        if not found:
            return False
        rows = await asyncio.to_thread(self._as_rows, found)
        self._waiting_since = self._waiting_since if self._waiting else time.monotonic()
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
        rows = [row for _, row in ready]
        await asyncio.to_thread(self._folder.add, rows, self._history)
        entries = {entry for entry, _ in ready}
        await self._patient(partial(self._stream.finish, sorted(entries)))
        self._waiting = [one for one in self._waiting if one[0] not in entries]

    async def _tidy(self) -> None:
        """Index what is complete; delete old steps, and the images that no group shows any more."""
        self._tidied_step = self._trained_step
        await asyncio.to_thread(self._folder.write_index, self._trained_step)
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

    def _set_aside(self) -> None:
        self._folder.open()
        moved = self._folder.set_lost_aside(self._history)
        if moved:
            folder = lost_folder(self._run_dir)
            logger.info("%d groups of a lost history are moved to %s", moved, folder)
        tokenizer = Path(self._config.model.path) / TOKENIZER
        if tokenizer.is_file():
            shutil.copyfile(tokenizer, self._run_dir / TOKENIZER)

    async def _surviving(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work of the recorder; whatever goes wrong there, training goes on."""
        try:
            if self.failing:
                await self._recover()
            await work()
        except OSError as error:
            await self._disk_failed(error)
        except WaitTimeout:
            # Without Redis there is no run.
            raise
        except Exception as error:
            logger.exception("the recorder failed")
            await self._end(f"the recorder failed ({type(error).__name__}: {error})")

    async def _disk_failed(self, error: OSError) -> None:
        reason = error.strerror or error
        why = f"groups are not recorded: cannot write in {self._run_dir} ({reason})"
        if not self.failing:
            logger.error("%s; training goes on, and it is tried again", why)
        self.failing = True
        await self._patient(partial(self._state.update, record=why))

    async def _recover(self) -> None:
        """Write what waits since the disk failed.

        Raises:
            OSError: when it fails still.
        """
        await asyncio.to_thread(self._set_aside)
        await self._write(self._waiting)
        self.images.open()
        in_flight = await self._patient(self._stream.image_bytes)
        await asyncio.to_thread(self.images.keep, in_flight)
        if self.images.error is not None:
            raise self.images.error
        self.failing = False
        logger.info("groups are recorded again")
        await self._patient(partial(self._state.update, record=""))
        await self._tell_missed()

    async def _tell_missed(self) -> None:
        missed = await self._patient(self.missed)
        if missed > self._told:
            self._told = missed
            why = f"{missed} groups were not recorded: too many waited to be written"
            logger.error("%s", why)
            await self._patient(partial(self._state.update, record=why))

    async def _end(self, why: str) -> None:
        self._ended = True
        self.images.close()
        await self._patient(self._stream.close)
        await self._patient(partial(self._state.update, record=why))
