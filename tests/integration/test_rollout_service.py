"""A rollout node among its neighbours: streams, dead letters, take-over, and its HTTP routes."""

import asyncio
import io

import httpx
import pytest
from PIL import Image
from transformers import AutoProcessor

from services.rollout.engine import request
from services.rollout.engine.sampler import sampling_parameters
from shared.images import decode_image, digest
from shared.prompting import render
from shared.service.auth import bearer
from shared.wire.ledger import Ledger
from shared.wire.messages import PolicyVersion, SamplingSettings
from shared.wire.queues import WorkStream
from shared.wire.registry import Registry
from tests.integration.live_node import PATIENCE_S, LiveNode, weights_of
from tests.integration.rollout_tasks import Asked, answers, ask, collect, issue
from tests.picture_kinds import encoded, kinds, turned

pytestmark = pytest.mark.timeout(600)


def test_a_node_without_weights_is_alive_and_not_ready(live_node: LiveNode) -> None:
    answer = live_node.ready_without_weights
    assert answer.status_code == 503
    assert answer.json() == {"state": "starting", "version": None}
    assert live_node.node.info().engine_up


def test_a_task_becomes_a_trajectory(live_node: LiveNode) -> None:
    asked = ask(live_node, 3, n=4)
    done, tokens = live_node.node.done, live_node.node.tokens
    batches = answers(live_node, asked)
    for one, batch in zip(asked, batches, strict=True):
        assert batch.task == one.task
        assert batch.node == live_node.node.name
        assert len(batch.responses) == 4
        assert all(
            response.versions[-1].version == live_node.version for response in batch.responses
        )
        assert all((response.logprobs <= 0).all() for response in batch.responses)
    assert live_node.node.done == done + 3
    sampled = sum(len(one.token_ids) for batch in batches for one in batch.responses)
    assert live_node.node.tokens == tokens + sampled
    assert live_node.do(_left(live_node)) == 0


async def _left(live: LiveNode) -> int:
    return await WorkStream(live.client, live.keys.prompts, "test").length()


def test_a_response_is_decoded_as_the_engine_decodes_it(live_node: LiveNode) -> None:
    asked = ask(live_node, 8, n=2)
    batches = answers(live_node, asked)
    theirs = [live_node.do(_decoded_by_the_engine(live_node, one)) for one in asked]
    ours = [[one.text for one in batch.responses] for batch in batches]
    # A response that is cut off may end within a character, which the engine leaves out.
    whole = [[text.rstrip("\ufffd") for text in texts] for texts in (*ours, *theirs)]
    assert whole[: len(ours)] == whole[len(ours) :]
    ended = {one.finish_reason for batch in batches for one in batch.responses}
    assert "length" in ended and any(map(any, theirs))


async def _decoded_by_the_engine(live: LiveNode, one: Asked) -> list[str]:
    engine, task = live.service.engine, one.task
    assert engine is not None
    parameters = sampling_parameters(task.sampling, task.n, task.seed)
    parameters.detokenize = True
    processor = AutoProcessor.from_pretrained(live.config.model.path)
    text = render(processor, task.question, live.config.data.instruction)
    pictures = [Image.open(io.BytesIO(one.images[image])).convert("RGB") for image in task.images]
    prepared = await request.prepare(engine, text, pictures, list(task.images))
    output = await request.generate(engine, prepared, parameters)
    return [answer.text for answer in output.outputs]


def test_a_malformed_message_is_buried_and_the_next_is_answered(live_node: LiveNode) -> None:
    live_node.do(_empty_dead_letters(live_node))
    live_node.do(live_node.client.xadd(live_node.keys.prompts, {"m": b"\xc1 no message"}))
    answers(live_node, ask(live_node, 1))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert letter[b"m"] == b"\xc1 no message"
    assert b"expected PromptTask" in letter[b"reason"]


def test_a_task_that_cannot_fit_is_buried_and_its_group_dropped(live_node: LiveNode) -> None:
    live_node.do(_empty_dead_letters(live_node))
    [asked] = ask(live_node, 1)
    endless = "<image>" * len(asked.task.images) + "word " * 1500
    [too_long] = ask(live_node, 1, question=endless)
    live_node.do(issue(live_node, [too_long]))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"context length is 1024 tokens" in letter[b"reason"]
    assert live_node.do(_settled(live_node, too_long.task.group_id)) == "dropped:dead_letter"


def test_a_group_whose_image_is_gone_is_dropped(live_node: LiveNode) -> None:
    [whole] = ask(live_node, 1)
    task = whole.task.model_copy(update={"images": (*whole.task.images[:-1], "0" * 64)})
    live_node.do(issue(live_node, [Asked(task, whole.images)]))
    assert live_node.do(_settled(live_node, task.group_id)) == "dropped:image_missing"


def test_the_work_of_a_dead_node_is_taken_over(live_node: LiveNode) -> None:
    live_node.do(_pause_reading(live_node))
    asked = ask(live_node, 2)
    live_node.do(_read_and_die(live_node, asked))
    live_node.node.set_state("ready")
    batches = live_node.do(collect(live_node, asked))
    assert {batch.node for batch in batches} == {live_node.node.name}


def test_a_task_that_failed_too_often_is_buried_and_its_group_dropped(live_node: LiveNode) -> None:
    live_node.do(_empty_dead_letters(live_node))
    live_node.do(_pause_reading(live_node))
    asked = ask(live_node, 1)
    live_node.do(_read_and_die(live_node, asked, times=live_node.config.rollout.max_attempts))
    live_node.node.set_state("ready")
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"rollout.max_attempts" in letter[b"reason"]
    assert live_node.do(_settled(live_node, asked[0].task.group_id)) == "dropped:dead_letter"


def test_a_task_with_more_tags_than_images_is_buried(live_node: LiveNode) -> None:
    """The engine would answer it, with placeholders that no image stands behind."""
    live_node.do(_empty_dead_letters(live_node))
    [asked] = ask(live_node, 1)
    [odd] = ask(live_node, 1, question=asked.task.question + "<image>")
    live_node.do(issue(live_node, [odd]))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"<image> tags" in letter[b"reason"]
    assert live_node.do(_settled(live_node, odd.task.group_id)) == "dropped:dead_letter"


def test_a_task_with_a_special_token_in_its_question_is_buried_at_once(live_node: LiveNode) -> None:
    """The engine would take it for one more image."""
    live_node.do(_empty_dead_letters(live_node))
    handed_back = live_node.node.handed_back
    [asked] = ask(live_node, 1)
    [odd] = ask(live_node, 1, question=asked.task.question + " After <|image_pad|>?")
    live_node.do(issue(live_node, [odd]))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"the model's special token <|image_pad|>" in letter[b"reason"]
    assert live_node.node.handed_back == handed_back
    assert live_node.do(_settled(live_node, odd.task.group_id)) == "dropped:dead_letter"


def test_pictures_of_every_kind_are_sampled_as_the_trainer_sees_them(live_node: LiveNode) -> None:
    model = live_node.config.model
    processor = AutoProcessor.from_pretrained(model.path, **model.pixel_bounds())
    pictures = [turned("JPEG", 6), *(data for _, data, _ in kinds())][:4]
    question = "<image>" * len(pictures) + "Which one?"
    names = tuple(map(digest, pictures))
    [one] = ask(live_node, 1, question=question, images=names, permutation=(0, 1, 2, 3))
    asked = Asked(one.task, dict(zip(names, pictures, strict=True)))
    [batch] = answers(live_node, [asked])
    decoded = [decode_image(data, "x", 10**6) for data in pictures]
    text = render(processor, question, live_node.config.data.instruction)
    expected = processor(text=[text], images=decoded, return_tensors="pt")
    assert batch.prompt_token_ids.tolist() == expected["input_ids"][0].tolist()
    assert [list(grid) for grid in batch.image_grids] == expected["image_grid_thw"].tolist()


def test_a_task_whose_picture_no_processor_takes_is_buried_at_once(live_node: LiveNode) -> None:
    live_node.do(_empty_dead_letters(live_node))
    thin = encoded(Image.new("RGB", (2100, 10)), "PNG")
    settings = {"question": "<image>?", "images": (digest(thin),), "permutation": (0,)}
    [one] = ask(live_node, 1, **settings)
    live_node.do(issue(live_node, [Asked(one.task, {digest(thin): thin})]))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"2100x10 pixels, one side more than 200 times the other" in letter[b"reason"]


def test_a_task_that_makes_sampling_fail_ends_no_node(live_node: LiveNode) -> None:
    live_node.do(_empty_dead_letters(live_node))
    impossible = SamplingSettings(temperature=-1.0, top_p=1.0, max_tokens=4)
    poison = ask(live_node, 1, sampling=impossible)
    handed_back = live_node.node.handed_back
    live_node.do(issue(live_node, poison))
    [letter] = live_node.do(_dead_letters(live_node, 1))
    assert b"rollout.max_attempts" in letter[b"reason"]
    assert live_node.node.handed_back == handed_back + live_node.config.rollout.max_attempts
    assert live_node.do(_settled(live_node, poison[0].task.group_id)) == "dropped:dead_letter"
    answers(live_node, ask(live_node, 1))


async def _pause_reading(live: LiveNode) -> None:
    """Keep the node from reading, and wait until the read that it may be in has ended."""
    live.node.set_state("starting")
    async with asyncio.timeout(PATIENCE_S):
        while any(_waits_in_read(client) for client in await live.client.client_list()):
            await asyncio.sleep(0.02)


def _waits_in_read(client: dict[str, str]) -> bool:
    return client["cmd"] == "xreadgroup" and "b" in client["flags"]


async def _read_and_die(live: LiveNode, asked: list, times: int = 1) -> None:
    """Be a node that reads the tasks, again and again, and does nothing with them."""
    await issue(live, asked)
    dead = WorkStream(live.client, live.keys.prompts, "dead-node")
    entries = await dead.read(len(asked), 1.0)
    assert len(entries) == len(asked)
    for _ in range(times - 1):
        assert len(await dead.claim_abandoned(0.0, len(asked))) == len(asked)


def test_a_task_for_a_newer_policy_waits_for_it(live_node: LiveNode, tiny_models: tuple) -> None:
    upcoming = PolicyVersion(incarnation=1, step=live_node.version.step + 1)
    asked = ask(live_node, 1, issued_at=upcoming)
    live_node.do(_issue_and_wait(live_node, asked))
    assert live_node.node.version == live_node.version
    assert live_node.announce(weights_of(tiny_models[0])) == upcoming
    [batch] = live_node.do(collect(live_node, asked))
    assert batch.responses[0].versions[0].version == upcoming


async def _issue_and_wait(live: LiveNode, asked: list) -> None:
    await issue(live, asked)
    async with asyncio.timeout(PATIENCE_S):
        while len(live.node.in_work) < len(asked):
            await asyncio.sleep(0.01)


def test_heartbeats_tell_version_and_pauses(live_node: LiveNode) -> None:
    [info] = live_node.do(_nodes(live_node))
    assert info.kind == "rollout"
    assert info.state == "ready"
    assert info.version == str(live_node.node.version)
    assert info.url == live_node.node.url


async def _nodes(live: LiveNode) -> list:
    """The live nodes after another heartbeat."""
    await live.client.delete(live.keys.node(live.node.name))
    async with asyncio.timeout(PATIENCE_S):
        while True:
            alive, _ = await Registry(live.client, live.keys).nodes()
            if alive:
                return alive
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize("path", ["/metrics", "/v1/models", "/v1/chat/completions"])
def test_all_but_health_wants_the_token(live_node: LiveNode, path: str, token: str | None) -> None:
    method = "POST" if path.endswith("completions") else "GET"
    answer = live_node.do(_without_token(live_node, method, path, token))
    assert answer.status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_wants_no_token(live_node: LiveNode, path: str) -> None:
    assert live_node.do(_without_token(live_node, "GET", path, None)).status_code == 200


async def _without_token(
    live: LiveNode, method: str, path: str, token: str | None
) -> httpx.Response:
    async with httpx.AsyncClient(headers=bearer(token), trust_env=False) as client:
        return await client.request(method, live.node.url + path, json={}, timeout=PATIENCE_S)


@pytest.mark.parametrize("path", ["/collective_rpc", "/pause", "/update_weights", "/server_info"])
def test_development_routes_are_not_there(live_node: LiveNode, path: str) -> None:
    assert live_node.do(live_node.get(path)).status_code == 404


def test_metrics_show_the_node_and_its_engine(live_node: LiveNode) -> None:
    text = live_node.do(live_node.get("/metrics")).text
    assert "perl_rollout_tokens_total" in text
    assert "vllm:generation_tokens_total" in text


async def _empty_dead_letters(live: LiveNode) -> None:
    await live.client.delete(live.keys.dead_letters)


async def _dead_letters(live: LiveNode, count: int) -> list[dict[bytes, bytes]]:
    async with asyncio.timeout(PATIENCE_S):
        while await live.client.xlen(live.keys.dead_letters) < count:
            await asyncio.sleep(0.02)
    return [fields for _, fields in await live.client.xrange(live.keys.dead_letters)]


async def _settled(live: LiveNode, group_id: str) -> str:
    ledger = Ledger(live.client, live.keys)
    async with asyncio.timeout(PATIENCE_S):
        while group_id not in (settled := await ledger.settled()):
            await asyncio.sleep(0.02)
    return settled[group_id]
