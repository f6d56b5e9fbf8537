"""Evaluates one model on a run's held-out questions, with an engine in this process.

For models that no rollout node holds. The launcher never loads torch, which would hold memory and
threads during the whole run.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from perl_rl.counting import counting
from perl_rl.ending import ended
from perl_rl.eval.heldout import HeldOutResult, decoding, held_out
from perl_rl.eval.models import VllmModel
from perl_rl.report.summary import write_json
from shared.config import Config, load_config
from shared.errors import UserError
from shared.logs import configure
from shared.named_folders import model_folder
from shared.weights.manifest import ADAPTER_SETTINGS


def main() -> int:
    """``python -m perl_rl.report.heldout CONFIG --model FOLDER --out FILE``."""
    parser = argparse.ArgumentParser(prog="heldout", description=__doc__)
    parser.add_argument("config", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    configure("evaluation")
    return ended(lambda: evaluate(options.config, options.model, options.out))


def evaluate(config_file: Path, model: Path, out: Path) -> int:
    """Write the `OrderRobustness` of `model` to `out` as JSON; returns 0.

    Raises:
        UserError: when the configuration names no held-out data, or there is no model.
    """
    config = load_config(config_file)
    if config.data.heldout is None:
        raise UserError(f"{config_file}: the key 'data.heldout' is missing; nothing to evaluate on")
    if not (model / ADAPTER_SETTINGS).is_file():
        model_folder(model, "--model")
    # Here, because torch takes seconds to import; who only names this module needs none of it.
    from perl_rl.export.merge import whole_model

    with whole_model(config, model) as whole:
        changed = config.model.model_copy(update={"path": whole})
        asked = config.model_copy(update={"model": changed})
        result = asyncio.run(_ask(asked, out.parent))
    write_json(out, result.model_dump(mode="json"))
    return 0


async def _ask(config: Config, folder: Path) -> HeldOutResult:
    questions = held_out(config, folder)
    greedily = decoding(config)
    async with VllmModel(config, greedily) as model:
        with counting("answered", len(questions.prompts())) as advance:
            found = await questions.ask(model, lambda done, total: advance() if done else None)
    return HeldOutResult(**dict(found), asked=questions.asked(greedily))


if __name__ == "__main__":
    sys.exit(main())
