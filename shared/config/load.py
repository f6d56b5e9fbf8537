"""Reads and writes the YAML file; errors name the file and the key."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shared.config.run import Config
from shared.config.secrets import without_secrets
from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.files import what_else
from shared.problems import first_problem
from shared.yaml_files import meant_for


class _EachKeyOnce(yaml.SafeLoader):
    """YAML whose mappings have each key once: of two, the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping.

        Raises:
            yaml.YAMLError: when a key is there twice.
        """
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and seen.setdefault(key.value, line) != line:
                raise yaml.YAMLError(
                    f"the key '{key.value}' is there twice, in lines {seen[key.value]} and {line}"
                )
        return super().construct_mapping(node, deep)


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a configuration file, apply ``key.path=value`` overrides, and check everything.

    Relative paths are resolved against the folder of the file.

    Raises:
        UserError: naming the file and the key.
    """
    raw = read_settings(path, overrides)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(
            f"{path}: {meant_for(raw, 'run') or first_problem(error, Config)}"
        ) from None
    return _resolve_paths(config, path.parent.resolve())


def read_settings(path: Path, overrides: list[str] | None = None) -> dict[str, Any]:
    """The mapping in a YAML file, with overrides and variables applied but not checked.

    Raises:
        UserError: naming the file.
    """
    try:
        content = path.read_bytes()
        raw = yaml.load(content.decode(), _EachKeyOnce)
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except UnicodeDecodeError as error:
        words = what_else(content) or f"not UTF-8 text at byte {error.start}"
        raise UserError(f"{path}: {words}") from None
    except yaml.YAMLError as error:
        if path.suffix == ".jsonl":
            raise UserError(f"{path}: is a data file, not a configuration in YAML") from None
        words = " ".join(str(error).split()).replace('"<unicode string>"', "the file")
        raise UserError(f"{path}: not valid YAML ({words})") from None
    except ValueError as error:
        # Of a value that looks like a number or a date and is none.
        raise UserError(f"{path}: a value cannot be read ({error}); put it in quotes") from None
    except RecursionError:
        raise UserError(f"{path}: is nested too deeply") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must hold a mapping, with settings as 'key: value'")
    for override in overrides or []:
        apply_override(raw, override)
    try:
        expanded: dict[str, Any] = _expand(raw, path, os.environ | _saved_secrets(path))
    except RecursionError:
        raise UserError(f"{path}: a value holds itself (by an anchor & and an alias *)") from None
    return expanded


def _saved_secrets(path: Path) -> dict[str, str]:
    file = secrets_file(path)
    try:
        return dict(yaml.safe_load(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError, TypeError, ValueError):
        raise UserError(
            f"{file}: cannot read the secrets of {path.name}; they must be a YAML mapping"
        ) from None


def save_config(config: Config, path: Path) -> None:
    """Write a configuration that `load_config` reads back; only its owner may read the files.

    Secrets go into a second file beside it, so the configuration can be shown to others. Child
    processes read both files, so no secret appears in their arguments.
    """
    content, secrets = without_secrets(config)
    _write_private(secrets_file(path), secrets)
    _write_private(path, content)


def secrets_file(path: Path) -> Path:
    """The file with the secrets of a configuration that `save_config` wrote."""
    return path.with_suffix(".secrets")


def _write_private(path: Path, content: dict[str, Any]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)
        yaml.safe_dump(content, stream, sort_keys=False)


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set ``key.path=value`` in settings that are not checked yet.

    Raises:
        UserError: when the override has another form.
    """
    key, separator, value = override.partition("=")
    key = key.strip()
    if not separator or not key:
        raise UserError(f"--set {override}: write it as key.path=value")
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        # YAML reads a section without keys as None.
        section[parent] = {} if section.get(parent) is None else section[parent]
        section = section[parent]
        if not isinstance(section, dict):
            raise UserError(f"--set {override}: '{parent}' is a value and has no keys below it")
    try:
        section[last] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        short = override if len(override) <= _SHOWN_CHARS else f"{override[:_SHOWN_CHARS]}..."
        raise UserError(f"--set {short}: the value is not valid YAML") from None


_SHOWN_CHARS = 80

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expand(value: Any, path: Path, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, path, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path, variables) for item in value]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = variables.get(name, default)
        if found is None:
            raise UserError(
                f"{path}: the environment variable {name} is not set; set it, or write a default: "
                f"${{{name}:-value}}"
            )
        return found

    # An empty variable means "not set": an optional secret is left out that way.
    return _VARIABLE.sub(variable, value) or None


def _resolve_paths(config: Config, folder: Path) -> Config:
    def resolve(file: Path | None) -> Path | None:
        return None if file is None else Path(os.path.normpath(folder / file))

    def questions(given: Path | SourceConfig | tuple[SourceConfig, ...] | None) -> object:
        if isinstance(given, tuple):
            return tuple(questions(source) for source in given)
        if isinstance(given, SourceConfig):
            found = {"path": place(given.path), "image_dir": resolve(given.image_dir)}
            return given.model_copy(update=found)
        return place(given)

    def place(given: Path | None) -> Path | None:
        # A data set of the Hub (`shared/formats/hub.py`) is no path.
        return given if str(given).startswith("hf:/") else resolve(given)

    data = config.data.model_copy(
        update={
            "train": questions(config.data.train),
            "heldout": questions(config.data.heldout),
            "image_folder": resolve(config.data.image_folder),
        }
    )
    model = config.model.model_copy(update={"path": resolve(config.model.path)})
    weights = config.weights.model_copy(update={"folder": resolve(config.weights.folder)})
    trackers = tuple(
        one.model_copy(update={"python": resolve(one.python)}) for one in config.trackers
    )
    parts = {"data": data, "model": model, "weights": weights, "trackers": trackers}
    return config.model_copy(update=parts)
