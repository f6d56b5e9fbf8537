"""``perl-rl demo``: trains on handwritten digits with `launch`."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from perl_rl.launch.main import launch
from shared.errors import UserError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "demo.yaml"


def main(run_dir: Path | None = None, overrides: Sequence[str] = ()) -> int:
    """Run the demo; returns the launcher's exit status.

    Args:
        run_dir: where everything goes; default: the first of ``runs/demo``, ``runs/demo-2``, ...
            that does not exist.
        overrides: ``key.path=value`` settings on top of `CONFIG`.

    Raises:
        UserError: as `launch` does.
    """
    folder = (run_dir or _unused(Path("runs"))).absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"--run-dir {folder}: is not empty; choose a new folder")
    data = folder / "data"
    paths = (f"data.train={data / 'train.jsonl'}", f"data.heldout={data / 'heldout.jsonl'}")
    return launch(CONFIG, run_dir=folder, overrides=[*overrides, *paths])


def _unused(parent: Path) -> Path:
    names = ("demo" if number == 1 else f"demo-{number}" for number in count(1))
    return next(parent / name for name in names if not (parent / name).exists())
