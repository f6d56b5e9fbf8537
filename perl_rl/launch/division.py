"""Divides a machine's cores, or its GPUs, between rollout nodes and trainer ranks.

PyTorch's threads spin while they wait, so two processes that share cores slow each other down many
times over. Each gets its own cores when there are enough.
"""

import os
import subprocess
from dataclasses import dataclass

from shared.config import Config
from shared.errors import UserError

_DRIVER_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Resources:
    """What one process may use; for the trainer, what all of its ranks use together."""

    threads: int
    """Threads of one rank or engine."""
    cores: frozenset[int] | None = None
    """The cores it may run on; None: all."""
    gpus: tuple[str, ...] | None = None
    """CUDA devices it sees; None where the machine has none."""

    def environment(self) -> dict[str, str]:
        """Variables that limit the numerical libraries to these resources."""
        variables = {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        if self.gpus is not None:
            variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
        return variables

    def engine_environment(self) -> dict[str, str]:
        """Variables for a vLLM engine that computes on these cores.

        vLLM binds its worker to them. The engine's front end and scheduler hardly compute and may
        run anywhere; on two cores this samples a quarter faster than binding all three to one.
        """
        if self.cores is None:
            return self.environment()
        cores = ",".join(str(core) for core in sorted(self.cores))
        return {**self.environment(), "VLLM_CPU_OMP_THREADS_BIND": cores}

    def __str__(self) -> str:
        words = []
        if self.gpus is not None:
            words.append(f"GPU {','.join(self.gpus)}")
        if self.cores is not None:
            words.append(f"core {','.join(str(core) for core in sorted(self.cores))}")
        words.append(f"{self.threads} thread{'s' if self.threads > 1 else ''} a process")
        return ", ".join(words)


@dataclass(frozen=True)
class Division:
    """The resources of every process of a launch."""

    rollout: tuple[Resources, ...]
    trainer: Resources
    light: Resources
    """For each reward node; it needs little."""

    @property
    def shares_gpus(self) -> bool:
        """Whether two processes, of engines or ranks, use the same GPU."""
        used = [gpu for one in (*self.rollout, self.trainer) for gpu in one.gpus or ()]
        return len(set(used)) < len(used)

    def lines(self) -> list[str]:
        """The division as lines for the log."""
        nodes = [f"rollout-{index}: {resources}" for index, resources in enumerate(self.rollout)]
        return [*nodes, f"trainer: {self.trainer}", "reward nodes and Redis: any core"]


def divide_cores(cores: list[int], nodes: int, ranks: int) -> Division:
    """Give each engine and each trainer rank its own cores, if there are enough.

    All ranks get the same number. Engines get the rest, since sampling takes most of a step. With
    fewer cores than processes, the engines share one set of cores and the ranks another.
    """
    if len(cores) == 1:
        alone = Resources(1, frozenset(cores))
        return Division((alone,) * nodes, alone, Resources(1))
    processes = nodes + ranks
    if len(cores) >= processes:
        each = len(cores) // processes
        rank_cores, engine_cores = cores[len(cores) - each * ranks :], cores[: -each * ranks]
        engines = tuple(_slice(engine_cores, nodes, index) for index in range(nodes))
        return Division(engines, Resources(each, frozenset(rank_cores)), Resources(1))
    split = min(max(1, round(len(cores) * nodes / processes)), len(cores) - 1)
    engines = tuple(
        _slice(cores[:split], nodes, index)
        if nodes <= split
        else Resources(1, frozenset({cores[index % split]}))
        for index in range(nodes)
    )
    rest = cores[split:]
    return Division(engines, Resources(max(1, len(rest) // ranks), frozenset(rest)), Resources(1))


def divide_gpus(
    gpus: list[str], cores: int, nodes: int, ranks: int, tensor_parallel: int, share: bool
) -> Division:
    """Give each engine `tensor_parallel` GPUs and each trainer rank one; processes run on any core.

    Raises:
        UserError: when there are too few GPUs.
    """
    wanted = nodes * tensor_parallel + ranks
    fits_shared = len(gpus) >= max(tensor_parallel, ranks)
    if len(gpus) < wanted and not (share and fits_shared):
        raise UserError(
            f"rollout.nodes ({nodes}) x rollout.engine.tensor_parallel_size ({tensor_parallel}) + "
            f"trainer.ranks ({ranks}) need {wanted} GPUs, but this process sees {len(gpus)}; lower "
            "one of them, or set launcher.share_gpus"
        )
    threads = max(1, cores // (nodes + ranks))

    def engine(index: int) -> Resources:
        first = index * tensor_parallel
        chosen = [gpus[(first + place) % len(gpus)] for place in range(tensor_parallel)]
        return Resources(threads, gpus=tuple(chosen))

    return Division(
        rollout=tuple(engine(index) for index in range(nodes)),
        trainer=Resources(threads, gpus=tuple(gpus[len(gpus) - ranks :])),
        light=Resources(1, gpus=()),
    )


def division_of(config: Config) -> Division:
    """How a run divides this machine; `config` says on which device.

    Raises:
        UserError: when the machine has too few GPUs, or none for a parallel engine.
    """
    return divide_machine(
        config.model.device,
        config.rollout.nodes,
        config.trainer.ranks,
        config.rollout.engine.tensor_parallel_size,
        config.launcher.share_gpus,
    )


def divide_machine(
    device: str, nodes: int, ranks: int, tensor_parallel: int, share_gpus: bool
) -> Division:
    """Divide the cores, or on `device` "cuda" the GPUs, that this process may use.

    Raises:
        UserError: when the machine has too few GPUs, or none for a parallel engine.
    """
    cores = sorted(os.sched_getaffinity(0))
    if device == "cuda":
        gpus = visible_gpus()
        return divide_gpus(gpus, len(cores), nodes, ranks, tensor_parallel, share_gpus)
    if tensor_parallel > 1:
        raise UserError(
            f"rollout.engine.tensor_parallel_size: {tensor_parallel} needs as many GPUs a node, "
            "and this run computes on the CPU; set it to 1"
        )
    return divide_cores(cores, nodes, ranks)


def visible_gpus() -> list[str]:
    """This process's GPUs, as ``CUDA_VISIBLE_DEVICES`` names them.

    Asks ``nvidia-smi``, because importing torch takes seconds.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [device.strip() for device in chosen.split(",") if device.strip()]
    try:
        answer = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=_DRIVER_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"nvidia-smi does not list the GPUs: {error}; fix the driver") from None
    return answer.stdout.split()


def _slice(cores: list[int], parts: int, index: int) -> Resources:
    """Part `index` of `cores`, cut into `parts` whose sizes differ by at most one core."""
    start, end = (len(cores) * place // parts for place in (index, index + 1))
    return Resources(end - start, frozenset(cores[start:end]))
