"""When the feeder begins: on a real Redis, with heartbeats written by hand."""

import asyncio
import contextlib
import time

import numpy as np
import pytest
import redis.asyncio
from PIL import Image

from services.trainer.control.choice import Choice
from services.trainer.control.feeder import Feeder
from services.trainer.plan.groups import GroupPlan
from services.trainer.plan.skipping import Skipping
from shared.config import Config
from shared.config.questions import SkippingConfig
from shared.errors import UserError, WaitTimeout
from shared.sample import Sample
from shared.service.connection import Patience, connect
from shared.wire.board import VersionBoard
from shared.wire.dead_letters import letters
from shared.wire.image_store import ImageStore
from shared.wire.keys import Keys
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, PromptTask, decode
from shared.wire.queues import WorkStream
from shared.wire.registry import NodeInfo, Registry
from shared.wire.verdicts import LATE, Verdict, Verdicts
from tests.scripted_sampler import demo_config

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0
SAMPLE = Sample(id="a", question="How many?", answer="1", kind="number")


@pytest.fixture
async def client(redis_url: str):
    client = await connect(redis_url, 10.0)
    yield client
    await client.aclose()


def config(tmp_path, redis_url: str, **trainer: object) -> Config:
    return Config.model_validate(demo_config(tmp_path, redis_url, **trainer))


async def heartbeat(client: redis.asyncio.Redis, name: str, state: str) -> None:
    node = NodeInfo(name=name, kind="rollout", url="http://here", state=state)
    await Registry(client, Keys("test")).heartbeat(node, 60.0)


async def test_no_group_is_issued_before_enough_nodes_are_ready(client, tmp_path, redis_url):
    keys = Keys("test")
    await VersionBoard(client, keys).announce(PolicyVersion(incarnation=1, step=0), "http://here")
    await heartbeat(client, "one", "ready")
    await heartbeat(client, "two", "starting")
    feeder = Feeder(client, keys, config(tmp_path, redis_url, start_nodes=2), [SAMPLE])
    stop = asyncio.Event()
    feeding = asyncio.create_task(feeder.run(1, stop))
    ledger = Ledger(client, keys)

    done, _ = await asyncio.wait({feeding}, timeout=2.0)
    assert not done
    assert (await ledger.counts()).issued == 0

    await heartbeat(client, "two", "ready")
    deadline = time.monotonic() + PATIENCE_S
    while (await ledger.counts()).issued < 4:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    stop.set()
    feeding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await feeding


async def test_nodes_that_do_not_come_are_named_with_the_setting(client, tmp_path, redis_url):
    await heartbeat(client, "one", "ready")
    settings = config(tmp_path, redis_url, start_nodes=2, start_timeout_s=0.1)
    with pytest.raises(WaitTimeout, match=r"1 of 2, trainer.start_nodes") as error:
        await Feeder(client, Keys("test"), settings, [SAMPLE]).run(1, asyncio.Event())
    assert "(trainer.start_timeout_s); gave up" in str(error.value)


async def test_noisy_orders_carry_distorted_images_and_the_clean_ones(client, tmp_path, redis_url):
    keys = Keys("test")
    for name, grey in (("a", 60), ("b", 180)):
        Image.new("RGB", (28, 28), (grey, grey, grey)).save(tmp_path / f"{name}.png")
    sample = Sample(
        id="a",
        question="<image><image> How many?",
        images=(str(tmp_path / "a.png"), str(tmp_path / "b.png")),
        answer="1",
        kind="number",
        order="invariant",
    )
    noise = {"share": 0.5, "strength": 0.1, "schedule": "constant"}
    settings = demo_config(tmp_path, redis_url, groups_per_step=1)
    settings["permutation"] = {"n_s": 1, "alpha": 0.0, "noise": noise}
    await VersionBoard(client, keys).announce(PolicyVersion(incarnation=1, step=0), "http://here")
    stop = asyncio.Event()
    feeder = Feeder(client, keys, Config.model_validate(settings), [sample])
    feeding = asyncio.create_task(feeder.run(1, stop))
    deadline = time.monotonic() + PATIENCE_S
    while await client.xlen(keys.prompts) < 2:
        assert time.monotonic() < deadline and not feeding.done()
        await asyncio.sleep(0.05)
    stop.set()
    await feeding

    tasks = [decode(PromptTask, fields[b"m"]) for _, fields in await client.xrange(keys.prompts)]
    [noisy], [clean] = (
        [one for one in tasks if bool(one.clean_images) is is_noisy] for is_noisy in (True, False)
    )
    assert noisy.trained_images() == clean.trained_images() == clean.images
    store = ImageStore(client, keys, 10_000, 1 << 20)
    pairs = zip(
        await store.get(list(noisy.images)), await store.get(list(clean.images)), strict=True
    )
    for seen, trained in pairs:
        assert seen.size == trained.size
        difference = np.asarray(seen, dtype=float) - np.asarray(trained, dtype=float)
        assert difference.std() == pytest.approx(25.5, rel=0.1)


async def test_a_sample_whose_image_is_gone_is_dropped_and_the_others_are_asked(
    client, tmp_path, redis_url
):
    keys, files = Keys("test"), [tmp_path / f"{name}.png" for name in "abc"]
    for file in files:
        Image.new("RGB", (28, 28)).save(file)
    samples = [
        Sample(id=file.stem, question="<image>?", images=(str(file),), answer="1", kind="number")
        for file in files
    ]
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:60])
    settings = config(tmp_path, redis_url, groups_per_step=3)
    await VersionBoard(client, keys).announce(PolicyVersion(incarnation=1, step=0), "http://here")
    stop, ledger = asyncio.Event(), Ledger(client, keys)
    feeding = asyncio.create_task(Feeder(client, keys, settings, samples).run(1, stop))
    deadline = time.monotonic() + PATIENCE_S
    while (await ledger.counts()).in_flight < 3:
        assert time.monotonic() < deadline and not feeding.done()
        await asyncio.sleep(0.05)
    stop.set()
    await feeding

    counts = await ledger.counts()
    assert counts.balanced() and counts.dropped["dead_letter"] >= 2
    reasons = {letter.reason for letter in await letters(client, keys)}
    assert any(one.startswith("sample 'a': image ") and "No such file" in one for one in reasons)
    assert any(one.startswith("sample 'b': image ") and "decoded" in one for one in reasons)
    entries = await client.xrange(keys.prompts)
    assert {decode(PromptTask, fields[b"m"]).sample_id for _, fields in entries} == {"c"}


async def test_a_folder_that_is_gone_ends_the_feeder_with_the_file_and_the_reason(
    client, tmp_path, redis_url
):
    keys = Keys("test")
    sample = SAMPLE.model_copy(update={"question": "<image>?", "images": ("/gone/a.png",)})
    settings = config(tmp_path, redis_url, groups_per_step=2)
    await VersionBoard(client, keys).announce(PolicyVersion(incarnation=1, step=0), "http://here")
    with pytest.raises(UserError, match=r"image /gone/a\.png: cannot be read \(No such file"):
        await Feeder(client, keys, settings, [sample]).run(1, asyncio.Event())
    assert (await Ledger(client, keys).counts()).dropped == {"dead_letter": 2}


@pytest.mark.parametrize(("staleness", "more"), [(1, True), (0, False)])
async def test_more_groups_are_in_flight_when_most_are_dropped(
    client, tmp_path, redis_url, staleness, more
):
    keys, ledger = Keys("test"), Ledger(client, Keys("test"))
    settings = config(tmp_path, redis_url, groups_per_step=8, steps=9, max_staleness=staleness)
    for name in ("one", "two"):
        await heartbeat(client, name, "ready")
    await VersionBoard(client, keys).announce(PolicyVersion(incarnation=1, step=0), "http://here")
    data = settings.data.model_copy(update={"skipping": SkippingConfig(target=None)})
    settings = settings.model_copy(update={"data": data})
    stop, places = asyncio.Event(), 8 * (staleness + 1)
    prompts = WorkStream(client, keys.prompts, "test")
    await prompts.create()
    feeding = asyncio.create_task(Feeder(client, keys, settings, [SAMPLE]).run(1, stop))
    most, deadline = 0, time.monotonic() + PATIENCE_S
    while (counts := await ledger.counts()).issued < 150:
        assert time.monotonic() < deadline and not feeding.done()
        most = max(most, counts.in_flight)
        # One after the other, and none before the feeder has filled every place.
        full = counts.in_flight >= places
        for entry in await prompts.read(1, 0.1) if full else ():
            asked = decode(PromptTask, entry.payload)
            if asked.order_index == 0:
                drop = (asked.group_id, asked.issued_at, "uniform_reward", keys.prompts, entry)
                assert await ledger.drop(*drop)
    stop.set()
    await feeding
    assert places <= most <= 5 * places
    assert (most > places) is more
    assert (await ledger.counts()).balanced()


async def test_a_verdict_that_does_not_come_is_not_waited_for_any_longer(
    client, tmp_path, redis_url, caplog
):
    keys, patience_s = Keys("test"), 0.2
    settings = config(tmp_path, redis_url, groups_per_step=1, max_staleness=0)
    ledger, verdicts = Ledger(client, keys), Verdicts(client, keys)
    skipping = Skipping(settings, GroupPlan(settings, [SAMPLE]))
    choice = Choice(ledger, verdicts, Patience(client, "feeder", 10.0), skipping, patience_s)
    await choice.resume()
    # Three groups may be without a verdict when the next one is decided.
    assert [turn.index for turn in await choice.next(5)] == [0, 1, 2, 3]
    assert await choice.next(5) == []
    deadline = time.monotonic() + PATIENCE_S
    while not (chosen := await choice.next(1)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert [turn.index for turn in chosen] == [4]
    assert await verdicts.of("g00000000") == Verdict(LATE)
    assert "group g00000000 has no verdict yet" in caplog.text
    assert "(data.skipping.patience_s 0.2)" in caplog.text
