"""A TCP proxy between a node and a service, which can cut the connection or flip a bit."""

import asyncio
import contextlib
from typing import Literal

Mode = Literal["pass", "cut"]


class Proxy:
    """Forwards connections on its own loopback port to `host`:`port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._cut = False
        self._flips = 0
        self.flipped = 0
        """Answers in which a bit was flipped."""

    async def start(self) -> int:
        """Listen; returns the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections, and every new one, until `restore`."""
        self._cut = True
        for wire in self._wires:
            wire.transport.abort()

    def restore(self) -> None:
        """Let connections through again."""
        self._cut = False

    def flip_a_bit(self) -> None:
        """Flip a bit in the next large piece that the service sends."""
        self._flips += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._wires.add(writer)
        try:
            if not self._cut:
                await self._join(reader, writer)
        finally:
            self._running.discard(task)
            self._wires.discard(writer)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            return
        self._wires.add(back)
        try:
            ways = {
                asyncio.create_task(self._copy(reader, back, damage=False)),
                asyncio.create_task(self._copy(there, writer, damage=True)),
            }
            _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in pending:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._wires.discard(back)
            back.transport.abort()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, damage: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                # Only weights come in pieces as large as this; HTTP headers stay intact.
                if damage and self._flips and len(data) > 30_000:
                    self._flips -= 1
                    self.flipped += 1
                    data = data[:-1] + bytes([data[-1] ^ 1])
                sink.write(data)
                await sink.drain()
