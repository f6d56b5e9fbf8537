"""Groups are prepared beside the step before: on a real Redis, with a preparer that only counts."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
import torch
from torch import distributed

from services.trainer.compute.prepare import TokenMismatch
from services.trainer.rank.fetch import GroupFetcher
from services.trainer.rank.intake import HeldGroup
from shared.config import Config
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, ScoredGroup, ScoredOrder, encode
from shared.wire.queues import Entry
from tests.builders import batch, reward
from tests.scripted_sampler import demo_config
from tests.waiting import wait_until

KEYS = Keys("test")
NOW = PolicyVersion(incarnation=2, step=5)
NEXT = PolicyVersion(incarnation=2, step=6)
BYTES = 600 << 10


class CountingPreparer:
    """In place of `GroupPreparer`: says which groups it was asked for, and for which version."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.broken = ""

    def prepare(self, group: ScoredGroup, pictures: dict, current: PolicyVersion) -> object:
        self.asked.append((group.group_id, current.step))
        if group.group_id == self.broken:
            raise TokenMismatch(f"group {group.group_id}, order 0: other tokens")
        pixels = SimpleNamespace(nbytes=BYTES)
        return SimpleNamespace(name=group.group_id, step=current.step, pixel_values=pixels)


@pytest.fixture
def only_rank(tmp_path: Path):
    meeting = f"file://{tmp_path}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def client(redis_url: str):
    client = redis.Redis.from_url(redis_url)
    yield client
    client.close()


@pytest.fixture
def preparer() -> CountingPreparer:
    return CountingPreparer()


@pytest.fixture
def fetcher(only_rank, redis_url: str, tmp_path: Path, preparer: CountingPreparer):
    settings = demo_config(tmp_path, redis_url, groups_per_step=2, prepare_ahead_mib=1)
    fetcher = GroupFetcher(Config.model_validate(settings), 2, preparer, torch.device("cpu"))
    yield fetcher
    fetcher.close()


def put(client: redis.Redis, name: str) -> HeldGroup:
    """A group without pictures, as the reward service hands it on."""
    order = ScoredOrder(
        batch=batch(group_id=name, orders=1, images=(), question="?"),
        rewards=(reward(1.0), reward(0.0)),
        scored_s=0.1,
    )
    group = ScoredGroup(group_id=name, orders=(order,))
    entry = client.xadd(KEYS.groups, {"m": encode(group)}).decode()
    return HeldGroup(Entry(entry, b""), group)


def hint(client: redis.Redis, upcoming: PolicyVersion, *groups: HeldGroup) -> None:
    entries = " ".join(one.entry.id for one in groups)
    client.xadd(KEYS.hints, {"version": str(upcoming), "entries": entries})


def names(minibatches: list) -> list[list[tuple[str, int]]]:
    return [[(one.name, one.step) for one in groups] for groups in minibatches]


def test_a_group_that_was_announced_is_prepared_once(client, fetcher, preparer) -> None:
    first, second = put(client, "g1"), put(client, "g2")
    fetcher.prepare_ahead(NEXT)
    hint(client, NEXT, first)
    wait_until(lambda: preparer.asked == [("g1", 6)], lambda: str(preparer.asked), 10.0)

    assert names(fetcher.minibatches([first, second], NEXT)) == [[("g1", 6), ("g2", 6)]]
    assert preparer.asked == [("g1", 6), ("g2", 6)]


def test_a_step_for_another_version_prepares_its_groups_itself(client, fetcher, preparer) -> None:
    group = put(client, "g1")
    fetcher.prepare_ahead(NEXT)
    hint(client, NEXT, group)
    wait_until(lambda: preparer.asked == [("g1", 6)], lambda: str(preparer.asked), 10.0)
    assert names(fetcher.minibatches([group], NOW)) == [[("g1", 5)]]


def test_a_group_that_cannot_be_prepared_fails_in_its_own_step(client, fetcher, preparer) -> None:
    preparer.broken = "g2"
    good, broken = put(client, "g1"), put(client, "g2")
    fetcher.prepare_ahead(NEXT)
    hint(client, NEXT, broken, good)
    wait_until(lambda: len(preparer.asked) == 2, lambda: str(preparer.asked), 10.0)

    assert names(fetcher.minibatches([good], NEXT)) == [[("g1", 6)]]
    with pytest.raises(TokenMismatch, match="group g2, order 0"):
        fetcher.minibatches([broken], NEXT)


def test_what_is_prepared_ahead_is_bounded(client, fetcher, preparer) -> None:
    groups = [put(client, f"g{number}") for number in range(4)]
    fetcher.prepare_ahead(NEXT)
    hint(client, NEXT, *groups)
    wait_until(lambda: len(preparer.asked) == 2, lambda: str(preparer.asked), 10.0)
    # 1 MiB holds the pictures of one group and a part of the second.
    assert fetcher._ahead is not None
    fetcher._ahead.result(timeout=10.0)
    assert len(preparer.asked) == 2
