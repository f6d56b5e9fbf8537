"""``perl-rl export RUN``: which checkpoint is meant, whether it is sound, and where it goes."""

import os
import shutil
from pathlib import Path

from perl_rl.export.card import write_card
from perl_rl.launch.preflight import check_model
from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import load_config
from shared.errors import UserError
from shared.files import make_folder
from shared.named_folders import RUN_CONFIGS, run_config
from shared.records.evaluations import best_step, evaluation_file, figures_line, read_evaluation


def export(
    run_dir: Path, out: Path, step: int | None = None, best: bool = False, merged: bool = False
) -> int:
    """Write the policy of a checkpoint to `out`, for ``from_pretrained``; returns 0.

    Args:
        run_dir: folder of a run, which may have ended, been interrupted, or be running.
        out: a folder that is empty or not there.
        step: which checkpoint; default: the newest.
        best: the one with the best held-out accuracy instead.
        merged: of a run with an adapter, whole weights instead of the adapter.

    Raises:
        UserError: when there is no such checkpoint, it is damaged, or `out` cannot be written.
    """
    config = load_config(run_config(run_dir, names=RUN_CONFIGS))
    if merged and config.model.lora is None:
        raise UserError(
            f"{run_dir}: --merged: the run trained whole weights (model.lora is not set); leave it "
            "out"
        )
    checkpoints = CheckpointFolder(run_dir / "checkpoints", keep=1)
    chosen = chosen_step(run_dir, checkpoints.steps(), step, best)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out}: is there already, and not empty; choose a new folder")
    make_folder(out, "--out")
    check_model(config.model)
    _check_sound(checkpoints, chosen)
    # DeepSpeed would look for GPUs, and warn when there is none.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    # Here, because torch takes seconds to import.
    from perl_rl.export.model import write_model

    print(f"reading the checkpoint of step {chosen}", flush=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        tensors = write_model(config, checkpoints.of_step(chosen), partial, merged)
        write_card(run_dir, config, chosen, partial)
        partial.replace(out)
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename}: is gone; a run that goes on deletes old checkpoints: export again, "
            "or raise trainer.checkpoint.keep"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"exported step {chosen} of {run_dir} to {out} ({tensors}){_evaluated(run_dir, chosen)}")
    return 0


def chosen_step(run_dir: Path, saved: list[int], step: int | None, best: bool) -> int:
    """The step of the checkpoint that is meant, of those in `saved`.

    Raises:
        UserError: when it is not there, naming those that are.
    """
    if not saved:
        raise UserError(
            f"{run_dir / 'checkpoints'}: there is no checkpoint yet; the first one is written "
            "after trainer.checkpoint.every_steps steps"
        )
    there = f"there are those of steps {', '.join(map(str, saved))}"
    if best:
        found = best_step(run_dir, saved)
        if found is None:
            raise UserError(
                f"{run_dir}: --best: no checkpoint that is kept was evaluated (eval.every_steps "
                f"and trainer.checkpoint.keep_best); {there}: choose one with --step"
            )
        return found
    if step is None:
        return saved[-1]
    if step not in saved:
        raise UserError(f"{run_dir}: there is no checkpoint of step {step}; {there}")
    return step


def _check_sound(checkpoints: CheckpointFolder, step: int) -> None:
    damage = checkpoints.damage(step)
    if damage is None:
        return
    others = [str(one) for one in checkpoints.steps() if one != step]
    fix = f"choose another with --step: {', '.join(others)}" if others else "there is no other one"
    raise UserError(f"{checkpoints.of_step(step)}: is damaged: {damage}; {fix}")


def _evaluated(run_dir: Path, step: int) -> str:
    file = evaluation_file(run_dir, step)
    return f"; held-out {figures_line(read_evaluation(file))}" if file.is_file() else ""
