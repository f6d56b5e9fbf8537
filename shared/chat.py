"""Asking a language model behind an OpenAI-compatible endpoint, with retries, a cache and a budget.

Rephrasing, labelling, judging and evaluation ask through here. Answers are kept on disk by the
digest of the whole request, so that work that is done again costs nothing and says the same.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from openai import APIError, APIStatusError, AsyncOpenAI

from shared.config.endpoint import EndpointConfig
from shared.errors import UserError
from shared.files import write_atomically

Source = Literal["asked", "cache"]
"""Where an answer comes from: a request to the endpoint, or the disk."""


class EndpointFailed(UserError):
    """The endpoint gave no answer: says which one, why, and after how many tries."""


class EndpointAway(EndpointFailed):
    """It cannot be reached, is too busy or is broken: it may answer the same request later."""


class BudgetSpent(EndpointFailed):
    """All requests that the configuration allows have been made."""


class RequestRefused(EndpointFailed):
    """The endpoint is there but will not answer this one request (too long, too many images)."""


# Statuses that speak of the request, not of the endpoint, its address or its key.
_REFUSALS = (400, 413, 422)
# Statuses that speak of the endpoint's state at the moment.
_BUSY = (408, 409, 429)


class ChatEndpoint:
    """One endpoint; use it as an asynchronous context manager.

    Args:
        cache: folder of the answers; None keeps none.
        observe: told of each request and each answer from the cache.
    """

    def __init__(
        self,
        config: EndpointConfig,
        cache: Path | None = None,
        observe: Callable[[Source], None] = lambda source: None,
    ) -> None:
        self._config = config
        self._cache = cache
        self._observe = observe
        self._client = AsyncOpenAI(
            base_url=config.url,
            api_key=config.api_key or "none",
            timeout=config.timeout_s,
            max_retries=config.retries,
        )
        self._turn = asyncio.Semaphore(config.concurrency)
        self.asked = 0
        """Requests sent, those answered from the cache not counted."""

    async def __aenter__(self) -> "ChatEndpoint":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def ask(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        keep: Callable[[str], bool] = lambda text: True,
    ) -> str:
        """The text of one answer.

        Args:
            keep: whether an answer is worth keeping in the cache.

        Raises:
            EndpointFailed: when the endpoint refuses, or its answer is none.
            EndpointAway: when it cannot be reached, or keeps failing.
            RequestRefused: when it refuses this request by its contents.
            BudgetSpent: when ``budget`` requests have been made.
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
        text = await self._send(request)
        if file is not None and keep(text):
            await asyncio.to_thread(_keep, file, text)
        return text

    async def _send(self, request: dict[str, Any]) -> str:
        config = self._config
        async with self._turn:
            if config.budget is not None and self.asked >= config.budget:
                raise BudgetSpent(
                    f"endpoint {config.url}: the budget of {config.budget} requests is spent"
                )
            self.asked += 1
            self._observe("asked")
            try:
                answer = await self._client.chat.completions.create(**request)
            except APIStatusError as error:
                raise _kind_of(error.status_code)(
                    f"endpoint {config.url}, model {config.model}: answered {error.status_code} "
                    f"({self._said(error)})"
                ) from None
            except APIError as error:
                raise EndpointAway(
                    f"endpoint {config.url}: no answer after {config.retries + 1} tries of "
                    f"{config.timeout_s:g} s at most ({self._said(error)})"
                ) from None
            except (json.JSONDecodeError, UnicodeDecodeError):
                # A body that is said to be JSON and is not.
                answer = None
        choices = getattr(answer, "choices", None)
        if not choices:
            raise EndpointFailed(
                f"endpoint {config.url}, model {config.model}: its answer is no chat completion; "
                "check the address (most end in /v1)"
            )
        return choices[0].message.content or ""

    def _said(self, error: APIError) -> str:
        """The endpoint's own words, short; some repeat the key that they refuse."""
        said, key = " ".join(error.message.split()), self._config.api_key
        return (said.replace(key, "***") if key else said)[:200]

    def _cached_file(self, request: dict[str, Any]) -> Path | None:
        if self._cache is None:
            return None
        # The address is no part of it: the same model may be served elsewhere tomorrow.
        key = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        return self._cache / key[:2] / f"{key}.json"


def image_part(data: bytes, media_type: str = "image/png") -> dict[str, Any]:
    """An image's bytes as a part of a message's content."""
    url = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def _keep(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps({"text": text}))


def _kind_of(status: int) -> type[EndpointFailed]:
    if status in _REFUSALS:
        return RequestRefused
    return EndpointAway if status in _BUSY or status >= 500 else EndpointFailed
