"""Dead letters are listed and their groups asked again, through the command line, on real Redis."""

import asyncio

import pytest
import yaml
from redis import Redis

from perl_rl.cli.main import main
from perl_rl.demo.digits import write_data
from shared.service.connection import connect
from shared.wire.board import VersionBoard
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, PromptTask, decode
from shared.wire.queues import WorkStream
from shared.wire.runstate import RunState
from tests.builders import task
from tests.scripted_sampler import demo_config

KEYS = Keys("test")
VERSION = PolicyVersion(incarnation=1, step=3)


async def _bury_two_orders(url: str) -> None:
    client = await connect(url, 10.0)
    ledger, prompts = Ledger(client, KEYS), WorkStream(client, KEYS.prompts, "one")
    await prompts.create()
    await RunState(client, KEYS).update(phase="training", incarnation=1)
    await VersionBoard(client, KEYS).announce(VERSION, "http://here")
    orders = [
        task(group_id="g00000001", order_index=index, issued_at=VERSION) for index in range(2)
    ]
    await ledger.issue(orders, {})
    for entry in await prompts.read(2, 0.1):
        await ledger.drop_dead_letter(prompts, entry, "no node can sample it")
    await client.xadd(
        KEYS.dead_letters, {"m": b"\xc1", "stream": KEYS.groups, "reason": "no group"}
    )
    await client.aclose()


@pytest.fixture
def config_file(tmp_path, redis_url):
    write_data(tmp_path / "data", train=4, held_out=2, skew=0.8, seed=1)
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(demo_config(tmp_path, redis_url)))
    asyncio.run(_bury_two_orders(redis_url))
    return file


async def _counts(url: str):
    client = await connect(url, 10.0)
    counts = await Ledger(client, KEYS).counts()
    await client.aclose()
    return counts


def run(capsys, *arguments) -> tuple[int, list[str], str]:
    status = main(["dead-letters", *map(str, arguments)])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_they_are_listed_with_stream_group_and_reason(config_file, capsys):
    status, lines, _ = run(capsys, "list", config_file)

    assert (status, len(lines)) == (0, 3)
    assert lines[0].endswith("prompts  g00000001  no node can sample it")
    assert lines[2].endswith("groups  no group  no group")


def test_a_replay_asks_the_whole_group_again_once(config_file, capsys, redis_url):
    _, listed, _ = run(capsys, "list", config_file)
    status, lines, _ = run(capsys, "replay", config_file, listed[0].split()[0])

    assert (status, lines) == (0, ["g00000001: issued again as g00000001.2"])
    counts = asyncio.run(_counts(redis_url))
    assert counts.balanced()
    assert (counts.issued, counts.in_flight, counts.dropped) == (2, 1, {"dead_letter": 1})
    with Redis.from_url(redis_url) as client:
        entries = [decode(PromptTask, one[b"m"]) for _, one in client.xrange(KEYS.prompts)]
        assert client.xlen(KEYS.dead_letters) == 1
    assert {one.group_id for one in entries} == {"g00000001.2"}
    assert len(entries) == entries[0].orders
    # The second replay finds only the letter that names no group.
    _, lines, _ = run(capsys, "replay", config_file)
    assert len(lines) == 1 and lines[0].endswith("names no group; kept")


def test_an_unknown_letter_is_named(config_file, capsys):
    status, _, error = run(capsys, "replay", config_file, "1-1")
    assert status == 2
    assert "run 'test' has no dead letter 1-1" in error


def test_a_run_that_is_over_takes_none(config_file, capsys, redis_url):
    with Redis.from_url(redis_url) as client:
        client.hset(KEYS.state, "phase", "done")
    status, _, error = run(capsys, "replay", config_file)
    assert status == 2
    assert "run 'test' is done: it trains no more groups" in error
