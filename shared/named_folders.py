"""Folders that a person names, of a run or of a model, refused in the same words everywhere."""

from pathlib import Path

from shared.errors import UserError

RUN_CONFIG = "config.yaml"
"""What `launch` writes into a run's folder."""
RUN_CONFIGS = (RUN_CONFIG, "trainer-config.yaml")
"""What `launch` and `trainer serve` write there."""


RUNS = Path("runs")
"""Where `launch` puts the folders of runs."""


def run_folder(folder: Path, named: str = "") -> Path:
    """`folder`, which is there.

    Args:
        named: the option that names it, such as ``--run-dir``.

    Raises:
        UserError: when it is no folder.
    """
    where = f"{named} {folder}".lstrip()
    if not folder.exists():
        raise UserError(f"{where}: there is no such folder; name the folder of a run")
    if not folder.is_dir():
        raise UserError(f"{where}: is a file, not a folder; name the folder of a run")
    return folder


def run_config(folder: Path, named: str = "", names: tuple[str, ...] = (RUN_CONFIG,)) -> Path:
    """The configuration that a run has left in its folder.

    Args:
        names: the names that it may have, the first one that is there counts.

    Raises:
        UserError: when it is no folder, or holds no run.
    """
    for name in names:
        if (run_folder(folder, named) / name).is_file():
            return folder / name
    where = f"{named} {folder}".lstrip()
    raise UserError(f"{where}: holds no run (no {' or '.join(names)}); check the folder")


def model_folder(folder: Path, named: str = "model.path") -> Path:
    """`folder`, which holds the configuration of a model.

    Args:
        named: the key or option that names it.

    Raises:
        UserError: when it is no folder, or holds no model.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "there is no such folder"
        raise UserError(
            f"{named} {folder}: {what}; name one on this machine, for nothing is downloaded (hf "
            "download OWNER/NAME --local-dir FOLDER gets a model of the Hub)"
        )
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{named} {folder}: holds no configuration (config.json); save the model and its "
            "processor there with save_pretrained"
        )
    return folder
