"""Groups are read beside a step, in a thread; the batch is chosen when it is asked for."""

import threading

import pytest
import redis

from services.trainer.rank.collect import Collector
from shared.config import Config
from shared.errors import WaitTimeout
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion, ScoredGroup, ScoredOrder, encode
from tests.builders import batch, reward
from tests.scripted_sampler import demo_config
from tests.waiting import wait_until

KEYS = Keys("test")
NOW = PolicyVersion(incarnation=2, step=5)
NEXT = PolicyVersion(incarnation=2, step=6)


@pytest.fixture
def client(redis_url: str):
    client = redis.Redis.from_url(redis_url)
    client.hset(KEYS.state, "incarnation", 2)
    client.xgroup_create(KEYS.groups, "workers", id="0", mkstream=True)
    yield client
    client.close()


@pytest.fixture
def collector(client, redis_url: str, tmp_path):
    settings = demo_config(tmp_path, redis_url, groups_per_step=2, max_staleness=2)
    settings["trainer"]["groups_timeout_s"] = 0.5
    collector = Collector(Config.model_validate(settings), incarnation=2, ranks=1)
    yield collector
    collector.close()


def put(client: redis.Redis, *names: str) -> None:
    for name in names:
        order = ScoredOrder(
            batch=batch(group_id=name, orders=1), rewards=(reward(), reward(0.0)), scored_s=0.1
        )
        client.hset(KEYS.ledger, name, "in_flight:2")
        group = ScoredGroup(group_id=name, orders=(order,))
        client.xadd(KEYS.groups, {"m": encode(group), "g": name})


def taken(collector: Collector, current: PolicyVersion) -> list[str]:
    return [held.group.group_id for held in collector.batch(current)]


def test_groups_are_read_and_announced_while_a_step_trains(client, collector) -> None:
    put(client, "g1", "g2", "g3")
    assert taken(collector, NOW) == ["g1", "g2"]
    collector.gather(NEXT)
    put(client, "g4")
    wait_until(lambda: client.xlen(KEYS.hints) >= 3, "hints", 10.0)
    hints = [fields for _, fields in client.xrange(KEYS.hints) if fields[b"version"] == b"2.6"]
    assert sum(len(fields[b"entries"].split()) for fields in hints) == 2

    put(client, "g0")
    assert taken(collector, NEXT) == ["g0", "g3"], "the oldest, though it was scored last"


def test_the_wait_for_groups_is_bounded_from_the_moment_they_are_asked_for(
    client, collector
) -> None:
    collector.gather(NEXT)
    put(client, "g1")
    with pytest.raises(WaitTimeout, match=r"1 of 2 for step 6\) \(trainer.groups_timeout_s"):
        collector.batch(NEXT)


def test_a_stop_ends_the_wait_without_groups(client, collector) -> None:
    collector.gather(NEXT)
    client.hset(KEYS.control, "stop", 1)
    assert collector.batch(NEXT) == []


def test_what_the_check_raises_ends_the_wait(client, collector) -> None:
    seen = threading.Event()

    def check() -> None:
        if seen.is_set():
            raise OSError("No space left on device")
        seen.set()

    with pytest.raises(OSError, match="No space left"):
        collector.batch(NOW, check)
