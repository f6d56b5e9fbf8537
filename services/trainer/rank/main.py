"""The process of one rank, as torchrun starts it: settings, collectives, then the training loop."""

import argparse
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import deepspeed
import numpy as np
import torch

from services.trainer.compute.policy import Policy
from services.trainer.control.ranks import error_file
from services.trainer.rank.link import Link
from services.trainer.rank.loop import TrainingLoop
from shared import logs
from shared.config import Config, load_config
from shared.config.secrets import secret_words
from shared.errors import UserError

logger = logging.getLogger("services.trainer.rank.main")


def main() -> int:
    """Run one rank."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--incarnation", type=int, required=True)
    parser.add_argument("--weights-url", required=True)
    options = parser.parse_args()
    config = load_config(options.config)
    logs.configure(f"trainer-rank-{os.environ['RANK']}", hidden=secret_words(config))
    torch.manual_seed(config.seed)
    np.random.seed(config.seed % 2**32)
    device = _join_the_other_ranks(config)
    try:
        _train(config, options, device)
    except UserError as error:
        # The control plane reads this file: torchrun passes on no more than "a rank failed".
        error_file(options.run_dir, options.incarnation).write_text(str(error))
        logger.error("%s", error)
        leave_at_once(2)
    except Exception:
        logger.exception("the rank failed")
        leave_at_once(1)
    torch.distributed.destroy_process_group()
    return 0


def leave_at_once(status: int) -> NoReturn:
    """End this process without a word to the other ranks, which may wait for it in a collective.

    NCCL's orderly end would wait for them, up to ``trainer.collective_timeout_s``; torchrun ends
    them as soon as it sees this rank gone.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _train(config: Config, options: argparse.Namespace, device: torch.device) -> None:
    link = Link(config)
    policy = Policy(config, device)
    loop = TrainingLoop(
        config, options.run_dir, options.incarnation, options.weights_url, link, policy
    )
    loop.run()
    link.close()


def _join_the_other_ranks(config: Config) -> torch.device:
    """Start the collectives; returns the device of this rank."""
    cuda = torch.cuda.is_available()
    deepspeed.init_distributed(
        dist_backend="nccl" if cuda else "gloo",
        timeout=timedelta(seconds=config.trainer.rank_patience_s()),
        verbose=False,
    )
    if not cuda:
        return torch.device("cpu")
    local = int(os.environ["LOCAL_RANK"])
    torch.cuda.set_device(local)
    return torch.device(f"cuda:{local}")


if __name__ == "__main__":
    sys.exit(main())
