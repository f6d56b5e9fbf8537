"""Asks a language model behind an OpenAI-compatible endpoint, with retries, a cache and a budget.

Rephrasing, labelling, judging and evaluation use it. Answers are kept on disk under the digest of
the whole request, so a repeated request costs nothing and gets the same answer.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient

from shared.config.endpoint import EndpointConfig
from shared.errors import UserError
from shared.files import write_atomically

Source = Literal["asked", "cache"]
"""Where an answer comes from: a request to the endpoint, or the cache on disk."""


class EndpointFailed(UserError):
    """The endpoint gave no usable answer; the message names the endpoint and the reason."""


class EndpointAway(EndpointFailed):
    """The endpoint is out of reach, busy or broken: it may answer the same request later."""


class BudgetSpent(EndpointFailed):
    """All requests that the configuration allows have been sent."""


class RequestRefused(EndpointFailed):
    """The endpoint works but refuses this request (too long, too many images)."""


# Statuses about the request, not about the endpoint, its address or its key.
_REFUSALS = (400, 413, 422)
# Statuses about the current state of the endpoint.
_BUSY = (408, 409, 429)


class ChatEndpoint:
    """One endpoint; use it as an asynchronous context manager.

    Args:
        cache: folder of cached answers; None: no cache.
        observe: called for each request and for each answer from the cache.
        direct: talk to the endpoint itself, whatever proxy the environment names.
    """

    def __init__(
        self,
        config: EndpointConfig,
        cache: Path | None = None,
        observe: Callable[[Source], None] = lambda source: None,
        direct: bool = False,
    ) -> None:
        self._config = config
        self._cache = cache
        self._observe = observe
        self._clients = {
            url: AsyncOpenAI(
                base_url=url,
                api_key=config.api_key or "none",
                timeout=config.timeout_s,
                max_retries=config.retries,
                http_client=DefaultAsyncHttpxClient(trust_env=False) if direct else None,
            )
            for url in config.urls()
        }
        self._turn = asyncio.Semaphore(config.concurrency)
        self.asked = 0
        """Requests sent to the endpoint, without answers from the cache."""

    async def __aenter__(self) -> "ChatEndpoint":
        return self

    async def __aexit__(self, *_: object) -> None:
        for client in self._clients.values():
            await client.close()

    async def ask(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        keep: Callable[[str], bool] = lambda text: True,
        headers: Callable[[Mapping[str, str]], None] = lambda headers: None,
    ) -> str:
        """The text of one answer.

        Args:
            max_tokens: longest answer, in tokens.
            keep: whether to keep an answer in the cache.
            headers: called with the headers of the endpoint's answer, not of one from the cache.

        Raises:
            EndpointFailed: when the endpoint refuses, or its reply is not a chat completion.
            EndpointAway: when the endpoint is out of reach, busy or broken after all retries.
            RequestRefused: when the endpoint refuses this request for its content.
            BudgetSpent: when ``budget`` requests have been sent.
        """
        request = {
            "model": self._config.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        file = self._cached_file(request)
        if file is not None and file.is_file():
            self._observe("cache")
            return str(json.loads(file.read_text(encoding="utf-8"))["text"])
        text = await self._send(request, headers)
        if file is not None and keep(text):
            await asyncio.to_thread(_keep, file, text)
        return text

    async def _send(
        self, request: dict[str, Any], headers: Callable[[Mapping[str, str]], None]
    ) -> str:
        config, url = self._config, self._address(request)
        async with self._turn:
            if config.budget is not None and self.asked >= config.budget:
                raise BudgetSpent(
                    f"endpoint {url}: the budget of {config.budget} requests is spent; "
                    "raise the endpoint's budget"
                )
            self.asked += 1
            self._observe("asked")
            try:
                completions = self._clients[url].chat.completions
                raw = await completions.with_raw_response.create(**request)
                answer = raw.parse()
            except APIStatusError as error:
                raise _kind_of(error.status_code)(
                    f"endpoint {url}, model {config.model}: answered {error.status_code} "
                    f"({self._said(error)})"
                ) from None
            except APIError as error:
                raise EndpointAway(
                    f"endpoint {url}: no answer after {config.retries + 1} tries of "
                    f"{config.timeout_s:g} s at most ({self._said(error)})"
                ) from None
            except (json.JSONDecodeError, UnicodeDecodeError):
                # The header says JSON, but the body is not.
                answer = None
        choices = getattr(answer, "choices", None)
        if not choices:
            raise EndpointFailed(
                f"endpoint {url}, model {config.model}: the reply is not a chat completion; "
                "check the address (most end in /v1)"
            )
        headers(raw.headers)
        return choices[0].message.content or ""

    def _address(self, request: dict[str, Any]) -> str:
        """Equal messages go to the same server, which has their prompt in its prefix cache."""
        urls = list(self._clients)
        if len(urls) == 1:
            return urls[0]
        digest = hashlib.sha256(json.dumps(request["messages"]).encode()).digest()
        return urls[int.from_bytes(digest[:8], "big") % len(urls)]

    def _said(self, error: APIError) -> str:
        """The endpoint's own message, cut short and without the key, which some repeat."""
        said, key = " ".join(error.message.split()), self._config.api_key
        return (said.replace(key, "***") if key else said)[:200]

    def _cached_file(self, request: dict[str, Any]) -> Path | None:
        if self._cache is None:
            return None
        # The address is left out: the same model may be served elsewhere tomorrow.
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self._cache / key[:2] / f"{key}.json"


def image_part(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    """An image as a part of a message's content."""
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps({"text": text}))


def _kind_of(status: int) -> type[EndpointFailed]:
    if status in _REFUSALS:
        return RequestRefused
    return EndpointAway if status in _BUSY or status >= 500 else EndpointFailed
