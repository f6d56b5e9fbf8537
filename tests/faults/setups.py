"""The systems that faults are injected into: a simulated one, for many faults, and a real one."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import yaml

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import build_model, build_processor, save
from perl_rl.demo.run import CONFIG as DEMO
from perl_rl.launch.division import Division, Resources, divide_machine
from perl_rl.launch.processes import Program

RUN = "faults"
ENDLESS = 1_000_000
GROUPS_PER_STEP = 4


class Setup(Protocol):
    """A kind of system."""

    nodes: tuple[str, ...]
    """Names of the rollout nodes."""
    rewards: tuple[str, ...]
    steps: int
    """Number of steps that the run is started with."""

    def write(self, folder: Path, seed: int) -> dict[str, Any]:
        """Write the run's inputs; returns its configuration without addresses."""

    def rollout(self, name: str, config_file: Path, redis_url: str) -> Program:
        """The program of a rollout node."""

    @property
    def trainer_share(self) -> Resources:
        """The part of the machine that the trainer may use."""


def service(kind: str, name: str, config_file: Path, *options: str) -> Program:
    """One of the project's services, as ``perl-rl launch`` starts it."""
    words = (sys.executable, "-m", "perl_rl", kind, "serve", str(config_file), "--name", name)
    return Program(name, (*words, *options), {"OMP_NUM_THREADS": "1"})


class Simulated:
    """Rollout nodes with a simulated engine, and short timeouts, so that faults show soon."""

    nodes: tuple[str, ...] = ("simulated-0", "simulated-1")
    rewards: tuple[str, ...] = ("reward-0", "reward-1")
    steps: int = ENDLESS
    trainer_share = Resources(1)

    def write(self, folder: Path, seed: int) -> dict[str, Any]:
        """Write a model with random weights, and data."""
        processor = build_processor()
        save(build_model(processor, seed=0), processor, folder / "model")
        write_data(folder / "data", train=400, held_out=3, skew=1.0, seed=seed)
        return {
            "run": RUN,
            "seed": seed,
            "redis": {"timeout_s": 60.0},
            # In bf16 few numbers change in a step, so that versions travel as deltas.
            "model": {"path": "model", "dtype": "bfloat16"},
            "data": {"train": "data/train.jsonl"},
            "permutation": {"n_s": 1, "schedule": "constant"},
            "sampling": {"n": 4, "max_tokens": 24},
            "rollout": {
                "heartbeat_s": 0.5,
                "lost_after_s": 4.0,
                "outdated_after_s": 5.0,
                "task_timeout_s": 8.0,
                "drain_timeout_s": 3.0,
                "concurrent_tasks": 8,
                "max_attempts": 20,
            },
            "reward": {
                "workers": 1,
                "heartbeat_s": 0.5,
                "lost_after_s": 4.0,
                "drain_timeout_s": 3.0,
                "max_attempts": 20,
            },
            "trainer": {
                "groups_per_step": GROUPS_PER_STEP,
                "max_staleness": 1,
                "checkpoint": {"every_steps": 2, "keep": 3},
                "max_restarts": 20,
                "groups_timeout_s": 300.0,
                "drain_timeout_s": 10.0,
                # The simulated engine makes up its log-probabilities.
                "guard": {"mismatch_stop_above": None},
            },
        }

    def rollout(self, name: str, config_file: Path, redis_url: str) -> Program:
        """A real node, except for its engine."""
        words = (sys.executable, "-m", "tests.faults.simulated_rollout", str(config_file))
        options = ("--names", name, "--set", f"redis.url={redis_url}")
        return Program(name, (*words, *options), {"OMP_NUM_THREADS": "1"})


class Real:
    """The demo's run: vLLM, the start model and the questions, with frequent checkpoints."""

    nodes: tuple[str, ...] = ("rollout-0",)
    rewards: tuple[str, ...] = ("reward-0",)

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self._division: Division = divide_machine("cpu", 1, 1, tensor_parallel=1, share_gpus=True)

    @property
    def trainer_share(self) -> Resources:
        """As the launcher divides the machine."""
        return self._division.trainer

    def write(self, folder: Path, seed: int) -> dict[str, Any]:
        """Write the demo's configuration and data for this seed."""
        write_data(folder / "data", seed=seed)
        content: dict[str, Any] = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
        data = {name: f"data/{name}.jsonl" for name in ("train", "heldout")}
        content |= {"run": RUN, "seed": seed, "redis": {"timeout_s": 60.0}}
        content["model"]["path"] = str((DEMO.parent / content["model"]["path"]).resolve())
        content["data"] = {"instruction": content["data"]["instruction"], **data}
        content["rollout"] |= {"host": "127.0.0.1", "lost_after_s": 5.0, "max_attempts": 20}
        content["reward"] |= {"host": "127.0.0.1", "lost_after_s": 5.0, "max_attempts": 20}
        content["trainer"] |= {
            "host": "127.0.0.1",
            "checkpoint": {"every_steps": 3, "keep": 3},
            "max_restarts": 20,
            "start_nodes": 1,
        }
        del content["security"]
        return content

    def rollout(self, name: str, config_file: Path, redis_url: str) -> Program:
        """A real node, bound to its cores."""
        share = self._division.rollout[0]
        words = ("--port", "0", "--set", f"redis.url={redis_url}")
        program = service("rollout", name, config_file, *words)
        return replace(program, environment=share.engine_environment())
