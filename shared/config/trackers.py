"""Where the figures of a run are shown besides its own folder (docs/trackers.md)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from shared.config.section import Count, Positive, Section

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio", "swanlab"]

TRACKER_NAMES: tuple[str, ...] = get_args(TrackerName)


class TrackerConfig(Section):
    """One tracker. It follows the run folder in a process of its own. In the list its name alone is
    enough: ``trackers: [tensorboard]``."""

    name: TrackerName
    """Which one."""
    project: str = Field(default="perl-rl", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$")
    """The project, or experiment, in which the tracker shows the run."""
    url: str | None = Field(default=None, repr=False)
    """Where it sends to: wandb, swanlab: your own server; mlflow: the tracking address; trackio:
    a server of yours (``https://...``) or a Space (``owner/name``). tensorboard has none."""
    offline: bool | None = None
    """True: write below the run folder, and send nothing. False: send. Empty: send where ``url`` or
    the tracker's own variable says where to or as whom (docs/trackers.md lists them)."""
    every_steps: Count = 1
    """Show every so many steps."""
    groups_every_steps: int = Field(default=10, ge=0)
    """Every so many steps, show some groups with their pictures and responses; 0: never. They come
    from the record (``record.share``)."""
    groups: Count = 8
    """How many groups to show then; those whose answer depends on the order come first."""
    page: str | None = None
    """Address of this run's pages, ``http://host:port/runs/0``; each group that is shown links to
    its own page below it."""
    python: Path | None = None
    """Python of an environment of its own that has the tracker, where its packages do not go
    together with those of the run; empty: the one that runs ``perl-rl``."""
    call_timeout_s: Positive = 60.0
    """A call of the tracker that takes longer is given up: its process is ended and begins anew."""
    max_failures: Count = 20
    """After so many failures in a row it is given up; between them it waits longer and longer, up
    to a minute."""
    finish_timeout_s: Positive = 30.0
    """How long a run that ends waits for what is not sent yet."""

    @field_validator("page")
    @classmethod
    def _is_http(cls, page: str | None) -> str | None:
        if page is not None and not page.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return page

    @model_validator(mode="after")
    def _goes_together(self) -> "TrackerConfig":
        if self.name == "tensorboard" and (self.url is not None or self.offline is False):
            raise ValueError("tensorboard only writes files; leave out url and offline")
        if self.offline and self.url is not None:
            raise ValueError("offline: true sends nothing, so leave out url")
        return self


def from_names(trackers: Any) -> Any:
    """The list with a mapping in place of each name.

    Raises:
        ValueError: for an unknown name, or one that is there twice.
    """
    if not isinstance(trackers, list | tuple):
        return trackers
    given = [{"name": one} if isinstance(one, str) else one for one in trackers]
    names = [_name(one) for one in given]
    for name in names:
        if name is not None and name not in TRACKER_NAMES:
            raise ValueError(f"there is no tracker '{name}'; choose {', '.join(TRACKER_NAMES)}")
        if name is not None and names.count(name) > 1:
            raise ValueError(f"{name} is there twice; a run has one tracker of a kind")
    return tuple(given)


def _name(one: Any) -> str | None:
    name = one.get("name") if isinstance(one, Mapping) else getattr(one, "name", None)
    return name if isinstance(name, str) else None
