"""One of two ranks that collect, deal and prepare the groups of two steps, without a model.

Started by torchrun with a configuration file and an output folder. Leaves ``RANK.json``: the groups
of each step, and those that were prepared before the second one began.
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed

from services.trainer.compute import collective
from services.trainer.rank.collect import Collector
from services.trainer.rank.fetch import GroupFetcher
from shared.config import load_config
from shared.wire.messages import PolicyVersion
from tests.integration.counting_preparer import CountingPreparer
from tests.waiting import wait_until


def main(config_file: Path, folder: Path) -> None:
    """Take the groups of two steps."""
    distributed.init_process_group("gloo")
    config, preparer, device = load_config(config_file), CountingPreparer(), torch.device("cpu")
    fetcher = GroupFetcher(config, 2, preparer, device)
    collector = Collector(config, 2, collective.world()) if collective.is_first() else None
    steps: list[list[list[str]]] = []
    ahead: list[str] = []
    for step in (5, 6):
        current = PolicyVersion(incarnation=2, step=step)
        fetcher.prepare_ahead(current)
        batch = collector.batch(current) if collector else []
        found = fetcher.minibatches(batch, current)
        steps.append([[group.name for group in minibatch] for minibatch in found])
        if step == 5:
            if collector:
                collector.gather(PolicyVersion(incarnation=2, step=6))
            fetcher.prepare_ahead(PolicyVersion(incarnation=2, step=6))
            wait_until(lambda: preparer.for_step(6), "groups of the next step", 30.0)
            distributed.barrier()
    ahead = preparer.for_step(6)
    fetcher.close()
    if collector:
        collector.close()
    result = {"steps": steps, "asked": ahead}
    (folder / f"{collective.rank()}.json").write_text(json.dumps(result))
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
