"""The DeepSpeed ranks as a child of the control plane: started by torchrun, watched, ended."""

import asyncio
import sys
from pathlib import Path

from shared.errors import UserError
from shared.guard import guarded


def error_file(run_dir: Path, incarnation: int) -> Path:
    """Where a rank that ends with an error a user can mend leaves its message."""
    return run_dir / f"trainer-error-{incarnation}.txt"


class RanksFailed(RuntimeError):
    """A rank ended without a message: a crash, or a kill from outside."""


async def run_ranks(
    config_file: Path,
    run_dir: Path,
    ranks: int,
    incarnation: int,
    weights_url: str,
    end_timeout_s: float,
) -> None:
    """Run the ranks until they end in good order; ends them when this task is cancelled.

    Raises:
        UserError: the message that a rank left.
        RanksFailed: when they ended otherwise than in good order.
    """
    command = [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--standalone", f"--nproc-per-node={ranks}", "-m", "services.trainer.worker"),
        *("--config", str(config_file), "--run-dir", str(run_dir)),
        *("--incarnation", str(incarnation), "--weights-url", weights_url),
    ]
    # torchrun gives each rank a session of its own; the guard ends them when this process dies.
    process = await asyncio.create_subprocess_exec(*guarded(command, grace_s=end_timeout_s / 2))
    try:
        code = await process.wait()
    except asyncio.CancelledError:
        await _end(process, end_timeout_s)
        raise
    message = error_file(run_dir, incarnation)
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
        process.kill()
        await process.wait()
