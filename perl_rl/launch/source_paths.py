"""Checks that all data is where the configuration says, before any row is read."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from shared.config import Config
from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.formats.rows import SUFFIXES, find_files
from shared.problem_places import counted

Found = dict[str, list[Path]]
"""The files of each key that names data."""


def find_sources(config: Config) -> Found:
    """The files of every source, to train on and held out, by the key that names them.

    Raises:
        UserError: naming the key of each source that has none, or whose image folder is missing.
    """
    found, wrong = Found(), list[str]()
    for key, source in _sources(config):
        try:
            found[key] = find_files(source.path, source.split)
        except UserError as error:
            wrong.append(f"{key}: {error}{_near(source.path)}")
            continue
        if source.image_dir is not None and not source.image_dir.is_dir():
            folder = key.removesuffix("path") + "image_dir"
            wrong.append(f"{folder}: there is no folder {source.image_dir}")
    if wrong:
        raise UserError("; ".join(wrong))
    return found


def shared_files(found: Found) -> dict[Path, tuple[str, str]]:
    """The data files that are both trained on and held out, with both keys."""
    keys: dict[str, dict[Path, str]] = {"data.train": {}, "data.heldout": {}}
    for key, files in found.items():
        section = "data.heldout" if key.startswith("data.heldout") else "data.train"
        keys[section].update((file.resolve(), key) for file in files)
    both = keys["data.train"].keys() & keys["data.heldout"].keys()
    return {file: (keys["data.train"][file], keys["data.heldout"][file]) for file in sorted(both)}


def _sources(config: Config) -> Iterator[tuple[str, SourceConfig]]:
    given = {
        "data.train": (config.data.train, config.data.train_sources()),
        "data.heldout": (config.data.heldout, config.data.heldout_sources()),
    }
    for key, (written, sources) in given.items():
        for number, source in enumerate(sources, start=1):
            if isinstance(written, Path):
                yield key, source
            elif isinstance(written, SourceConfig):
                yield f"{key}.path", source
            else:
                yield f"{key}, {counted(number, 'source')}, path", source


def _near(path: Path) -> str:
    """The data file beside a missing one that was probably meant."""
    if path.exists() or not path.parent.is_dir():
        return ""
    names = [one.name for one in path.parent.iterdir() if one.is_dir() or one.suffix in SUFFIXES]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" (did you mean {near[0]}?)" if near else ""
