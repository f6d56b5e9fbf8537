"""An OpenAI-compatible server with scripted answers, in its own thread.

Real HTTP. A function of the request gives the answer: text, a status to fail with, or a response.
"""

import asyncio
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from shared.service.serve import bind

Body = dict[str, Any]
Script = Callable[[Body], str | int | Response]
PATIENCE_S = 120.0


class ScriptedEndpoint:
    """The server's address and the requests that reached it.

    Args:
        port: where it listens; 0 takes a free one.
        hold_after: how many requests to answer; later ones wait until `release` is set. `held`
            is set when one waits.
    """

    def __init__(
        self, script: Script, delay_s: float = 0.0, port: int = 0, hold_after: int | None = None
    ) -> None:
        self.script = script
        self.requests: list[Body] = []
        self.keys: set[str] = set()
        """The ``Authorization`` headers."""
        self.held, self.release = threading.Event(), threading.Event()
        self._hold_after = hold_after
        self.in_work = self.most_in_work = 0
        self._delay_s = delay_s
        self._listener = bind("scripted endpoint", "127.0.0.1", port)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.app = FastAPI()
        self.app.post("/v1/chat/completions")(self._answer)

    async def _answer(self, request: Request) -> Response:
        try:
            body = await request.json()
        except ClientDisconnect:
            # The test has killed the process that asked.
            return JSONResponse(None)
        self.requests.append(body)
        self.keys.add(request.headers.get("authorization", ""))
        if self._hold_after is not None and len(self.requests) > self._hold_after:
            self.held.set()
            await asyncio.to_thread(self.release.wait, PATIENCE_S)
        self.in_work += 1
        self.most_in_work = max(self.most_in_work, self.in_work)
        await asyncio.sleep(self._delay_s)
        self.in_work -= 1
        said = self.script(body)
        if isinstance(said, Response):
            return said
        if isinstance(said, int):
            return JSONResponse({"error": {"message": "scripted failure"}}, status_code=said)
        return JSONResponse(completion(body, said))

    @contextmanager
    def serving(self) -> Iterator["ScriptedEndpoint"]:
        """Serve in a thread while the block runs."""
        server = uvicorn.Server(uvicorn.Config(self.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([self._listener],), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.release.set()
            server.should_exit = True
            thread.join(PATIENCE_S)
            self._listener.close()


def completion(body: Body, text: str) -> Body:
    """The body of an answer."""
    message = {"role": "assistant", "content": text}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def text_of(body: Body) -> str:
    """All text of a request's last message."""
    content = body["messages"][-1]["content"]
    return "".join(part["text"] for part in content if part["type"] == "text")


def draw(body: Body) -> float:
    """A number in [0, 1) that the request decides, as a seeded sampler would."""
    data = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()
    return int.from_bytes(data[:4], "big") / 2**32


def all_stages(body: Body) -> str:
    """Plausible answers to each stage's requests; some are nonsense."""
    system, luck = body["messages"][0], draw(body)
    if system["role"] != "system":
        return f"<think></think>\\boxed{{{'ABC'[int(3 * luck)]}}}"
    if luck < 0.2:
        return "I would rather not."
    if "should_change" in system["content"]:
        return json.dumps({"should_change": luck > 0.6, "is_multichoice_images": False})
    question, _, gold = text_of(body).removeprefix("Question:\n").rpartition("\n\nRight answer: ")
    return json.dumps({"question": question, "options": ["wrong", gold, "worse"]})
