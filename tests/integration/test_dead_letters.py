"""Dead letters are listed and their groups asked again, through the command line, on real Redis."""

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from redis import Redis

from perl_rl.cli.main import main
from perl_rl.demo.digits import write_data
from perl_rl.ending import RunFailed
from perl_rl.launch.dead_letters import add_cause, keep_dead_letters
from shared.errors import UserError, WaitTimeout
from shared.service.connection import connect
from shared.service.ports import free_port
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
    status, lines, _ = run(capsys, config_file)

    assert (status, len(lines)) == (0, 3)
    assert lines[0].endswith("prompts  g00000001  no node can sample it")
    assert lines[2].endswith("groups  no group  no group")


async def _keep(url: str, folder: Path) -> str | None:
    client = await connect(url, 10.0)
    try:
        return await keep_dead_letters(client, KEYS, folder)
    finally:
        await client.aclose()


def test_they_can_be_read_after_redis_has_ended(config_file, capsys, redis_url):
    _, listed, _ = run(capsys, config_file)
    folder = config_file.parent
    why = asyncio.run(_keep(redis_url, folder))
    rows = [json.loads(line) for line in (folder / "dead_letters.jsonl").read_text().splitlines()]
    assert [(row["group_id"], row["attempts"]) for row in rows] == [
        *[("g00000001", 1)] * 2,
        (None, 0),
    ]
    assert rows[0].keys() == {"time", "id", "stream", "reason", "group_id", "attempts"}
    assert why == (
        "2 of the last 3 dead letters: group g00000001: no node can sample it "
        f"(all: perl-rl dead-letters {folder})"
    )
    gone = f"redis://127.0.0.1:{free_port('127.0.0.1')}/0"
    settings = yaml.safe_load(config_file.read_text())
    config_file.write_text(yaml.safe_dump(settings | {"redis": {"url": gone}}))
    for of in (config_file, folder):
        assert run(capsys, of) == (0, listed, "")


def test_a_run_that_is_away_and_has_left_nothing_is_an_error(config_file, capsys):
    gone = f"redis://127.0.0.1:{free_port('127.0.0.1')}/0"
    settings = yaml.safe_load(config_file.read_text())
    config_file.write_text(yaml.safe_dump(settings | {"redis": {"url": gone}}))
    status, _, error = run(capsys, config_file.parent)
    assert status == 2 and "redis.url" in error and error.count("\n") == 1
    # A run that has ended without any has no file of them.
    (config_file.parent / "summary.json").write_text("{}")
    assert run(capsys, config_file.parent) == (0, ["no dead letters"], "")


def test_the_cause_stands_in_the_last_line():
    why = "9 of the last 9 dead letters: group g1: the prompt is too long (all: ...)"
    failed = RunFailed("trainer ended with status 1; the end of x.log:\n    a")
    refused = WaitTimeout("trainer", "groups", 3.0, "trainer.groups_timeout_s")
    told = UserError("432 groups were dropped; 9 of the last 9 dead letters: group g1: long")
    before = str(refused), str(told)
    for error in (failed, refused, told):
        add_cause(error, None)
        add_cause(error, why)
    assert str(failed).splitlines()[-1] == why
    assert (str(refused), str(told)) == (f"{before[0]}; {why}", before[1])


def test_a_replay_asks_the_whole_group_again_once(config_file, capsys, redis_url):
    _, listed, _ = run(capsys, config_file)
    status, lines, _ = run(capsys, config_file, "--replay", listed[0].split()[0])

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
    _, lines, _ = run(capsys, config_file, "--replay")
    assert len(lines) == 1 and lines[0].endswith("names no group; kept")


def test_an_unknown_letter_is_named(config_file, capsys):
    status, _, error = run(capsys, config_file, "--replay", "1-1")
    assert status == 2
    assert "run 'test' has no dead letter 1-1" in error


def test_a_run_that_is_over_takes_none(config_file, capsys, redis_url):
    with Redis.from_url(redis_url) as client:
        client.hset(KEYS.state, "phase", "done")
    status, _, error = run(capsys, config_file, "--replay")
    assert status == 2
    assert "run 'test' is done: it trains no more groups" in error
