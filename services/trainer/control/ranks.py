"""The DeepSpeed ranks of one host as a child process: torchrun is started, watched and ended."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from shared.config.trainer import TrainerConfig
from shared.errors import UserError
from shared.reaper import under_reaper
from shared.subprocesses import kill


def error_file(run_dir: Path, incarnation: int) -> Path:
    """Where a rank leaves the message of an error that the user can fix."""
    return run_dir / f"trainer-error-{incarnation}.txt"


class RanksFailed(RuntimeError):
    """A rank ended without a message: it crashed or was killed."""


@dataclass(frozen=True)
class HostRanks:
    """The ranks of one host."""

    config: TrainerConfig
    config_file: Path
    run_dir: Path
    weights_url: str = ""
    """Where rank 0's weights are served; only host 0 needs it."""
    host: int = 0
    """The host's number; host 0 has the control plane and rank 0."""

    def command(self, incarnation: int) -> list[str]:
        """The command line of torchrun."""
        trainer = self.config
        if trainer.hosts == 1:
            meeting = ["--standalone"]
        else:
            address, _, port = trainer.rendezvous.rpartition(":")
            meeting = [
                *(f"--nnodes={trainer.hosts}", f"--node-rank={self.host}"),
                *(f"--master-addr={address}", f"--master-port={port}"),
                # Hosts of different incarnations must not meet.
                *(f"--rdzv-id={incarnation}", f"--rdzv-conf=timeout={trainer.start_timeout_s:.0f}"),
            ]
        return [
            *(sys.executable, "-m", "torch.distributed.run"),
            *(*meeting, f"--nproc-per-node={trainer.ranks}", "-m", "services.trainer.rank.main"),
            *("--config", str(self.config_file), "--run-dir", str(self.run_dir)),
            *("--incarnation", str(incarnation), "--weights-url", self.weights_url),
        ]


async def run_ranks(host: HostRanks, incarnation: int) -> None:
    """Run a host's ranks until they end normally; ends them when this task is cancelled.

    Raises:
        UserError: the message that a rank left.
        RanksFailed: when they ended in any other way.
    """
    end_timeout_s = host.config.drain_timeout_s / 2
    command = host.command(incarnation)
    # torchrun gives each rank a session of its own; the reaper ends them when this process dies.
    process = await asyncio.create_subprocess_exec(
        *under_reaper(command, grace_s=end_timeout_s / 2)
    )
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _end(process, end_timeout_s)
        raise
    message = error_file(host.run_dir, incarnation)
    if message.exists():
        raise UserError(message.read_text().strip())
    if code != 0:
        raise RanksFailed(f"the trainer's ranks ended with status {code}")


async def _end(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        await kill(process)
