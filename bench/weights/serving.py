"""The weight server, and Starlette in its place, read by several streams."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.facts import Figures
from bench.weights.rates import BUCKET, rate
from services.rollout.weights.download import Download
from shared.config import Config
from shared.service.serve import bind
from shared.weights.manifest import DATA_FILE, Manifest

STREAMS = 4
START_S = 60.0


@contextmanager
def served(folder: Path, config: Config) -> Iterator[tuple[str, psutil.Process]]:
    """The weight server as the control plane starts it."""
    command = [sys.executable, "-m", "services.trainer.weights.main"]
    options = ["--config", str(folder / "config.yaml"), "--folder", str(folder / "weights")]
    with bind("trainer", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen([*command, *options], stdin=listener.fileno())
    try:
        yield f"http://127.0.0.1:{port}/weights", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(START_S)


@contextmanager
def starlette(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The same files by Starlette's file responses, which the trainer's routes sent before."""
    code = (
        "import uvicorn, sys; from starlette.applications import Starlette; "
        "from starlette.staticfiles import StaticFiles; from starlette.routing import Mount; "
        "uvicorn.run(Starlette(routes=[Mount('/', StaticFiles(directory=sys.argv[1]))]), "
        "fd=0, log_level='error')"
    )
    links = folder / "links" / "weights"
    for version in (folder / "weights").iterdir():
        (links / version.name).mkdir(parents=True)
        (links / version.name / "data").symlink_to(version / DATA_FILE)
    code = code.replace("directory=sys.argv[1]", "directory=sys.argv[1], follow_symlink=True")
    with bind("trainer", "127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(folder / "links")], stdin=listener.fileno()
        )
    try:
        yield f"http://127.0.0.1:{port}/weights", psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(START_S)


def serving(url: str, manifest: Manifest, server: psutil.Process, rounds: int) -> Figures:
    """Streams that read all buckets, and do nothing with them."""
    buffers = [memoryview(bytearray(BUCKET)) for _ in range(STREAMS)]

    def read_all() -> None:
        download = Download(f"{url}/{manifest.version}", None, START_S)
        buckets = iter(manifest.buckets)
        taking = threading.Lock()

        def stream(buffer: memoryview) -> None:
            while True:
                with taking:
                    bucket = next(buckets, None)
                if bucket is None:
                    return
                into = buffer[: bucket.nbytes]
                download.read_into(str(manifest.version), "data", bucket.offset, into)

        threads = [threading.Thread(target=stream, args=(one,)) for one in buffers]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        download.close()

    read_all()
    before = sum(server.cpu_times()[:2])
    figures = rate(read_all, manifest.nbytes, rounds)
    sent_gb = manifest.nbytes * rounds / 1e9
    return figures | {
        "streams": STREAMS,
        "server_cpu_s_per_gb": (sum(server.cpu_times()[:2]) - before) / sent_gb,
    }
