"""Evaluates one model on a run's held-out questions, in its own process.

The launcher never loads torch, which would hold memory and threads during the whole run.
"""

import argparse
import logging
import sys
from pathlib import Path

from perl_rl.report.summary import write_json
from shared.config import load_config
from shared.errors import UserError
from shared.formats import load
from shared.logs import configure

logger = logging.getLogger("perl_rl.report.heldout")


def main() -> int:
    """``python -m perl_rl.report.heldout CONFIG --model FOLDER --out FILE``."""
    parser = argparse.ArgumentParser(prog="heldout", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    configure("evaluation")
    try:
        evaluate(options.config, options.model, options.out)
    except UserError as error:
        print(f"perl-rl: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def evaluate(config_file: Path, model: Path, out: Path) -> None:
    """Write the `OrderRobustness` of `model` to `out` as JSON.

    Raises:
        UserError: when the configuration names no held-out data.
    """
    from perl_rl.eval.greedy import evaluate_folder

    config = load_config(config_file)
    if config.data.heldout is None:
        raise UserError(f"{config_file}: the key 'data.heldout' is missing; nothing to evaluate on")
    result = evaluate_folder(
        model,
        load(config.data, config.data.heldout_sources(), out.parent / "images").samples,
        config.data.instruction,
        config.eval.orders,
        config.eval.max_tokens,
        progress=lambda done, total: logger.info("answered %d of %d", done, total),
    )
    write_json(out, result.model_dump(mode="json"))


if __name__ == "__main__":
    sys.exit(main())
