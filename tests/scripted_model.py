"""Models that answer by a script, in place of an engine: at random, by content, or by position.

They see what a model sees, text and pictures, and never the gold answer. Pictures are recognised by
their bytes: `tests/benchmark_files.py` remembers which digits each one shows.
"""

import asyncio
import base64
import hashlib
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from perl_rl.eval.models import Prompt
from shared.service.serve import bind
from tests.benchmark_files import SHOWN

_HOLD_S = 60.0

Answerer = Callable[[str, list[tuple[int, ...]], random.Random], str]
"""From the question, the digits in each picture and a generator to the final answer."""

_OPTION = re.compile(r"^([A-H])[.:] (.*)$", re.MULTILINE)
_IN_PICTURE = re.compile(r"^Options: (.*)$", re.MULTILINE)
_WORDS = ("first", "second", "third", "fourth")


def options(question: str) -> dict[str, str]:
    """The lettered options of a question."""
    found = dict(_OPTION.findall(question))
    listed = _IN_PICTURE.search(question)
    return found or {letter: letter for letter in (listed[1].split(", ") if listed else ())}


def candidates(question: str) -> list[str]:
    """Every answer that the text of a question allows, all as likely by chance."""
    letters = list(options(question))
    if letters:
        return letters
    if "yes or no" in question:
        return ["yes", "no"]
    if "(1)" in question:
        return [f"(1) {one}; (2) {two}" for one in range(10) for two in range(10)]
    if "List the digits" in question:
        return [f"[{one}, {two}]" for one in range(10) for two in range(10)]
    if "divided by ten" in question:
        return [f"0.{digit}" for digit in range(10)]
    return [str(digit) for digit in range(10)]


def at_random(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """Any of the answers that the text allows."""
    return rng.choice(candidates(question))


def by_content(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """The right answer, read off the pictures."""
    digits = [digit for picture in pictures for digit in picture]
    if "largest digit" in question:
        return _letter_of_slot(question, digits.index(max(digits)))
    if "same digit as the first" in question:
        return _letter_of_slot(question, digits.index(digits[0], 1))
    if "yes or no" in question:
        return "yes" if digits[0] > digits[1] else "no"
    if "(1)" in question:
        return f"(1) {digits[0]}; (2) {digits[1]}"
    if "List the digits" in question:
        return str(digits)
    if "divided by ten" in question:
        return f"{digits[0] / 10:.1f}"
    for letter, text in options(question).items():
        if text == str(digits[0]):
            return letter
    return str(digits[0])


def _letter_of_slot(question: str, slot: int) -> str:
    listed = options(question)
    if all(text == "<image>" for text in listed.values()):
        return list(listed)[slot - (question.count("<image>") - len(listed))]
    return next(letter for letter, text in listed.items() if _WORDS[slot] in text)


def by_position(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """The first answer that the text allows, whatever the pictures show."""
    return candidates(question)[0]


class ScriptedModel:
    """The interface of `perl_rl.eval.models.Model` over an answerer."""

    concurrency = 8

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self.asked: list[Prompt] = []

    async def __aenter__(self) -> "ScriptedModel":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ask(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        pictures = [SHOWN[Path(file).stem] for file in prompt.images]
        answer = self._answerer(prompt.question, pictures, random.Random(prompt.seed))
        return f"<think>a script</think>\\boxed{{{answer}}}"


class ScriptedEndpoint:
    """An OpenAI-compatible server over an answerer.

    Args:
        fail_first: so many requests are refused as if it were busy.
        form: of a response, with ``{}`` for the answer.
        hold_after: so many are answered, others wait for `release`; `held` says that one does.
    """

    def __init__(
        self,
        answerer: Answerer,
        fail_first: int = 0,
        hold_after: int | None = None,
        form: str = "\\boxed{{{}}}",
    ) -> None:
        self._answerer = answerer
        self._form = form
        self._failures_left = fail_first
        self._hold_after = hold_after
        self.held, self.release = threading.Event(), threading.Event()
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.url = ""

    async def answer(self, request: Request) -> JSONResponse:
        """POST /v1/chat/completions."""
        if self._failures_left > 0:
            self._failures_left -= 1
            return JSONResponse({"error": {"message": "busy"}}, status_code=503)
        body = await request.json()
        self.requests.append(body)
        if self._hold_after is not None and len(self.requests) > self._hold_after:
            self.held.set()
            await asyncio.to_thread(self.release.wait, _HOLD_S)
        self.keys.add(request.headers["authorization"])
        question, pictures = _seen(body["messages"][0]["content"])
        answer = self._answerer(question, pictures, random.Random(body.get("seed")))
        message = {"role": "assistant", "content": self._form.format(answer)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        whole = {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"]}
        return JSONResponse({**whole, "choices": [choice]})


def _seen(parts: Sequence[dict[str, Any]]) -> tuple[str, list[tuple[int, ...]]]:
    text, pictures = "", []
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
        else:
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            pictures.append(SHOWN[hashlib.sha256(data).hexdigest()])
            text += "<image>"
    return text, pictures


@contextmanager
def serving(endpoint: ScriptedEndpoint) -> Iterator[ScriptedEndpoint]:
    """Serve until the end of the block; ``url`` says where."""
    listener = bind("scripted", "127.0.0.1", 0)
    route = Route("/v1/chat/completions", endpoint.answer, methods=["POST"])
    app = Starlette(routes=[route])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    endpoint.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        endpoint.release.set()
        server.should_exit = True
        thread.join(10)
