"""Data sets of the Hugging Face Hub: ``hf://owner/name[@revision][:config]/split``.

Their data files are downloaded into the Hub's cache, and read like files on disk. The list of files
of a commit is kept beside the cache: a data set whose commit is written in its name needs no
network once it is there. A configuration and a split of the Hub are a set of files; which ones, the
data set's page says (``configs`` in its README), else the files' names.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from shared.errors import UserError
from shared.files import write_atomically

# pathlib makes one slash of two.
_NAME = re.compile(
    r"hf:/{1,2}(?P<repository>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w.-]+))?"
    r"(?::(?P<config>[\w.-]+))?/(?P<split>[\w.-]+)"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_FORM = "hf://owner/name[@revision][:config]/split"
_SUFFIXES = (".parquet", ".jsonl", ".json")
_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class HubName:
    """A split of a data set on the Hub."""

    repository: str
    revision: str | None
    """A commit, branch or tag; None: the newest."""
    config: str | None
    split: str

    @property
    def pinned(self) -> bool:
        """Whether it names one commit, so that it is the same data for ever."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        config = f":{self.config}" if self.config else ""
        return f"hf://{self.repository}{revision}{config}/{self.split}"


def is_hub(path: Path) -> bool:
    """Whether a path of the configuration names a data set of the Hub."""
    return str(path).startswith("hf:/")


def read_name(path: Path) -> HubName:
    """The parts of a name.

    Raises:
        UserError: when it has another form.
    """
    found = _NAME.fullmatch(str(path))
    if found is None:
        shown = str(path).replace("hf:/", "hf://", 1) if "://" not in str(path) else path
        raise UserError(f"{shown}: a data set of the Hub is written {_FORM}")
    return HubName(found["repository"], found["revision"], found["config"], found["split"])


def pinned(path: Path) -> Path:
    """The same data set with its commit in its name; asks the Hub unless it has one.

    Raises:
        UserError: as `hub_files`.
    """
    name = read_name(path)
    return path if name.pinned else Path(str(replace(name, revision=_newest(name))))


def hub_files(path: Path) -> list[Path]:
    """The data files of a split, downloaded where they are missing; sorted by name.

    Raises:
        UserError: when the name is wrong, or the Hub does not have it or cannot be reached.
    """
    name = read_name(path)
    if not name.pinned:
        name = replace(name, revision=_newest(name))
    listed = _listed(name)
    chosen = _chosen(name, listed)
    return [_downloaded(name, file) for file in sorted(chosen)]


def _newest(name: HubName) -> str:
    from huggingface_hub import HfApi

    info = _asked(
        name,
        lambda: HfApi().dataset_info(name.repository, revision=name.revision, timeout=_TIMEOUT_S),
    )
    commit: str = info.sha
    return commit


def _listed(name: HubName) -> dict[str, Any]:
    """The data files of the revision, and the configurations of its page."""
    from huggingface_hub import HfApi, constants

    kept = Path(constants.HF_HUB_CACHE) / "perl-rl" / f"{name.repository}@{name.revision}.json"
    if kept.is_file():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    info = _asked(
        name,
        lambda: HfApi().dataset_info(name.repository, revision=name.revision, timeout=_TIMEOUT_S),
    )
    files = [one.rfilename for one in info.siblings or []]
    card = _downloaded(name, "README.md") if "README.md" in files else None
    listed = {
        "files": [file for file in files if file.endswith(_SUFFIXES)],
        "configs": _configs(card),
    }
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(listed))
    return listed


def _configs(card: Path | None) -> list[dict[str, Any]]:
    """``configs`` of the page's header: each has ``config_name`` and ``data_files``."""
    from huggingface_hub import metadata_load

    found = None if card is None else (metadata_load(card) or {}).get("configs")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _chosen(name: HubName, listed: dict[str, Any]) -> list[str]:
    """The files of the configuration and split."""
    files: list[str] = listed["files"]
    configs = {one.get("config_name", "default"): one for one in listed["configs"]}
    if configs:
        default = next((key for key, one in configs.items() if one.get("default")), None)
        wanted = name.config or default or _only(configs) or "default"
        if wanted not in configs:
            raise UserError(
                f"{name}: the data set's configurations are {', '.join(configs)}; name one after a "
                f"colon ({_FORM})"
            )
        splits = _patterns(configs[wanted].get("data_files"))
        if splits:
            patterns = splits.get(name.split)
            found = [file for file in files if any(fnmatch(file, one) for one in patterns or ())]
            return found or _none_found(name, list(splits))
    under = [file for file in files if name.config is None or name.config in Path(file).parts]
    splits_there = {file: _split_in(file) for file in under}
    found = [file for file, split in splits_there.items() if split == name.split]
    return found or _none_found(name, sorted({one for one in splits_there.values() if one}))


def _only(names: Iterable[str]) -> str | None:
    """The name, if there is one alone."""
    first, *others = names
    return None if others else first


def _none_found(name: HubName, splits: list[str]) -> list[str]:
    there = f"its splits are {', '.join(splits)}" if splits else "no file is named after a split"
    raise UserError(f"{name}: has no {', '.join(_SUFFIXES)} files of split '{name.split}'; {there}")


def _patterns(data_files: object) -> dict[str, list[str]]:
    """Patterns of files by split, from the forms that the Hub allows."""
    if isinstance(data_files, str):
        return {"train": [data_files]}
    if not isinstance(data_files, list):
        return {}
    found: dict[str, list[str]] = {}
    for one in data_files:
        if isinstance(one, dict):
            paths = one.get("path", [])
            found.setdefault(str(one.get("split", "train")), []).extend(
                [paths] if isinstance(paths, str) else paths
            )
        else:
            found.setdefault("train", []).append(str(one))
    return found


def _split_in(file: str) -> str | None:
    # Here, because `rows` imports this file.
    from shared.formats.rows import split_of

    return split_of(Path(file))


def _downloaded(name: HubName, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(
        _asked(
            name,
            lambda: hf_hub_download(
                name.repository,
                file,
                repo_type="dataset",
                revision=name.revision,
                etag_timeout=_TIMEOUT_S,
            ),
        )
    )


def _asked(name: HubName, ask: Callable[[], Any]) -> Any:
    """What the Hub answers to `ask`; its errors in one line."""
    # The Hub's library speaks HTTP with it.
    import httpx2
    from huggingface_hub import errors

    try:
        return ask()
    except errors.GatedRepoError:
        raise UserError(
            f"{name}: its owner must let you in: ask on its page, then log in (hf auth login)"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{name}: the data set has no revision '{name.revision}'") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{name}: the Hub has no such data set, or it is private and you are not logged in"
        ) from None
    except errors.HFValidationError as error:
        raise UserError(f"{name}: {' '.join(str(error).split())}") from None
    except (httpx2.HTTPError, errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(
            f"{name}: cannot be had from the Hub ({reason}); download it where there is a network "
            f"(hf download {name.repository} --repo-type dataset --local-dir DIR) and give its path"
        ) from None
