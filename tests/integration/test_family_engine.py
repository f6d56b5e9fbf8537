"""For each model family, the engine's tokens and log-probabilities are the trainer's own.

Before and after a push, on the trainer's path: groups are prepared, which compares token ids and
grids, packed and computed. Qwen2.5-VL has `test_rollout_engine.py` as well.
"""

import gc
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from services.trainer.compute.model import GroupModel, chunk_logprobs, load_model
from services.trainer.compute.packing import pack
from services.trainer.compute.prepare import GroupPreparer
from shared.config import Config
from shared.families import FAMILIES
from shared.images import decode_image
from shared.wire.messages import ScoredGroup, ScoredOrder, TrajectoryBatch
from tests.builders import reward
from tests.family_models import SIZES, save_family
from tests.integration.live_node import LiveNode, running_node, weights_of
from tests.integration.rollout_tasks import Asked, answers, ask

pytestmark = pytest.mark.timeout(600)

QUESTIONS, ANSWERS = 5, 3
# Measured in float32: mean 1e-6, largest 5e-6. With stale weights or caches the mean is above 0.1.
MEAN_BOUND = 1e-5
LARGEST_BOUND = 1e-4


def test_every_supported_family_has_a_tiny_model() -> None:
    assert SIZES.keys() == FAMILIES.keys()


@pytest.mark.parametrize("family", SIZES)
def test_sampler_and_trainer_agree(family: str, redis_server: str, tmp_path: Path) -> None:
    folders = tuple(save_family(family, tmp_path / str(seed), seed) for seed in range(2))
    versions = tmp_path / "versions"
    versions.mkdir()
    with running_node(redis_server, (folders[0], folders[1]), versions) as live:
        before = ask_in_groups(live)
        live.publish(weights_of(folders[1]))
        after = ask_in_groups(live)

    config = live.config
    first, second = (load_model(folder, config, torch.device("cpu")) for folder in folders)
    for own, other, asked in ((first, second, before), (second, first, after)):
        differences = compared(config, own, *asked)
        assert len(differences) > QUESTIONS * ANSWERS
        assert differences.mean() < MEAN_BOUND
        assert differences.max() < LARGEST_BOUND
        assert compared(config, other, *asked).mean() > 100 * MEAN_BOUND
    gc.collect()


def ask_in_groups(live: LiveNode) -> tuple[list[Asked], list[TrajectoryBatch]]:
    """Questions over two to four images of several sizes, and the node's answers."""
    asked = ask(live, QUESTIONS, n=ANSWERS)
    return asked, answers(live, asked)


def compared(
    config: Config, model: PreTrainedModel, asked: list[Asked], batches: list[TrajectoryBatch]
) -> torch.Tensor:
    """(T,) absolute differences between the trainer's log-probabilities and the sampler's."""
    preparer = GroupPreparer(config, model)
    groups = []
    for one, batch in zip(asked, batches, strict=True):
        rewards = tuple(reward() for _ in batch.responses)
        order = ScoredOrder(batch=batch, rewards=rewards, scored_s=0.0)
        group = ScoredGroup(group_id=batch.task.group_id, orders=(order,))
        pictures = {
            name: decode_image(data, name, config.data.max_image_pixels)
            for name, data in one.images.items()
        }
        version = batch.responses[0].versions[0].version
        groups.append(preparer.prepare(group, pictures, version))
    policy = GroupModel(model, temperature=1.0)
    found = []
    for batch in pack(groups, 300):
        logprobs = torch.cat(chunk_logprobs(policy, batch))
        sampled = torch.cat([chunk.responses.old_logprobs for chunk in batch.chunks])
        found.append((logprobs - sampled).abs())
    return torch.cat(found)
