"""``STUDY.yaml``: which configurations are compared, over which seeds, and at which budget."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from shared.config import Config, load_config
from shared.config.load import read_settings
from shared.config.section import Count, Section
from shared.errors import UserError
from shared.problems import first_problem
from shared.yaml_files import meant_for

_NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"
_KEYS = "docs/study.md"

Settings = dict[str, Any]
"""``key.path: value``, as after ``--set``. ``{seed}``, ``{arm}`` and ``{study}`` (the study's
folder) in a text are filled in."""

_FREE_PORTS: Settings = {"trainer.port": 0, "rollout.port": 0, "reward.port": 0}
"""Runs beside each other, or beside another run of this machine, must not collide."""


class Arm(Section):
    """One of the compared configurations."""

    title: str
    """What tables and pictures call it."""
    set: Settings = Field(default_factory=dict)
    """Its settings on top of the study's."""
    seeds: list[int] | None = None
    """Default: those of the study."""


class Study(Section):
    """A whole study."""

    name: str = Field(pattern=_NAME)
    title: str
    config: Path
    """The configuration that all runs share, relative to this file."""
    seeds: list[int] = Field(min_length=1)
    """Each sets ``seed`` of one run of each arm."""
    responses: Count
    """Responses that each run may sample: sets ``trainer.max_responses``."""
    evaluate_every: Count
    """Steps between evaluations while training: sets ``eval.every_steps``."""
    set: Settings = Field(default_factory=dict)
    """Settings of all runs on top of the configuration."""
    arms: dict[str, Arm] = Field(min_length=1)
    """By the name of their folders."""
    prepare: str | None = None
    """A function ``module:function`` that is called with the study's folder before the first run,
    and writes what the runs share, such as a start model; it does nothing when that is there."""
    baseline: str
    """The arm that the others are compared with."""
    slots: Count = 1
    """Runs side by side. On one machine they share its processors and GPUs."""

    @model_validator(mode="after")
    def _names(self) -> "Study":
        for name in self.arms:
            if not re.fullmatch(_NAME, name):
                raise ValueError(
                    f"arms: the name '{name}' must be lower-case letters, digits, '-' and '_'"
                )
        if self.baseline not in self.arms:
            raise ValueError(f"baseline: there is no arm '{self.baseline}'; {list(self.arms)}")
        for seeds in (self.seeds, *(arm.seeds or [] for arm in self.arms.values())):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"seeds: {seeds} names a seed twice")
        return self

    def runs(self) -> list[tuple[str, int]]:
        """Arm and seed of every run; seed after seed, so that all arms are at about the same
        number of seeds whenever a study is interrupted."""
        wanted = {name: arm.seeds or self.seeds for name, arm in self.arms.items()}
        seeds = dict.fromkeys(seed for each in wanted.values() for seed in each)
        return [(name, seed) for seed in seeds for name in wanted if seed in wanted[name]]

    def overrides(self, arm: str, seed: int, folder: Path) -> list[str]:
        """The ``--set`` settings of one run.

        Args:
            folder: the study's.
        """
        settings = {
            **_FREE_PORTS,
            "run": f"{self.name}-{arm}-{seed}",
            "seed": seed,
            "trainer.max_responses": self.responses,
            "eval.every_steps": self.evaluate_every,
            **self.set,
            **self.arms[arm].set,
        }
        places = {"{seed}": str(seed), "{arm}": arm, "{study}": str(folder)}
        return [f"{key}={_filled(value, places)}" for key, value in settings.items()]

    def digest(self, arm: str, seed: int) -> str:
        """Changes when anything is set otherwise for this run, here or in the configuration."""
        settings = read_settings(self.config, self.overrides(arm, seed, Path()))
        text = json.dumps(settings, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _filled(value: object, places: dict[str, str]) -> str:
    text = json.dumps(value)
    for name, filled in places.items():
        text = text.replace(name, filled)
    return text


def read_study(file: Path) -> Study:
    """Read a study, and check its settings; paths are resolved against the file's folder.

    Raises:
        UserError: naming the file and the key.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        study = Study.model_validate(content)
    except OSError as error:
        raise UserError(f"{file}: cannot read the study ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
    except ValidationError as error:
        words = meant_for(content, "study") or first_problem(error, Study, _KEYS)
        raise UserError(f"{file}: {words}") from None
    except ValueError as error:
        raise UserError(f"{file}: a value cannot be read ({error}); put it in quotes") from None
    except RecursionError:
        raise UserError(f"{file}: is nested too deeply, or a value holds itself") from None
    return study.model_copy(update={"config": (file.parent / study.config).resolve()})


def checked_configs(study: Study, file: Path, folder: Path) -> dict[str, Config]:
    """The configuration of each arm, at its first seed.

    Raises:
        UserError: naming the arm and the key that is wrong.
    """
    found = {}
    for name, arm in study.arms.items():
        seed = (arm.seeds or study.seeds)[0]
        try:
            found[name] = load_config(study.config, study.overrides(name, seed, folder))
        except UserError as error:
            raise UserError(f"{file}: arm '{name}': {error}") from None
        if found[name].data.heldout is None:
            raise UserError(f"{file}: arm '{name}': a study compares by data.heldout; name it")
    return found
