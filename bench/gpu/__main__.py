"""Runs the stages, each in a process of its own with a time limit; one JSON object a line."""

import argparse
import json
import multiprocessing
import sys
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from bench.gpu.setting import CPU, GPU
from bench.gpu.stages import STAGES

LIMIT_S = 180.0
_END_S = 10.0


def run(name: str, cpu: bool, limit_s: float) -> dict[str, Any]:
    """The outcome of a stage: its figures, or why it failed."""
    # A process that is forked need not import everything again; CUDA does not survive a fork.
    context = multiprocessing.get_context("fork" if cpu else "spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_stage, args=(name, cpu, there), daemon=True)
    began = time.monotonic()
    process.start()
    there.close()
    try:
        outcome = here.recv() if here.poll(limit_s) else {"error": f"not done in {limit_s:.0f} s"}
    except EOFError:
        process.join(_END_S)
        outcome = {"error": f"its process ended with status {process.exitcode}"}
    seconds = time.monotonic() - began
    process.kill()
    process.join(_END_S)
    return {"stage": name, "ok": "error" not in outcome, "wall_s": round(seconds, 1), **outcome}


def _stage(name: str, cpu: bool, answer: Connection) -> None:
    try:
        answer.send(_rounded(STAGES[name](CPU if cpu else GPU)))
    except Exception as error:
        traceback.print_exc()
        answer.send({"error": f"{type(error).__name__}: {error}"[:500]})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> int:
    """Run the stages that are asked for; 0 when all are right."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--cpu", action="store_true", help="the same code at tiny shapes")
    text = "seconds for each stage (default: 180)"
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help=text)
    given = parser.parse_args()
    unknown = set(given.stages) - set(STAGES)
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    right = True
    for name in given.stages or STAGES:
        outcome = run(name, given.cpu, given.limit)
        right &= outcome["ok"]
        print(json.dumps(outcome), flush=True)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
