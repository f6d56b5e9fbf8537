"""The stages between a trainer's tensors and a node's memory, each by itself."""

import asyncio
import itertools
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml

from bench.facts import Figures
from bench.weights.rates import BUCKET, rate, spread
from bench.weights.serving import served, serving, starlette
from services.rollout.weights.http import HttpFetcher
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config import Config
from shared.weights.delta import apply, encode
from shared.weights.manifest import Manifest, digest
from shared.wire.board import Announcement
from shared.wire.messages import PolicyVersion


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
