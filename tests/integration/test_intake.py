"""What reaches the trainer on `groups` and is no group of the run: it must not end the trainer."""

import msgpack
import pytest

from services.trainer.rank.intake import Intake
from shared.config import Config
from shared.errors import UserError
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import SCHEMA_VERSION, PolicyVersion, ScoredGroup, encode
from shared.wire.queues import WorkStream
from shared.wire.runstate import RunState
from tests.builders import group, task
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

VERSION = PolicyVersion(incarnation=2, step=5)
KEYS = Keys("test")


@pytest.fixture
async def client(redis_url):
    client = await connect(redis_url, 10.0)
    await RunState(client, KEYS).update(incarnation=2)
    await WorkStream(client, KEYS.groups, "test").create()
    yield client
    await client.aclose()


@pytest.fixture
def intake(client, redis_url, tmp_path):
    settings = demo_config(tmp_path, redis_url, groups_per_step=1, max_staleness=1)
    return Intake(client, KEYS, Config.model_validate(settings), incarnation=2)


async def issue(client, name: str) -> None:
    tasks = [task(group_id=name, order_index=index) for index in range(2)]
    assert await Ledger(client, KEYS).issue(tasks, {})


async def put(client, payload: bytes) -> None:
    await client.xadd(KEYS.groups, {"m": payload})


def fields(name: str) -> dict:
    """A good group of this name, as it travels."""
    orders = [order.model_dump() for order in group().orders]
    for order in orders:
        order["batch"]["task"]["group_id"] = name
    return {"group_id": name, "orders": orders}


def good(name: str) -> bytes:
    return encode(ScoredGroup.model_validate(fields(name)))


def without_finite_rewards(name: str) -> bytes:
    broken = fields(name)
    broken["orders"][1]["rewards"][0]["total"] = float("nan")
    return msgpack.packb(["ScoredGroup", SCHEMA_VERSION, broken])


def of_another_schema(name: str) -> bytes:
    return msgpack.packb(["ScoredGroup", 99, fields(name)])


def without_responses(name: str) -> bytes:
    broken = fields(name)
    for order in broken["orders"]:
        order["batch"]["responses"] = order["rewards"] = []
    return msgpack.packb(["ScoredGroup", SCHEMA_VERSION, broken])


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (of_another_schema, "schema version 99"),
        (without_finite_rewards, "field 'orders.1.rewards.0.total': must be a finite number"),
        (without_responses, "order 0: it has no responses"),
    ],
)
async def test_a_broken_group_is_dropped_with_the_reason(client, intake, broken, why, caplog):
    await issue(client, "broken")
    await issue(client, "good")
    await put(client, broken("broken"))
    await put(client, good("good"))

    (held,) = await intake.batch(VERSION)

    assert held.group.group_id == "good"
    counts = await Ledger(client, KEYS).counts()
    assert counts.dropped == {"dead_letter": 1}
    assert (counts.issued, counts.in_flight) == (2, 1)
    ((_, letter),) = await client.xrange(KEYS.dead_letters)
    assert why in letter[b"reason"].decode()
    assert why in caplog.text


@pytest.mark.parametrize("payload", [b"", b"\xc1rubbish", good("good")[:200]])
async def test_rubbish_is_kept_as_a_dead_letter(client, intake, payload):
    await issue(client, "good")
    await put(client, payload)
    await put(client, good("good"))

    (held,) = await intake.batch(VERSION)

    assert held.group.group_id == "good"
    assert await client.xlen(KEYS.dead_letters) == 1
    assert (await Ledger(client, KEYS).counts()).balanced()


async def test_a_group_that_comes_twice_is_trained_once(client, intake):
    await issue(client, "first")
    await issue(client, "second")
    await put(client, good("first"))
    await put(client, good("first"))

    batch = await intake.batch(VERSION)
    # Its version is not announced yet, so that it is still in flight.
    await put(client, good("first"))
    await put(client, good("second"))
    batch += await intake.batch(VERSION)

    assert [held.group.group_id for held in batch] == ["first", "second"]
    assert await client.xlen(KEYS.groups) == 2


async def test_a_group_being_published_is_not_taken_for_abandoned(client, intake, monkeypatch):
    monkeypatch.setattr("services.trainer.rank.intake._ABANDONED_S", 0.0)
    await issue(client, "first")
    await put(client, good("first"))
    batch = await intake.batch(VERSION)
    looks = []

    def look() -> None:
        looks.append(1)
        if len(looks) > 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        await intake.batch(VERSION, look)
    assert [held.group.group_id for held in batch] == ["first"]


async def test_a_trainer_that_another_has_replaced_ends(client, intake):
    await RunState(client, KEYS).update(incarnation=3)
    message = r"trainer: incarnation 3 has taken over from 2; run only one trainer per run"
    with pytest.raises(UserError, match=message):
        await intake.batch(VERSION)


async def test_the_oldest_groups_come_first_however_late_they_were_scored(client, intake):
    for name in ("g3", "g1", "g2"):
        await issue(client, name)
    for name in ("g3", "g2"):
        await put(client, good(name))
    await intake.read(0.1)
    await put(client, good("g1"))

    batches = [await intake.batch(VERSION) for _ in range(3)]

    assert [held.group.group_id for batch in batches for held in batch] == ["g1", "g2", "g3"]


async def test_a_group_of_an_older_batch_is_not_taken_for_abandoned(client, intake, monkeypatch):
    monkeypatch.setattr("services.trainer.rank.intake._ABANDONED_S", 0.0)
    for name in ("g1", "g2"):
        await issue(client, name)
        await put(client, good(name))
    # One is being published, the other trained.
    assert [len(await intake.batch(VERSION)) for _ in range(2)] == [1, 1]

    await intake.read(0.1)

    assert intake.held == []
    pending = await client.xpending_range(KEYS.groups, "workers", min="-", max="+", count=9)
    assert [one["times_delivered"] for one in pending] == [1, 1]
