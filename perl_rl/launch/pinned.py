"""Writes the commit of each data set from the Hub into a run's settings.

All processes of the run then read the same data, and so does a resumed one.
"""

from collections.abc import Callable
from pathlib import Path

from shared.config import Config
from shared.config.questions import Questions
from shared.config.source import SourceConfig
from shared.formats.hub import is_hub, pinned


def with_pinned_data(config: Config, note: Callable[[str], None]) -> Config:
    """`config` with the commits; `note` says which, so that they can be written down.

    Raises:
        UserError: when the Hub does not have a data set or cannot be reached.
    """

    def place(path: Path) -> Path:
        if not is_hub(path):
            return path
        found = pinned(path)
        if found != path:
            note(f"data: {path} is {found} now; write that name to get the same data again")
        return found

    def source(one: SourceConfig) -> SourceConfig:
        return one.model_copy(update={"path": place(one.path)})

    def questions(given: Questions | None) -> Questions | None:
        if isinstance(given, tuple):
            return tuple(source(one) for one in given)
        if isinstance(given, SourceConfig):
            return source(given)
        return None if given is None else place(given)

    data = config.data
    update = {"train": questions(data.train), "heldout": questions(data.heldout)}
    return config.model_copy(update={"data": data.model_copy(update=update)})
