"""Whether a run that says it is done did what its configuration asked."""

from pathlib import Path

from perl_rl.ending import RunFailed
from perl_rl.report.observe import RunView


def check_account(view: RunView, folder: Path, hint: str) -> None:
    """Check that the trainer's state, the ledger and the files in `folder` agree on success.

    Args:
        hint: where to read more, when steps are missing.

    Raises:
        RunFailed: when steps are missing, groups are not accounted for, or there is no model.
    """
    state = view.trainer
    if state.phase != "done" or state.step < state.steps:
        raise RunFailed(
            f"the trainer ended at step {state.step} of {state.steps}, {state.phase} "
            f"{state.detail}; {hint}"
        )
    if not view.counts.balanced():
        raise RunFailed(f"the ledger does not balance: {view.counts}")
    if not (folder / "policy").is_dir():
        raise RunFailed(f"the trainer left no model in {folder / 'policy'}")
