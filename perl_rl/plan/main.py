"""``perl-rl plan``: the memory of each process of a run, part by part, and whether it fits."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perl_rl.launch.division import divide_gpus
from perl_rl.launch.engine_fits import check_split
from perl_rl.plan.parts import Need
from perl_rl.plan.sampler import cache_bytes, engine_need
from perl_rl.plan.shape import ModelShape, read_shape
from perl_rl.plan.shared_memory import shared_memory_notes
from perl_rl.plan.trainer import largest_chunk, packs, rank_need
from shared.config import Config, load_config
from shared.families import chosen_packing
from shared.words import amount

GB = 1e9
CONTEXT = 1.5 * GB
"""What CUDA, NCCL and their libraries take of a GPU for each process: an estimate."""
_ACCELERATOR = "DS_ACCELERATOR"
"""The variable that tells DeepSpeed what to compute on."""
FRAGMENTS = 0.05
"""Share of a rank's memory that its allocator holds and cannot use: an estimate."""


@dataclass(frozen=True)
class Plan:
    """The memory of a run, in bytes."""

    gpu: float
    engine: Need
    rank: Need
    shared: bool
    """Whether an engine and a rank share a GPU."""
    answers: float
    """Longest answers that the KV cache of a node holds at a time."""

    @property
    def rank_total(self) -> float:
        """A rank with what CUDA takes."""
        return self.rank.peak * (1 + FRAGMENTS) + CONTEXT

    @property
    def engine_total(self) -> float:
        """An engine on one GPU with what CUDA takes."""
        return self.engine.peak + CONTEXT

    def problems(self) -> list[str]:
        """Why it does not fit, each with what to change; empty when it fits."""
        found, size = [], f"of {self.gpu / GB:.0f} GB"
        if self.answers < 1:
            found.append(
                "a rollout node has no room for one answer of rollout.engine.max_model_len: raise "
                "rollout.engine.gpu_memory_utilization or tensor_parallel_size"
            )
        used = self.rank_total + (self.engine_total if self.shared else 0.0)
        if used > self.gpu:
            who = "a trainer rank and a rollout node need" if self.shared else "a rank needs"
            lower = "rollout.engine.gpu_memory_utilization or " if self.shared else ""
            found.append(
                f"{who} {used / GB:.1f} {size}: lower {lower}trainer.micro_batch_tokens, raise "
                "trainer.ranks under trainer.zero_stage 3, or set trainer.optimizer.offload or "
                "trainer.gradient_checkpointing"
            )
        if self.engine_total > self.gpu:
            need = f"{self.engine_total / GB:.1f}"
            found.append(f"a rollout node needs {need} {size}: raise its tensor_parallel_size")
        return found


def make_plan(
    config: Config, shape: ModelShape, deepspeed: dict[str, Any], gpu: float, shared: bool
) -> Plan:
    """The plan of a run.

    Args:
        deepspeed: DeepSpeed's configuration.
        gpu: bytes of each GPU.
        shared: whether an engine and a rank share a GPU.
    """
    engine = engine_need(config, shape, gpu, CONTEXT)
    dense = packs(config, shape) and config.trainer.attention in ("sdpa", "eager")
    answer = cache_bytes(config, shape) * config.rollout.engine.max_model_len
    return Plan(
        gpu=gpu,
        engine=engine,
        rank=rank_need(config, shape, deepspeed, dense_mask=dense),
        shared=shared,
        answers=engine.held["KV cache"] / answer,
    )


def plan_of(config: Config, gpu: float, shared: bool) -> tuple[Plan, ModelShape]:
    """The plan of a run, and the shape of its model; the arguments are those of `make_plan`.

    Raises:
        UserError: as `read_shape` and `chosen_packing`.
    """
    shape = read_shape(config.model)
    chosen_packing(config.model.path, config.trainer.packing)
    return make_plan(config, shape, _deepspeed_settings(config), gpu, shared), shape


def _deepspeed_settings(config: Config) -> dict[str, Any]:
    """DeepSpeed's configuration; only this process may import it here, and for this alone."""
    # It looks for GPUs when it is imported, and warns where there is none: a plan needs none. What
    # this process starts later must look for itself.
    given = os.environ.get(_ACCELERATOR)
    os.environ[_ACCELERATOR] = given or "cpu"
    try:
        # Here, because it takes seconds.
        from services.trainer.compute.deepspeed_engine import deepspeed_config

        return deepspeed_config(config)
    finally:
        if given is None:
            del os.environ[_ACCELERATOR]


def shares_gpus(config: Config, gpus: int | None) -> bool:
    """Whether an engine and a rank share a GPU on a machine with this many.

    Args:
        gpus: None: as many as the run needs.

    Raises:
        UserError: when there are fewer than it needs.
    """
    trainer, rollout, share = config.trainer, config.rollout, config.launcher.share_gpus
    if trainer.hosts > 1:
        return False
    parallel = rollout.engine.tensor_parallel_size
    least = max(parallel, trainer.ranks) if share else rollout.nodes * parallel + trainer.ranks
    names = [str(number) for number in range(gpus or least)]
    return divide_gpus(names, 1, rollout.nodes, trainer.ranks, parallel, share).shares_gpus


def main(config_path: Path, overrides: list[str], gpu_gb: float, gpus: int | None) -> int:
    """Print the plan; 0 when it fits, else 1.

    Raises:
        UserError: as `plan_of` and `shares_gpus`.
    """
    config = load_config(config_path, overrides)
    check_split(config)
    plan, shape = plan_of(config, gpu_gb * GB, shares_gpus(config, gpus))
    print("\n".join(lines(config, shape, plan)))
    return 1 if plan.problems() else 0


def lines(config: Config, shape: ModelShape, plan: Plan) -> list[str]:
    """The plan as a table in GB."""
    chunk, trainer = largest_chunk(config, shape), config.trainer
    found = [
        f"{config.run}: {_parameters(shape.parameters)}, {config.model.dtype}; "
        f"GB (10^9 bytes) on a GPU of {plan.gpu / GB:g}",
        "",
        f"{plan.rank.name}, ZeRO {trainer.zero_stage}, at most {amount(chunk.tokens, 'token')} and "
        f"{chunk.patches} patches of images at a time",
    ]
    found += [*_rows(plan.rank.shown(), plan.rank_total), *_host(plan.rank)]
    found += ["", plan.engine.name, *_rows(plan.engine.shown(), plan.engine_total)]
    answers = amount(int(plan.answers), "answer")
    found.append(f"  room for {answers} of {config.rollout.engine.max_model_len} tokens")
    found += _host(plan.engine)
    if plan.shared:
        both = (plan.rank_total + plan.engine_total) / GB
        found += ["", f"one GPU with a rank and a rollout node: {both:.1f}"]
    found += ["", *shared_memory_notes(config, plan.engine)]
    found += [*(f"does not fit: {problem}" for problem in plan.problems())]
    return found if plan.problems() else [*found, "fits"]


def _parameters(count: int) -> str:
    """ "8.29 billion parameters", or of a small model "0.36 million parameters"."""
    if count >= 1e8:
        return f"{count / 1e9:.2f} billion parameters"
    return f"{count / 1e6:.2f} million parameters"


def _rows(parts: dict[str, float], total: float) -> list[str]:
    rest = {"CUDA, libraries, fragments": total - sum(parts.values()), "together": total}
    return [_row(what, size) for what, size in {**parts, **rest}.items()]


def _host(need: Need) -> list[str]:
    return [_row(f"in host memory: {what}", size) for what, size in need.host.items()]


def _row(what: str, size: float) -> str:
    # Of a small model a tenth of a GB would show nothing.
    return f"  {what:<46}{size / GB:8.{1 if size >= 0.05 * GB or size == 0 else 4}f}"
