"""Time the way of new weights from the trainer to the rollout nodes, stage by stage.

    python -m bench.weights [--gib 1] [--rounds 5] [--engine] [--json FILE]

The size of a delta comes from the demo's model, trained by AdamW at 1e-6 with fp32 masters
and published in bf16. Throughput is measured with random weights in which as many numbers change;
server and node are processes of this machine, so both share its cores. `--engine` starts vLLM with
the demo's model and compares the pause of a push with the bare load. At the end stands what follows
for 16 nodes of a 7B model behind one link of 25 Gbit/s.
"""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml

from perl_rl.demo.model import build_processor
from perl_rl.demo.run import CONFIG as DEMO
from perl_rl.demo.teach import Lesson, teach
from services.rollout.weights.download import Download
from services.rollout.weights.http import HttpFetcher
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import Config, load_config
from shared.service.serve import bind
from shared.weights.delta import apply, encode
from shared.weights.manifest import DATA_FILE, Manifest, digest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion

BUCKET = 64 << 20
STREAMS = 4
START_S = 60.0
MODEL = {"parameters": 8.3e9, "item_bytes": 2, "nodes": 16, "link_gbit": 25.0}
"""Qwen2.5-VL-7B in bf16."""

Figures = dict[str, Any]


def main() -> None:
    """Print each stage's figures and, with ``--json``, write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=float, default=1.0, help="size of the random weights")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", action="store_true", help="measure the pause, with vLLM")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: Figures = {"machine": machine()}
    say("machine", found["machine"])
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        folder = Path(name)
        found["delta"] = delta_size(folder / "demo")
        say("delta", found["delta"])
        share = found["delta"]["changed_share"]
        found["stages"] = stages(folder, options.gib, options.rounds, share)
        for stage, figures in found["stages"].items():
            say(stage, figures)
        if options.engine:
            found["pause"] = asyncio.run(pause(folder / "engine", options.rounds))
            say("pause", found["pause"])
    found["16 nodes"] = arithmetic(found["delta"]["share"], found["stages"])
    say("16 nodes", found["16 nodes"])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def memory_folder() -> str | None:
    """Memory where there is some, so that no disk is measured."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def say(stage: str, figures: Figures) -> None:
    """One line a stage."""
    parts = (
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in figures.items()
    )
    print(f"{stage:16} {', '.join(parts)}", flush=True)


def machine() -> Figures:
    """What the figures hold for."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((one.partition(":")[2].strip() for one in lines if "model name" in one), "?")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": psutil.virtual_memory().total / 1e9,
        "busy_percent": psutil.cpu_percent(1.0),
    }


def delta_size(folder: Path, steps: int = 12) -> Figures:
    """The largest delta of some steps, as a share of the whole version."""
    from transformers import Qwen2_5_VLForConditionalGeneration

    start = load_config(DEMO).model.path
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
    spool = WeightSpool(folder, BUCKET, 2, chain=2, full_every=10**9)
    shares: list[float] = []
    changed: list[float] = []
    last: list[torch.Tensor] = []

    def publish(step: int, _: float = 0.0) -> None:
        named = [(name, one.detach().bfloat16()) for name, one in model.named_parameters()]
        manifest = spool.write(PolicyVersion(incarnation=1, step=step), named)
        if last:
            moved = sum(int((a != b).sum()) for a, (_, b) in zip(last, named, strict=True))
            changed.append(moved / sum(one.numel() for one in last))
            sizes = [one.nbytes for one in manifest.deltas if one.version == manifest.version]
            # A delta that is not worth its bytes is not made.
            shares.append((sizes[0] if sizes else manifest.nbytes) / manifest.nbytes)
        last[:] = [one for _, one in named]

    publish(0)
    lesson = Lesson(steps=steps, questions=8, skew=1.0, rate=1e-6)
    teach(model, build_processor(), lesson, seed=0, progress=publish)
    return {
        "model": "demo, bf16 of fp32 masters, AdamW at 1e-6",
        "share": max(shares),
        "median_share": statistics.median(shares),
        "changed_share": max(changed),
        "aim": 0.05,
    }


def stages(folder: Path, gib: float, rounds: int, share: float) -> dict[str, Figures]:
    """GB/s of the whole version's bytes (so that stages can be compared), medians of the rounds."""
    tensors = [random_tensors(gib)]
    tensors.append([(name, moved(one, share)) for name, one in tensors[0]])
    found: dict[str, Figures] = codec(tensors, rounds)
    found |= publishing(folder / "publish", tensors, rounds)
    spool = WeightSpool(folder / "weights", BUCKET, 3, chain=4, full_every=10**9)
    manifests = [
        spool.write(PolicyVersion(incarnation=1, step=step + 1), tensors[step]) for step in (0, 1)
    ]
    del tensors
    config = settings(folder)
    with served(folder, config) as (url, server):
        found["serve"] = serving(url, manifests[1], server, rounds)
        found |= fetching(folder, url, config, manifests, rounds)
    with starlette(folder) as (url, server):
        found["serve before"] = serving(url, manifests[1], server, 1)
    return found


def random_tensors(gib: float) -> list[tuple[str, torch.Tensor]]:
    """Layers of 128 MiB, as wide as those of a trained model."""
    generator = torch.Generator().manual_seed(0)
    count = max(1, round(gib * 8))
    shape = (8192, 8192)
    return [
        (f"layer.{number}", torch.normal(0.0, 0.02, shape, generator=generator).bfloat16())
        for number in range(count)
    ]


def moved(tensor: torch.Tensor, share: float) -> torch.Tensor:
    """A copy in which this share of the numbers is its neighbour."""
    bits = tensor.view(torch.int16).clone()
    bits += (torch.rand(bits.shape) < share).to(torch.int16)
    return bits.view(torch.bfloat16)


def codec(tensors: list[list[tuple[str, torch.Tensor]]], rounds: int) -> dict[str, Figures]:
    """One thread on one bucket."""
    parent, new = (one[0][1].view(torch.uint8).numpy().reshape(-1)[:BUCKET] for one in tensors)
    block, data = encode(parent, new, 2), np.array(parent)

    def decode() -> None:
        # There and back: an XOR is its own inverse.
        apply(block, data, 2)

    return {
        "encode": rate(lambda: encode(parent, new, 2), BUCKET, rounds)
        | {"block_share": len(block) / BUCKET, "threads": 1},
        "decode": rate(decode, BUCKET, rounds) | {"threads": 1},
        "digest": rate(lambda: digest(new.data), BUCKET, rounds) | {"threads": 1},
    }


def publishing(
    folder: Path, tensors: list[list[tuple[str, torch.Tensor]]], rounds: int
) -> dict[str, Figures]:
    """What rank 0 does beside the next step: write, digest, encode."""
    nbytes = sum(one.nbytes for _, one in tensors[0])
    found: dict[str, Figures] = {}
    for name, chain in (("whole", 0), ("delta", 2)):
        spool = WeightSpool(folder / name, BUCKET, 2, chain=chain, full_every=10**9)
        numbers = itertools.count(1)

        def publish(spool: WeightSpool = spool, numbers: Iterator[int] = numbers) -> None:
            step = next(numbers)
            spool.write(PolicyVersion(incarnation=1, step=step), tensors[step % 2])

        publish()
        found[f"publish {name}"] = rate(publish, nbytes, rounds)
        shutil.rmtree(folder / name)
    return found


def settings(folder: Path) -> Config:
    """A configuration, also as the file that the server reads."""
    content: Figures = {
        "run": "bench",
        "model": {"path": "model"},
        "data": {"train": "unused.jsonl"},
        "trainer": {},
        "security": {"max_requests_per_s": 1e6},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    return Config.model_validate(content)


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


def fetching(
    folder: Path, url: str, config: Config, manifests: list[Manifest], rounds: int
) -> dict[str, Figures]:
    """A node that joins, then the next version: fetched, checked and stored."""
    nbytes = manifests[0].nbytes
    memory = folder / "memory"
    memory.mkdir()
    seconds: dict[str, list[float]] = {"whole": [], "delta": []}
    cpu_s = dict.fromkeys(seconds, 0.0)
    sent = 0

    async def fetch(fetcher: HttpFetcher, manifest: Manifest) -> None:
        address = Announcement("1-0", manifest.version, f"{url}/{manifest.version}")
        async with fetcher.fetched(address):
            pass

    for _ in range(rounds):
        fetcher = HttpFetcher(config, memory)
        for name, manifest in zip(seconds, manifests, strict=True):
            began, own = time.perf_counter(), time.process_time()
            asyncio.run(fetch(fetcher, manifest))
            seconds[name].append(time.perf_counter() - began)
            cpu_s[name] += time.process_time() - own
        sent = fetcher.traffic.nbytes
        fetcher.close()
    return {
        f"fetch {name}": {
            "gb_s": nbytes / 1e9 / statistics.median(one),
            "cpu_s_per_gb": cpu_s[name] / rounds / (nbytes / 1e9),
            "bytes_share": 1.0 if name == "whole" else sent / nbytes,
        }
        | spread(one)
        for name, one in seconds.items()
    }


def rate(work: Callable[[], object], nbytes: int, rounds: int) -> Figures:
    """GB/s of `work`, which goes through so many bytes, and what it costs this process."""
    seconds, own = [], time.process_time()
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    cpu_s = (time.process_time() - own) / rounds
    return {
        "gb_s": nbytes / 1e9 / statistics.median(seconds),
        "cpu_s_per_gb": cpu_s / (nbytes / 1e9),
    } | spread(seconds)


def spread(seconds: list[float]) -> Figures:
    """The shortest and the longest round."""
    return {"shortest_s": min(seconds), "longest_s": max(seconds)}


async def pause(folder: Path, rounds: int) -> Figures:
    """How long the engine stands still for a push under load, and for the bare load when idle."""
    from vllm import SamplingParams
    from vllm.distributed.weight_transfer.base import WeightTransferUpdateRequest

    from services.rollout.engine.environment import prepare_environment
    from services.rollout.engine.start import change_weights, start_engine

    prepare_environment()
    config = load_config(DEMO)
    engine = await start_engine(config, asyncio.Event())
    assert engine is not None
    from transformers import Qwen2_5_VLForConditionalGeneration

    dtype = engine.model_config.dtype
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(config.model.path, dtype=dtype)
    version = PolicyVersion(incarnation=1, step=1)
    WeightSpool(folder, BUCKET, 1).write(
        version, [(name, one.detach()) for name, one in model.named_parameters()]
    )
    manifest, data = folder / str(version) / "manifest.json", folder / str(version) / DATA_FILE

    async def bare() -> float:
        began = time.monotonic()
        await engine.start_weight_update()
        files = {"manifest": str(manifest), "data": str(data)}
        await engine.update_weights(WeightTransferUpdateRequest(update_info=files))
        await engine.finish_weight_update(str(version))
        return time.monotonic() - began

    async def sample(number: int) -> None:
        parameters = SamplingParams(max_tokens=400, ignore_eos=True, seed=number)
        async for _ in engine.generate({"prompt": "How many?"}, parameters, f"r{number}"):
            pass

    seconds: dict[str, list[float]] = {"bare": [], "pushed": []}
    try:
        for number in range(rounds + 1):
            found = {"bare": await bare()}
            busy = [asyncio.create_task(sample(number * 100 + one)) for one in range(16)]
            await asyncio.sleep(0.5)
            assert not any(one.done() for one in busy)
            found["pushed"] = await change_weights(engine, manifest, data, version)
            for one in busy:
                one.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            if number:
                for name, one_s in found.items():
                    seconds[name].append(one_s)
    finally:
        engine.shutdown()
    bare_s, pushed_s = (statistics.median(seconds[name]) for name in ("bare", "pushed"))
    return {"bare_s": bare_s, "pushed_s": pushed_s, "ratio": pushed_s / bare_s, "aim": 1.2}


def arithmetic(share: float, found: dict[str, Figures]) -> Figures:
    """Seconds from the copied parameters to 16 nodes that can load them, at this machine's rates.

    The stages are added, though they overlap in part: an upper bound. A node's stage is all that it
    does to the bytes (blocks decoded, digests checked, stored), without the link.
    """
    whole_gb = MODEL["parameters"] * MODEL["item_bytes"] / 1e9
    link_gb_s = MODEL["link_gbit"] / 8
    sent_gb = MODEL["nodes"] * whole_gb * share
    publish_s = whole_gb / found["publish delta"]["gb_s"]
    send_s = sent_gb / min(link_gb_s, found["serve"]["gb_s"])
    apply_s = whole_gb / found["fetch delta"]["gb_s"]
    return {
        "whole_gb": whole_gb,
        "delta_gb": whole_gb * share,
        "publish_s": publish_s,
        "send_s": send_s,
        "node_s": apply_s,
        "sum_s": publish_s + send_s + apply_s,
        "aim_s": 30.0,
        "whole_send_s": MODEL["nodes"] * whole_gb / min(link_gb_s, found["serve"]["gb_s"]),
    }


if __name__ == "__main__":
    socket.setdefaulttimeout(START_S)
    main()
