"""Chat completions of a rollout node on its real engine: answers, pictures, refusals."""

import base64
import json
import re
import zlib
from typing import Any

import httpx
import pytest
from PIL import Image

from shared.service.auth import bearer
from tests.integration.live_node import PATIENCE_S, TOKEN, LiveNode
from tests.integration.rollout_tasks import answers, ask
from tests.picture_kinds import encoded

pytestmark = pytest.mark.timeout(600)


def test_chat_completions_answer_with_a_data_image(live_node: LiveNode) -> None:
    answer = live_node.do(_chat(live_node, _body(live_node)))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["model"] == live_node.config.run
    assert body["usage"]["completion_tokens"] == 8
    assert len(body["choices"][0]["logprobs"]["content"]) == 8


def test_chat_completions_stream(live_node: LiveNode) -> None:
    answer = live_node.do(_chat(live_node, _body(live_node) | {"stream": True}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    assert len([json.loads(event) for event in events[:-1]]) > 2


def test_chat_completions_open_no_image_but_those_in_the_request(live_node: LiveNode) -> None:
    live_node.publisher.requests.clear()
    for address in (
        f"{live_node.publisher.url}/{live_node.version}/data",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "/etc/passwd",
        "ftp://example.com/a.png",
        "data:image/png,abc",
        "a.png",
        "",
    ):
        answer = live_node.do(_chat(live_node, _body(live_node) | _shown(_picture(address))))
        assert answer.status_code == 400, (address, answer.text)
        assert answer.json()["error"]["message"].startswith("send images as data: URIs (data:image")
    assert live_node.publisher.requests == []


def _shown(*parts: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}]}


def _picture(address: object) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": address}}


_INTERNAL = re.compile(
    r"vllm|VLLM|--[a-z]|Traceback|pydantic|Input should|' object|[A-Z][a-z]+[A-Z]|/work|/tmp"
)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "another"},
        {"messages": []},
        {"messages": "hello"},
        {"messages": 7},
        {"stop": {"a": 1}},
        {"stream_options": 3},
        {"max_tokens": -1},
        {"max_tokens": "many"},
        {"max_tokens": 10_000_000},
        {"temperature": -1.0},
        {"temperature": "hot"},
        {"top_p": 7},
        {"n": 0},
        {"seed": "x"},
        {"seed": 2**70},
        {"logprobs": True, "top_logprobs": 5000},
        {"tools": [{"type": "function"}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": 1}}},
        {"stop": [""]},
        {"logit_bias": {"-4": 1}},
        {"prompt_logprobs": -3},
        _shown(_picture("data:image/png;base64,!!!")),
        _shown(_picture("data:image/png;base64,AAAA")),
        _shown(_picture(None)),
        _shown({"type": "image_url"}),
        _shown({"type": "picture", "picture": 1}),
        _shown({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}),
        _shown({"type": "audio_url", "audio_url": {"url": "https://example.com/a.wav"}}),
        _shown({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}),
        _shown({"type": "image_embeds", "image_embeds": "AAAA"}),
        _shown(*[{"type": "text", "text": "long " * 5000}]),
    ],
)
def test_a_wrong_request_is_the_clients_mistake(
    live_node: LiveNode, change: dict[str, Any]
) -> None:
    answer = live_node.do(_chat(live_node, _body(live_node) | change))
    assert answer.status_code in (400, 404, 422), answer.text
    message = answer.json()["error"]["message"]
    assert not _INTERNAL.search(message) and "\n" not in message, message


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (1001, 1000, "1001x1000"),
        # More than Pillow itself allows, which says so first.
        (100_000, 100_000, "10000000000 pixels"),
    ],
)
def test_chat_completions_decode_no_picture_with_too_many_pixels(
    live_node: LiveNode, width: int, height: int, message: str
) -> None:
    data = bytearray(next(iter(ask(live_node, 1)[0].images.values())))
    assert data.startswith(b"\x89PNG")
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    answer = live_node.do(_chat(live_node, _body(live_node, url)))
    assert answer.status_code == 400, answer.text
    assert message in answer.text
    answers(live_node, ask(live_node, 1))


def test_chat_completions_give_no_more_answers_than_the_engine_has_room_for(
    live_node: LiveNode,
) -> None:
    most = live_node.config.rollout.engine.max_num_seqs
    answer = live_node.do(_chat(live_node, _body(live_node) | {"n": most + 1}))
    assert answer.status_code == 400, answer.text
    assert str(most) in answer.text


def _body(live: LiveNode, address: str | None = None) -> dict[str, Any]:
    data = next(iter(ask(live, 1)[0].images.values()))
    url = address or "data:image/png;base64," + base64.b64encode(data).decode()
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": "Which digit is it?"},
    ]
    return {
        "model": live.config.run,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 8,
        "seed": 3,
        "logprobs": True,
        "ignore_eos": True,
    }


async def _chat(live: LiveNode, body: dict[str, Any]) -> httpx.Response:
    async with httpx.AsyncClient(headers=bearer(TOKEN), trust_env=False) as client:
        url = f"{live.node.url}/v1/chat/completions"
        return await client.post(url, json=body, timeout=PATIENCE_S)


def test_chat_completions_read_pictures_as_the_run_does(live_node: LiveNode) -> None:
    thin = encoded(Image.new("RGB", (2100, 10)), "PNG")
    url = "data:image/png;base64," + base64.b64encode(thin).decode()
    answer = live_node.do(_chat(live_node, _body(live_node, url)))
    assert answer.status_code == 400, answer.text
    assert "image in the request: 2100x10 pixels" in answer.text
