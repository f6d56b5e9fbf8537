"""The process of one rank, as torchrun starts it: settings, collectives, then the training loop."""

import argparse
import logging
import os
import sys
from datetime import timedelta
from pathlib import Path

import deepspeed
import numpy as np
import torch

from services.trainer.control.ranks import error_file
from services.trainer.rank.loop import Rank
from shared import logs
from shared.config import load_config
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
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    logs.configure(f"trainer-rank-{os.environ['RANK']}", hidden=secret_words(config))
    _seed(config.seed)
    deepspeed.init_distributed(
        dist_backend="nccl" if torch.cuda.is_available() else "gloo",
        timeout=timedelta(seconds=config.trainer.collective_timeout_s),
        verbose=False,
    )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        rank = Rank(config, arguments.run_dir, arguments.incarnation, arguments.weights_url)
        rank.run()
        rank.close()
    except UserError as error:
        # The control plane reads it: torchrun passes on no more than "a rank failed".
        error_file(arguments.run_dir, arguments.incarnation).write_text(str(error))
        logger.error("%s", error)
        return 2
    finally:
        torch.distributed.destroy_process_group()
    return 0


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)


if __name__ == "__main__":
    sys.exit(main())
