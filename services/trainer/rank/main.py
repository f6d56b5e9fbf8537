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

from services.trainer.compute import collective
from services.trainer.compute.policy import Policy
from services.trainer.control.ranks import error_file
from services.trainer.rank.link import Link
from services.trainer.rank.loop import TrainingLoop
from shared import logs
from shared.config import Config, load_config
from shared.config.secrets import secret_words
from shared.errors import UserError
from shared.leaving import leave_at_once
from shared.machine import TorchFacts, settled
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.runstate import RunState

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
    try:
        config = _settled(config)
    except UserError as error:
        _leave_message(error, options.run_dir, options.incarnation)
        return 2
    device = _join_the_other_ranks(config)
    try:
        _train(config, options, device)
    except UserError as error:
        _leave_message(error, options.run_dir, options.incarnation)
        leave_at_once(2)
    except Exception:
        logger.exception("the rank failed")
        leave_at_once(1)
    torch.distributed.destroy_process_group()
    leave_at_once(0)


def _train(config: Config, options: argparse.Namespace, device: torch.device) -> None:
    _check_agreement(config, device)
    link = Link(config)
    if collective.is_first():
        link.do(
            lambda: RunState(link.client, link.keys).update(
                dtype=config.model.dtype, device=config.model.device
            )
        )
    policy = Policy(config, device)
    first = collective.is_first()
    spans = Spans(config.run, config.tracing, "trainer", "rank-0") if first else NO_SPANS
    loop = TrainingLoop(
        config, options.run_dir, options.incarnation, options.weights_url, link, policy, spans
    )
    loop.run()
    spans.close()
    link.close()


def _leave_message(error: UserError, run_dir: Path, incarnation: int) -> None:
    """For the control plane: torchrun passes on no more than "a rank failed"."""
    error_file(run_dir, incarnation).write_text(str(error))
    logger.error("%s", error)


def _settled(config: Config) -> Config:
    """The configuration with the device and the number type that this machine decides."""
    facts = TorchFacts(torch.__version__, torch.version.cuda, torch.cuda.is_available())
    model, line = settled(config.model, facts)
    logger.info(line)
    return config.model_copy(update={"model": model})


def _check_agreement(config: Config, device: torch.device) -> None:
    """Every rank calls it: machines of different kinds may have chosen different number types."""
    mine = int(config.model.dtype == "bfloat16")
    most, least = collective.largest([mine, -mine], device)
    if most != -least:
        raise UserError(
            "model.dtype auto: some of the ranks' machines compute in bfloat16, others in float32; "
            "set model.dtype"
        )


def _join_the_other_ranks(config: Config) -> torch.device:
    """Start the collectives; returns the device of this rank."""
    cuda = config.model.device == "cuda"
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
