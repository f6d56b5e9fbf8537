"""Redis over TLS: the authority in `redis.ca_file` decides, and a wrong one ends it at once.

The server that comes along speaks no TLS, so a proxy in front of it ends TLS for it.
"""

import asyncio
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.errors import UserError
from shared.service.connection import connect

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Files of a self-signed certificate for 127.0.0.1, and of its key."""
    files = folder / f"{name}.pem", folder / f"{name}.key"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    subprocess.run(
        [
            *command.split(),
            *("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-out", str(files[0]), "-keyout", str(files[1])),
        ],
        check=True,
        capture_output=True,
        timeout=30,
    )
    return files


@asynccontextmanager
async def tls_proxy(redis_url: str, files: tuple[Path, Path]) -> AsyncIterator[int]:
    """Port of a proxy that ends TLS in front of the server at `redis_url`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    target = urlsplit(redis_url)
    serving: set[asyncio.Task[None] | None] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        inner, outer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        # Clients have left; what they had open ends by itself.
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(one for one in serving if one is not None))


async def test_tls_with_an_authority_of_one_s_own(tmp_path: Path, redis_url: str) -> None:
    files = certificate(tmp_path, "ours")
    async with tls_proxy(redis_url, files) as port:
        url = f"rediss://:{urlsplit(redis_url).password}@127.0.0.1:{port}/0"
        client = await connect(url, PATIENCE_S, wait=True, ca_file=str(files[0]))
        await client.set("a", "b")
        assert await client.get("a") == b"b"
        await client.aclose()


async def test_a_certificate_of_another_authority_is_refused_at_once(
    tmp_path: Path, redis_url: str
) -> None:
    other, _ = certificate(tmp_path, "other")
    async with tls_proxy(redis_url, certificate(tmp_path, "ours")) as port:
        started = time.monotonic()
        with pytest.raises(UserError) as caught:
            await connect(
                f"rediss://:hunter2@127.0.0.1:{port}/0", PATIENCE_S, wait=True, ca_file=str(other)
            )
    assert time.monotonic() - started < PATIENCE_S / 2
    message = str(caught.value)
    assert "certificate" in message and "redis.ca_file" in message
    assert "hunter2" not in message and "\n" not in message
