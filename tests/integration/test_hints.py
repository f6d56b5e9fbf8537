"""What the ranks learn of the next step's groups, on a real Redis."""

from types import SimpleNamespace

import pytest

from services.trainer.rank.hints import Hints
from shared.config import TrainerConfig
from shared.service.connection import connect
from shared.wire.keys import Keys
from shared.wire.messages import PolicyVersion

pytestmark = pytest.mark.anyio

KEYS = Keys("test")
NEXT = PolicyVersion(incarnation=2, step=6)
LATER = PolicyVersion(incarnation=2, step=7)


def held(number: int, tokens: int = 10):
    return SimpleNamespace(
        entry=SimpleNamespace(id=f"{number}-0"),
        group=SimpleNamespace(response_tokens=lambda: tokens),
    )


@pytest.fixture
async def client(redis_url):
    client = await connect(redis_url, 10.0)
    yield client
    await client.aclose()


def hints(client, ranks: int) -> Hints:
    return Hints(client, KEYS, TrainerConfig(groups_per_step=4), 2, ranks)


async def test_a_single_rank_hears_of_each_group_once_and_of_no_more_than_a_step(client):
    tells, hears = hints(client, 1), hints(client, 1)
    await tells.tell(NEXT, [held(1)])
    assert await hears.heard(NEXT, 0.01) == ["1-0"]
    await tells.tell(NEXT, [held(1), held(2)])
    await tells.tell(NEXT, [held(1), held(2)])
    assert await hears.heard(NEXT, 0.01) == ["2-0"]
    await tells.tell(NEXT, [held(number) for number in range(1, 8)])
    assert sorted(await hears.heard(NEXT, 0.01)) == ["3-0", "4-0"]


async def test_several_ranks_hear_of_a_whole_step_as_it_is_dealt(client):
    tells, hears = hints(client, 2), hints(client, 2)
    await tells.tell(NEXT, [held(1), held(2), held(3)])
    assert await hears.heard(NEXT, 0.01) == []
    whole = [held(1, 5), held(2, 30), held(3, 20), held(4, 40)]
    await tells.tell(NEXT, whole)
    assert await hears.heard(NEXT, 0.01) == ["4-0", "2-0", "1-0", "3-0"]


async def test_hints_for_another_step_are_passed_over(client):
    tells, hears = hints(client, 1), hints(client, 1)
    await tells.tell(NEXT, [held(1)])
    await tells.tell(LATER, [held(1), held(2)])
    assert sorted(await hears.heard(LATER, 0.01)) == ["1-0", "2-0"]
    assert await hears.heard(LATER, 0.01) == []
