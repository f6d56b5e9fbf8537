"""The trainer's spool and weight server in a thread, for tests of what fetches from them."""

import asyncio
import socket
import threading
from functools import partial
from pathlib import Path

import torch
from aiohttp import web

from services.trainer.rank.publishers.spool import WeightSpool
from services.trainer.weights.app import create_app
from shared.config import Config
from shared.service.serve import bind
from shared.weights.manifest import DATA_FILE, DELTA_FILE, Adapter, Manifest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion

Request = tuple[str, str | None, str | None]
"""Path, range and authorization."""


class ServedWeights:
    """Versions in a folder, and the real routes for them."""

    def __init__(self, folder: Path, config: Config, *, bucket_bytes: int, keep: int = 100) -> None:
        self.folder = folder
        self._config = config
        weights = config.weights
        self._spool = partial(
            WeightSpool,
            *(folder, bucket_bytes, keep),
            chain=weights.delta_chain,
            full_every=weights.full_every,
        )
        self.requests: list[Request] = []
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    @property
    def url(self) -> str:
        """The address of all versions."""
        return f"http://127.0.0.1:{self.port}/weights"

    def start(self) -> None:
        """Serve, on the same port as before."""
        listener = bind("trainer", "127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        asyncio.run_coroutine_threadsafe(self._start(listener), self._loop).result(10)

    async def _start(self, listener: socket.socket) -> None:
        app = create_app(self.folder, self._config)

        @web.middleware
        async def record(request, handler):
            headers = request.headers
            line = (request.path, headers.get("Range"), headers.get("Authorization"))
            self.requests.append(line)
            return await handler(request)

        app.middlewares.insert(0, record)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    def stop(self) -> None:
        """Serve no more."""
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)

    def close(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def write(
        self,
        version: PolicyVersion,
        weights: dict[str, torch.Tensor],
        adapter: Adapter | None = None,
    ) -> Manifest:
        """Write a version from tensors by name, the policy's or an adapter's."""
        return self._spool(adapter=adapter).write(version, weights.items())

    def announcement(self, version: PolicyVersion) -> Announcement:
        """Where it is."""
        return Announcement("1-0", version, f"{self.url}/{version}")

    def data(self, version: PolicyVersion) -> Path:
        """The file with the version's bytes."""
        return self.folder / str(version) / DATA_FILE

    def delta(self, version: PolicyVersion) -> Path:
        """The file with the version's delta."""
        return self.folder / str(version) / DELTA_FILE

    def asked(self, part: str) -> list[Request]:
        """The requests for manifests, data or deltas so far."""
        return [one for one in self.requests if one[0].endswith(f"/{part}")]
