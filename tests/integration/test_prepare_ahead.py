"""Groups are prepared beside the step before: on a real Redis, with a preparer that only counts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import torch
import yaml
from torch import distributed

from services.trainer.compute.prepare import TokenMismatch
from services.trainer.rank.fetch import GroupFetcher
from services.trainer.rank.intake import HeldGroup
from shared.config import Config
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, ScoredGroup, ScoredOrder, encode
from shared.wire.queues import Entry
from tests.builders import batch, reward
from tests.integration.counting_preparer import CountingPreparer
from tests.scripted_sampler import demo_config
from tests.waiting import wait_until

KEYS = Keys("test")
NOW = PolicyVersion(incarnation=2, step=5)
NEXT = PolicyVersion(incarnation=2, step=6)


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


def test_two_ranks_prepare_what_they_are_dealt(client, tmp_path: Path, redis_url: str) -> None:
    settings = demo_config(tmp_path, redis_url, minibatch_groups=2, max_staleness=2, ranks=2)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(settings))
    client.hset(KEYS.state, "incarnation", 2)
    client.xgroup_create(KEYS.groups, "workers", id="0", mkstream=True)
    for number in range(1, 9):
        put(client, f"g{number}")
        client.hset(KEYS.ledger, f"g{number}", "in_flight:2")
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    probe = ("-m", "tests.integration.ahead_probe", str(file), str(tmp_path))
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *launcher, *probe], check=True, timeout=150.0, env=environment)

    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert [len(minibatch) for step in first["steps"] for minibatch in step] == [1, 1, 1, 1]
    for step, groups in ((0, "g1 g2 g3 g4"), (1, "g5 g6 g7 g8")):
        dealt = [*first["steps"][step], *second["steps"][step]]
        assert sorted(name for minibatch in dealt for name in minibatch) == groups.split()
    for rank in (first, second):
        taken = [name for minibatch in rank["steps"][1] for name in minibatch]
        assert rank["asked"] == taken, "each was prepared once, by the rank that trains it"
