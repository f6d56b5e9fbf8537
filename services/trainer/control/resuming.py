"""Where a run goes on, in words: its step, its group, and the epoch of its data."""

from collections.abc import Sequence

from services.trainer.plan.groups import first_unsettled
from services.trainer.plan.mixture import Mixture
from services.trainer.rank.checkpoint_folder import CheckpointState
from shared.config import Config
from shared.formats import SourceSize
from shared.words import amount


def where_it_goes_on(
    config: Config, checkpoint: CheckpointState, sources: Sequence[SourceSize]
) -> str:
    """``step 9 of 16, epoch 2 of 120 questions``; with several sources, the epoch of each."""
    step = f"step {checkpoint.step + 1} of {config.trainer.steps}"
    if not sources:
        return step
    mixture = Mixture(sources, config.seed, config.data.shuffle)
    epochs = mixture.epochs(first_unsettled(checkpoint.settled))
    if len(sources) == 1:
        return f"{step}, epoch {epochs[0] + 1} of {amount(sources[0].size, 'question')}"
    each = (
        f"{epoch + 1} of {amount(one.size, 'question')} of {one.name}"
        for epoch, one in zip(epochs, sources, strict=True)
    )
    return f"{step}, epochs: {', '.join(each)}"
