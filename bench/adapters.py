"""What a push of an adapter costs, beside a push of whole weights, without an engine.

    python -m bench.adapters [--hidden 3584 --layers 4] [--rank 32] [--rounds 5] [--json FILE]

A start model of random weights at the layer shapes of Qwen2.5-VL-7B, in bf16, lies in memory. The
trainer's side writes an adapter of all its layers; the node's side adds it to the start model, on
as many threads as torch takes. The pause is the load of whole weights, as `bench.weights --engine`
times it: the engine gets the merged weights the same way.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bench.facts import machine, memory_folder, say
from bench.weights.rates import BUCKET
from services.rollout.weights.fetched import FetchedVersion
from services.rollout.weights.merged import Merger
from services.trainer.rank.publishers.spool import WeightSpool
from shared.model_identity import model_digest
from shared.weights.manifest import DATA_FILE, MANIFEST_FILE, Adapter, Manifest
from shared.wire.messages import PolicyVersion

Named = list[tuple[str, torch.Tensor]]


def main() -> None:
    """Print the figures and, with ``--json``, write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int, default=3584)
    parser.add_argument("--intermediate", type=int, default=18_944)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {"machine": machine() | {"threads": torch.get_num_threads()}}
    say("machine", found["machine"])
    with tempfile.TemporaryDirectory(dir=memory_folder()) as name:
        base = Path(name) / "base"
        whole = start_model(base, options.hidden, options.intermediate, options.layers)
        found |= measured(Path(name), base, whole, options.rank, options.rounds)
    for stage in ("bytes", "publish whole", "publish adapter", "merge"):
        say(stage, found[stage])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def start_model(folder: Path, hidden: int, intermediate: int, layers: int) -> Named:
    """Write random weights of a language model's layers; returns them."""
    shapes = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (hidden // 7, hidden),
        "self_attn.v_proj": (hidden // 7, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (intermediate, hidden),
        "mlp.up_proj": (intermediate, hidden),
        "mlp.down_proj": (hidden, intermediate),
    }
    torch.manual_seed(0)
    tensors = {
        f"model.layers.{layer}.{name}.weight": (0.02 * torch.randn(shape)).bfloat16()
        for layer in range(layers)
        for name, shape in shapes.items()
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return list(tensors.items())


def adapter_of(whole: Named, rank: int) -> Named:
    """A random adapter of every layer, named as peft does."""
    found: Named = []
    for name, weight in whole:
        layer = name.replace("model.", "base_model.model.model.language_model.", 1)
        layer = layer.removesuffix(".weight")
        rows, columns = weight.shape
        found.append((f"{layer}.lora_A.weight", (0.01 * torch.randn(rank, columns)).bfloat16()))
        found.append((f"{layer}.lora_B.weight", (0.01 * torch.randn(rows, rank)).bfloat16()))
    return found


def measured(folder: Path, base: Path, whole: Named, rank: int, rounds: int) -> dict[str, Any]:
    """Bytes of both kinds of version, and seconds for each stage."""
    adapter = Adapter(base=model_digest(base), rank=rank, alpha=2 * rank)
    spools = {
        "whole": WeightSpool(folder / "whole", BUCKET, 1),
        "adapter": WeightSpool(folder / "adapter", BUCKET, 1, adapter=adapter),
    }
    merger, seconds, manifests = Merger(base, "bfloat16"), dict[str, list[float]](), {}
    for number in range(rounds + 1):
        version = PolicyVersion(incarnation=1, step=number)
        for kind, spool in spools.items():
            tensors = whole if kind == "whole" else adapter_of(whole, rank)
            manifests[kind], took = timed(spool.write, version, tensors)
            seconds.setdefault(f"publish {kind}", []).append(took)
        place = folder / "adapter" / str(version)
        fetched = FetchedVersion(version, place / MANIFEST_FILE, place / DATA_FILE)
        _, took = timed(lambda one: asyncio.run(merger.whole(one)), fetched)
        seconds.setdefault("merge", []).append(took)
    merger.close()
    return {"bytes": _bytes(manifests)} | {
        # The first merge also copies the start model.
        name: {"first_s": took[0], "median_s": statistics.median(took[1:])}
        for name, took in seconds.items()
    }


def timed(work: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result, and the seconds it took."""
    began = time.monotonic()
    return work(*arguments), time.monotonic() - began


def _bytes(manifests: dict[str, Manifest]) -> dict[str, Any]:
    sizes = {kind: manifest.nbytes for kind, manifest in manifests.items()}
    return sizes | {"share": sizes["adapter"] / sizes["whole"]}


if __name__ == "__main__":
    main()
