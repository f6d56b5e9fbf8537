"""A TCP proxy between a node and a service, which can cut the connection or flip a bit."""

import asyncio
import contextlib

_HEADERS = 1000
"""More bytes than the headers of an answer take."""


class Proxy:
    """Forwards connections on its own loopback port to `host`:`port`."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._wires: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._cut = False
        self._flips: list[bytes] = []
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

    def flip_a_bit(self, part: str) -> None:
        """Flip a bit in the next answer that sends this part of a version, "data" or "delta"."""
        self._flips.append(f"/{part} HTTP".encode())

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
        asked = bytearray()
        try:
            ways = {
                asyncio.create_task(self._requests(reader, back, asked)),
                asyncio.create_task(self._answers(there, writer, asked)),
            }
            _, pending = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in pending:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._wires.discard(back)
            back.transport.abort()

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: bytearray
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                asked[:] = data
                sink.write(data)
                await sink.drain()

    async def _answers(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, asked: bytearray
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                # What is shorter may be nothing but HTTP headers, which stay intact.
                if len(data) > _HEADERS:
                    data = self._damaged(data, asked)
                sink.write(data)
                await sink.drain()

    def _damaged(self, data: bytes, asked: bytearray) -> bytes:
        due = next((one for one in self._flips if one in asked), None)
        if due is None:
            return data
        self._flips.remove(due)
        self.flipped += 1
        return data[:-1] + bytes([data[-1] ^ 1])
