"""A run's rollout nodes as the model that answers: those that hold one policy version.

Each is asked as many prompts at a time as keeps its engine busy. A prompt whose node is lost is
asked of another one.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from perl_rl.asking import as_asked
from perl_rl.eval.models import Decoding, Prompt
from shared.chat import ChatEndpoint, EndpointAway, RequestRefused
from shared.config import Config
from shared.config.endpoint import EndpointConfig
from shared.errors import UserError
from shared.service.connection import OUTAGE, heeding_cancel
from shared.wire.messages import PolicyVersion
from shared.wire.registry import VERSIONS_HEADER, NodeInfo, Registry

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0


class NoNode(UserError):
    """No rollout node with the wanted version has been there for a while."""


@dataclass
class _Node:
    """One node while it is asked."""

    endpoint: ChatEndpoint
    usable: bool = True
    """Whether it was ready with the wanted version at the last look."""
    asked: int = 0
    """Prompts that it has not answered yet."""
    avoided_until: float = 0.0
    """It failed a request and is left alone until then."""

    def free(self, most: int) -> bool:
        return self.usable and self.asked < most and time.monotonic() >= self.avoided_until


class RolloutNodes(AbstractAsyncContextManager["RolloutNodes"]):
    """The nodes of a run whose policy version `wanted` accepts. Opening it waits for the first one.

    Args:
        decoding: how they answer.
        patience_s: how long there may be none of them.
        absent_s: how long there may be no rollout node at all.
        most: how many prompts each node is asked at a time; default: a full batch of its engine.
    """

    def __init__(
        self,
        registry: Registry,
        config: Config,
        decoding: Decoding,
        wanted: Callable[[PolicyVersion], bool],
        patience_s: float,
        absent_s: float,
        most: int | None = None,
    ) -> None:
        self._registry = registry
        self._config = config
        self._decoding = decoding
        self._wanted = wanted
        self._patience_s = patience_s
        self._absent_s = absent_s
        # A full batch of the engine, and a short queue that fills the places that become free.
        batch = config.rollout.engine.max_num_seqs
        self._most = most or batch + batch // 4 + 1
        self.concurrency = self._most * config.rollout.nodes
        self._versions: set[PolicyVersion] = set()
        self._nodes: dict[str, _Node] = {}
        """By their addresses."""
        self._usable_at = self._alive_at = 0.0
        self._failure: BaseException | None = None
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> "RolloutNodes":
        self._usable_at = self._alive_at = time.monotonic()
        self._looking = asyncio.create_task(self._look_again())
        try:
            await self._free_node()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        for node in self._nodes.values():
            await node.endpoint.__aexit__(None, None, None)

    async def ask(self, prompt: Prompt) -> str:
        """The response of the node that has least to do.

        Raises:
            NoNode: when there is no node.
            UserError: when a node refuses the prompt, or several have failed to answer it.
        """
        tries = self._config.rollout.max_attempts
        for number in range(1, tries + 1):
            node = await self._free_node()
            node.asked += 1
            try:
                return await self._ask(node, prompt)
            except RequestRefused as error:
                raise UserError(
                    f"data.heldout: question {prompt.key}: the engine refuses it ({error}); raise "
                    "what limits it in rollout.engine or rollout.max_request_mib, or leave it out"
                ) from None
            except EndpointAway as error:
                logger.warning("question %s, try %d of %d: %s", prompt.key, number, tries, error)
                # A node that is lost is on the list until its heartbeat expires.
                node.avoided_until = time.monotonic() + self._config.rollout.lost_after_s
            finally:
                node.asked -= 1
                async with self._changed:
                    self._changed.notify_all()
        raise UserError(
            f"data.heldout: question {prompt.key}: {tries} rollout nodes have failed to answer it "
            "(rollout.max_attempts); their logs say why"
        )

    async def _ask(self, node: _Node, prompt: Prompt) -> str:
        return await node.endpoint.ask(
            await as_asked(prompt.question, prompt.images, self._decoding.instruction),
            max_tokens=self._decoding.max_tokens,
            temperature=self._decoding.temperature,
            seed=prompt.seed,
            headers=self._note_versions,
        )

    def _note_versions(self, headers: Mapping[str, str]) -> None:
        named = headers.get(VERSIONS_HEADER, "").split()
        self._versions |= {PolicyVersion.parse(one) for one in named}

    def versions(self) -> tuple[str, ...]:
        """The policy version that answered so far; the first and the last if there were more."""
        found = sorted(self._versions)
        return tuple(str(one) for one in ((found[0], found[-1]) if len(found) > 1 else found))

    async def _free_node(self) -> _Node:
        """The node that has least to do, once one has a place free."""
        async with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure from None
                free = [node for node in self._nodes.values() if node.free(self._most)]
                if free:
                    return min(free, key=lambda one: one.asked)
                await self._changed.wait()

    async def _look_again(self) -> None:
        while self._failure is None:
            try:
                await self._look()
            except OUTAGE as error:
                logger.info("Redis does not say which nodes there are: %s", error)
            except Exception as error:
                # Those who wait for a node have to hear of it.
                self._failure = error
            async with self._changed:
                self._changed.notify_all()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        alive, _ = await heeding_cancel(self._registry.nodes)
        samplers = [node for node in alive if node.kind == "rollout"]
        usable = {node.url for node in samplers if self._usable(node)}
        for url in usable - self._nodes.keys():
            self._nodes[url] = _Node(ChatEndpoint(self._endpoint(url), direct=True))
        for url, node in self._nodes.items():
            node.usable = url in usable
        now = time.monotonic()
        self._usable_at = now if usable else self._usable_at
        self._alive_at = now if samplers else self._alive_at
        if now - self._usable_at > self._patience_s:
            raise NoNode(
                f"no rollout node had the weights to evaluate for {now - self._usable_at:.0f} s"
            )
        if now - self._alive_at > self._absent_s:
            raise NoNode(f"no rollout node was there for {now - self._alive_at:.0f} s")

    def _usable(self, node: NodeInfo) -> bool:
        return (
            node.state == "ready"
            and node.version is not None
            and self._wanted(PolicyVersion.parse(node.version))
        )

    def _endpoint(self, url: str) -> EndpointConfig:
        return EndpointConfig(
            url=f"{url}/v1",
            model=self._config.run,
            api_key=self._config.security.token,
            timeout_s=self._config.rollout.task_timeout_s,
            # A connection that was idle may have been closed on the other side.
            retries=2,
            concurrency=self._most,
        )
