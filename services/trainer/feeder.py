"""Issues order groups: which sample, in which orders, with which seeds, and when there is room.

Group i is the same whenever and however often the run is started: it depends on the seed and on i
alone. Groups are admitted by capacity, so that a group waits at most ``max_staleness`` steps.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Sequence
from functools import partial
from itertools import count, islice
from pathlib import Path

import redis.asyncio

from services.trainer.augmentation import distorted, noisy_orders, strength_at
from services.trainer.mixture import Mixture
from shared.config import Config
from shared.connection import Patience
from shared.errors import WaitTimeout
from shared.formats import Share
from shared.images import decode_image, digest, read_image_file
from shared.keys import Keys
from shared.ledger import Ledger
from shared.messages import PolicyVersion, PromptTask, SamplingSettings
from shared.permutation import (
    Permutation,
    apply_order,
    count_refusals,
    draw_orders,
    identity,
    refusal,
)
from shared.policy import Announcement, PolicyBoard
from shared.registry import Registry
from shared.sample import Sample
from shared.seeds import derive, generator

logger = logging.getLogger(__name__)

_BLOCK_S = 1.0


def group_id(index: int) -> str:
    """The name of the run's group number `index`."""
    return f"g{index:08d}"


class GroupPlan:
    """What group number i asks: a pure function of the configuration, the samples and i.

    Args:
        shares: the sources that the samples come from, in the order of the samples; default: one.
    """

    def __init__(self, config: Config, samples: list[Sample], shares: Sequence[Share] = ()) -> None:
        self._config = config
        self._samples = samples
        whole = Share(name="all", weight=1.0, size=len(samples))
        self._mixture = Mixture(shares or [whole], config.seed, config.data.shuffle)

    def sample(self, index: int) -> tuple[Sample, int]:
        """The sample of group `index`, and the epoch of its source."""
        place, epoch = self._mixture.place(index)
        return self._samples[place], epoch

    def orders(self, index: int) -> list[Permutation]:
        """The ``n_s + 1`` orders of group `index`, the original one first.

        Where there are fewer different orders than asked, they are repeated in turn.
        """
        sample, epoch = self.sample(index)
        settings, images = self._config.permutation, len(sample.images)
        original = identity(images)
        rng = generator(self._config.seed, "orders", sample.id, epoch)
        if rng.random() >= self.permute_probability(index) or refusal(sample) is not None:
            return [original] * (settings.n_s + 1)
        different = [original, *draw_orders(images, settings.n_s, rng, sample.fixed)]
        return [different[i % len(different)] for i in range(settings.n_s + 1)]

    def permute_probability(self, index: int) -> float:
        """``alpha_t``, with t the step that group `index` is meant for (PeRL, section 3.2)."""
        settings = self._config.permutation
        if settings.schedule == "constant":
            return settings.alpha
        progress = self.progress(index)
        if settings.schedule == "cosine":
            return settings.alpha * (1.0 + math.cos(math.pi * progress)) / 2
        return settings.alpha * (1.0 - progress)

    def progress(self, index: int) -> float:
        """The share of training that is done at the step that group `index` is meant for."""
        trainer = self._config.trainer
        return min(1.0, index // trainer.groups_per_step / trainer.steps)

    def noise(self, index: int) -> tuple[set[int], float]:
        """The orders of group `index` that are sampled with noise, and how strong it is."""
        (sample, epoch), noise = self.sample(index), self._config.permutation.noise
        strength = strength_at(noise, self.progress(index))
        if strength == 0.0 or not sample.images:
            return set(), 0.0
        orders = self._config.permutation.n_s + 1
        return noisy_orders(noise, orders, self._config.seed, sample.id, epoch), strength

    def tasks(
        self, index: int, image_names: dict[str, str], issued_at: PolicyVersion
    ) -> list[PromptTask]:
        """The group's tasks, one an order.

        Args:
            image_names: image file to SHA-256.
        """
        sample, epoch = self.sample(index)
        orders = self.orders(index)
        sampling = self._config.sampling
        tasks = []
        for order_index, permutation in enumerate(orders):
            rendered = apply_order(sample, permutation)
            tasks.append(
                PromptTask(
                    run=self._config.run,
                    group_id=group_id(index),
                    sample_id=sample.id,
                    source=sample.source,
                    order_index=order_index,
                    orders=len(orders),
                    permutation=permutation,
                    question=rendered.question,
                    images=tuple(image_names[file] for file in rendered.images),
                    answer=rendered.answer,
                    kind=sample.kind,
                    tolerance=sample.tolerance,
                    order=sample.order,
                    fixed=sample.fixed,
                    n=sampling.n,
                    sampling=SamplingSettings(
                        temperature=sampling.temperature,
                        top_p=sampling.top_p,
                        max_tokens=sampling.max_tokens,
                    ),
                    seed=derive(self._config.seed, "sampling", sample.id, epoch, order_index),
                    issued_at=issued_at,
                )
            )
        return tasks


class Feeder:
    """Keeps as many groups in flight as the staleness limit allows."""

    def __init__(
        self,
        client: redis.asyncio.Redis,
        keys: Keys,
        config: Config,
        samples: list[Sample],
        shares: Sequence[Share] = (),
    ) -> None:
        self._client = client
        self._keys = keys
        self._config = config
        self._samples = samples
        self._plan = GroupPlan(config, samples, shares)
        self._ledger = Ledger(client, keys)
        self._board = PolicyBoard(client, keys)
        self._registry = Registry(client, keys)
        self._patient = Patience(client, "feeder", config.redis.timeout_s)
        self._names: dict[str, str] = {}

    async def run(self, incarnation: int, stop: asyncio.Event) -> None:
        """Issue the groups of one incarnation until `stop`, from the first that is not settled.

        Raises:
            WaitTimeout: when too few rollout nodes become ready (``trainer.start_nodes``).
        """
        await self._report_refused()
        await self._patient(partial(self._nodes, stop))
        settled = await self._patient(self._ledger.settled)
        indices = (index for index in count() if group_id(index) not in settled)
        while not stop.is_set():
            last_event, room, current = await self._patient(self._look)
            if current is None or current.version.incarnation != incarnation:
                seen = current.entry_id if current else "0"
                await self._patient(partial(self._board.next_after, seen, _BLOCK_S))
                continue
            for index in islice(indices, room):
                await self._patient(partial(self._issue, index, current.version))
            if room == 0:
                await self._patient(partial(self._settled_after, last_event))

    async def _look(self) -> tuple[str, int, Announcement | None]:
        """The last event, how many groups may be issued, and the current version, in this order.

        The version is read after the room, which a step makes once its version is announced: a
        group is never issued at a version older than the step it is meant for.
        """
        return await self._last_event(), await self._room(), await self._board.current()

    async def _nodes(self, stop: asyncio.Event) -> None:
        """Wait until as many rollout nodes are ready as the run wants to start with."""
        trainer = self._config.trainer
        wanted, deadline = trainer.start_nodes or 0, time.monotonic() + trainer.start_timeout_s
        while (ready := await self._ready_nodes()) < wanted and not stop.is_set():
            if time.monotonic() > deadline:
                raise WaitTimeout(
                    "trainer",
                    f"rollout nodes to be ready ({ready} of {wanted}, trainer.start_nodes)",
                    trainer.start_timeout_s,
                    "trainer.start_timeout_s",
                )
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BLOCK_S)

    async def _ready_nodes(self) -> int:
        alive, _ = await self._registry.nodes()
        return sum(node.kind == "rollout" and node.state == "ready" for node in alive)

    async def _report_refused(self) -> None:
        """Log how many samples keep their order, by reason."""
        if self._config.permutation.n_s > 0:
            reasons = await asyncio.to_thread(count_refusals, self._samples)
            for reason, count in reasons.items():
                logger.info(
                    "%d of %d samples are not permuted: %s", count, len(self._samples), reason
                )

    async def _room(self) -> int:
        """How many groups may be issued now.

        With ``(max_staleness + 1) * groups_per_step`` groups in flight, the last of them is trained
        ``max_staleness`` steps after it was issued. No more are issued than the run still needs.
        """
        trainer, counts = self._config.trainer, await self._ledger.counts()
        capacity = (trainer.max_staleness + 1) * trainer.groups_per_step
        needed = trainer.steps * trainer.groups_per_step - counts.trained
        return max(0, min(capacity, needed) - counts.in_flight)

    async def _last_event(self) -> str:
        entries = await self._client.xrevrange(self._keys.events, count=1)
        return str(entries[0][0].decode()) if entries else "0"

    async def _settled_after(self, event: str) -> None:
        """Wait, not for ever, until a group is settled after `event`."""
        await self._client.xread({self._keys.events: event}, block=int(_BLOCK_S * 1000))

    async def _issue(self, index: int, issued_at: PolicyVersion) -> None:
        sample, _ = self._plan.sample(index)
        images: dict[str, bytes] = {}
        for file in sample.images:
            data = await asyncio.to_thread(
                read_image_file, Path(file), self._config.data.max_image_pixels
            )
            self._names[file] = digest(data)
            images[self._names[file]] = data
        tasks = self._plan.tasks(index, self._names, issued_at)
        noisy, strength = self._plan.noise(index)
        if noisy:
            distort = partial(self._distort, images, strength)
            tasks, images = await asyncio.to_thread(distort, tasks, noisy)
        if not await self._ledger.issue(tasks, images):
            logger.warning("group %s was issued before; skipped", tasks[0].group_id)

    def _distort(
        self,
        images: dict[str, bytes],
        strength: float,
        tasks: list[PromptTask],
        noisy: set[int],
    ) -> tuple[list[PromptTask], dict[str, bytes]]:
        """The tasks with distorted images in the orders `noisy`, and all images by SHA-256."""
        limit, everything, changed = self._config.data.max_image_pixels, dict(images), list(tasks)
        for order in sorted(noisy):
            task, names = tasks[order], []
            for name in task.images:
                picture = decode_image(images[name], name, limit)
                data = distorted(picture, strength, task.seed, name)
                names.append(digest(data))
                everything[names[-1]] = data
            shown = {"images": tuple(names), "clean_images": task.images}
            changed[order] = task.model_copy(update=shown)
        return changed, everything
