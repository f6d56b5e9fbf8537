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
import json
import socket
import tempfile
from pathlib import Path

from bench.facts import Figures, machine, memory_folder, say
from bench.weights.delta import delta_size
from bench.weights.pause import pause
from bench.weights.serving import START_S
from bench.weights.stages import stages

MODEL = {"parameters": 8.3e9, "item_bytes": 2, "nodes": 16, "link_gbit": 25.0}
"""Qwen2.5-VL-7B in bf16."""


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
        say("delta", {name: one for name, one in found["delta"].items() if name != "shares"})
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
