"""The plan of group i: which sample it asks, in which orders, with which seeds.

A pure function of the configuration, the samples, i and the progress of training at which it is
trained (invariant 9): a resumed run asks the same groups as one that was never interrupted.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import count

from services.trainer.plan.augmentation import noisy_orders, strength_at
from services.trainer.plan.mixture import Mixture
from shared.config import Config
from shared.formats import SourceSize
from shared.permutation import Permutation, apply_order, draw_orders, identity, refusal
from shared.sample import Sample
from shared.seeds import derive, generator
from shared.wire.messages import PolicyVersion, PromptTask, SamplingSettings


def group_id(index: int) -> str:
    """The name of the run's group number `index`."""
    return f"g{index:08d}"


def first_unsettled(settled: Mapping[str, str]) -> int:
    """The number of the first group that a run which goes on asks."""
    return next(index for index in count() if group_id(index) not in settled)


class GroupPlan:
    """Says what each group asks.

    Args:
        sizes: the sources of the samples, in the same order as the samples; default: one source.
    """

    def __init__(
        self, config: Config, samples: list[Sample], sizes: Sequence[SourceSize] = ()
    ) -> None:
        self._config = config
        self._samples = samples
        whole = SourceSize(name="all", weight=1.0, size=len(samples))
        self._mixture = Mixture(sizes or [whole], config.seed, config.data.shuffle)

    def sample(self, index: int) -> tuple[Sample, int]:
        """The sample of group `index`, and the epoch of its source."""
        place, epoch = self._mixture.place(index)
        return self._samples[place], epoch

    def orders(self, index: int, progress: float) -> list[Permutation]:
        """The ``n_s + 1`` orders of group `index`, the original one first.

        Where there are fewer different orders than that, they are repeated in turn.

        Args:
            progress: the fraction of training that is done at the step that will train the group.
        """
        sample, epoch = self.sample(index)
        settings, images = self._config.permutation, len(sample.images)
        original = identity(images)
        rng = generator(self._config.seed, "orders", sample.id, epoch)
        if rng.random() >= self.permute_probability(progress) or refusal(sample) is not None:
            return [original] * (settings.n_s + 1)
        drawn = draw_orders(images, settings.n_s, rng, sample.fixed, settings.orders)
        different = [original, *drawn]
        return [different[i % len(different)] for i in range(settings.n_s + 1)]

    def permute_probability(self, progress: float) -> float:
        """``alpha_t`` after the fraction `progress` of training, t / T (PeRL, section 3.2)."""
        settings = self._config.permutation
        if settings.schedule == "constant":
            return settings.alpha
        if settings.schedule == "cosine":
            return settings.alpha * (1.0 + math.cos(math.pi * progress)) / 2
        return settings.alpha * (1.0 - progress)

    def noise(self, index: int, progress: float) -> tuple[set[int], float]:
        """The orders of group `index` that are sampled with noise, and the noise's strength."""
        (sample, epoch), noise = self.sample(index), self._config.permutation.noise
        strength = strength_at(noise, progress)
        if strength == 0.0 or not sample.images:
            return set(), 0.0
        orders = self._config.permutation.n_s + 1
        return noisy_orders(noise, orders, self._config.seed, sample.id, epoch), strength

    def tasks(
        self, index: int, progress: float, image_names: dict[str, str], issued_at: PolicyVersion
    ) -> list[PromptTask]:
        """The group's tasks, one for each order.

        Args:
            progress: as in `orders`.
            image_names: image file to SHA-256.
        """
        sample, epoch = self.sample(index)
        orders = self.orders(index, progress)
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
