"""Measure samples per second end to end against TRL's `GRPOTrainer`, in turns.

    make bench-trl
    python -m bench.trl [--rounds 2] [--steps 12] [--json FILE]

Both sides train the demo's start model on the same questions with as many responses a step: 16
questions, here in two orders with 6 responses each, there with 12 responses each. The questions
show two images each, because TRL 1.16 cannot mix numbers of images. Both run in the machine's
fastest number type. The seconds of a step are medians without the first two steps.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from bench.facts import machine, say
from perl_rl.demo.digits import write_data
from perl_rl.demo.run import CONFIG as DEMO
from shared.config import load_config

HERE = Path(__file__).resolve().parents[2]
PYTHON = HERE / ".venv-trl" / "bin" / "python"
SIDE = Path(__file__).with_name("side.py")
IMAGES, PROMPTS, RESPONSES = 2, 16, 12
WARM_STEPS = 2
LIMIT_S = 600.0


def ours(folder: Path, data: Path, steps: int) -> dict[str, float]:
    """The demo's run on these questions."""
    command = [sys.executable, "-m", "perl_rl", "launch", str(DEMO), "--run-dir", str(folder)]
    changes = [
        f"data.train={data}",
        "data.heldout=null",
        f"trainer.steps={steps}",
        f"trainer.checkpoint.every_steps={steps}",
        "reward.filter.drop_uniform=false",
    ]
    with folder.with_suffix(".out").open("wb") as output:
        done = subprocess.run(
            [*command, "--set", *changes], stdout=output, stderr=output, timeout=LIMIT_S, cwd=HERE
        )
    if done.returncode:
        raise SystemExit(folder.with_suffix(".out").read_text())
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    seconds = [after["time"] - before["time"] for before, after in pairwise(rows)][WARM_STEPS - 1 :]
    tokens = statistics.fmean(row["generated_tokens"] for row in rows) / (PROMPTS * RESPONSES)
    return _figures(seconds, tokens)


def theirs(folder: Path, data: Path, steps: int, dtype: str) -> dict[str, float]:
    """TRL on the same questions."""
    config = load_config(DEMO)
    folder.mkdir()
    settings = folder / "settings.json"
    settings.write_text(
        json.dumps(
            {
                "model": str(config.model.path),
                "data": str(data),
                "out": str(folder / "out"),
                "dtype": dtype,
                "instruction": config.data.instruction,
                "prompts": PROMPTS,
                "responses": RESPONSES,
                "max_tokens": config.sampling.max_tokens,
                "steps": steps,
                "learning_rate": config.trainer.optimizer.learning_rate,
                "kl_coef": config.trainer.objective.kl_coef,
            }
        )
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(PYTHON), "-P", str(SIDE), str(settings)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LIMIT_S, env=environment, cwd=folder
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"seconds')]
    tokens = statistics.fmean(length for line in lines for length in line["tokens"])
    return _figures([line["seconds"] for line in lines][WARM_STEPS:], tokens)


def _figures(seconds: list[float], tokens: float) -> dict[str, float]:
    step_s = statistics.median(seconds)
    return {
        "step_s": step_s,
        "samples_per_s": PROMPTS * RESPONSES / step_s,
        "tokens_a_sample": tokens,
    }


def questions(folder: Path) -> Path:
    """The demo's questions with two images each."""
    write_data(folder, seed=1)
    file = folder / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    chosen = [row for row in rows if len(row["images"]) == IMAGES]
    file.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    return file


def fastest_dtype(folder: Path) -> str:
    """The number type that ``model.dtype: auto`` chose in a run."""
    return str(yaml.safe_load((folder / "config.yaml").read_text())["model"]["dtype"])


def main() -> None:
    """Print each side's rounds and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not PYTHON.exists():
        raise SystemExit("bench.trl: there is no .venv-trl; make it first: make bench-trl")
    found: dict[str, Any] = {"machine": machine(), "this": [], "trl": []}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        data, dtype = questions(folder / "data"), ""
        for number in range(options.rounds):
            for side in ("this", "trl")[:: -1 if number % 2 else 1]:
                where = folder / f"{side}-{number}"
                if side == "this":
                    found[side].append(ours(where, data, options.steps))
                    dtype = dtype or fastest_dtype(where)
                else:
                    found[side].append(theirs(where, data, options.steps, dtype))
                say(side, {"dtype": dtype, **found[side][-1]})
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
