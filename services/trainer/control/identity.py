"""What must stay the same while a run lasts, across its resumes: ``RUN/identity.json``.

That is what decides which questions the run asks, of which model, with which objective and in
which evaluations, and what the shape of its checkpoints depends on. docs/resume.md lists it, and
what may change. Contents are compared, not paths: a model or data file may be moved.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.trainer.rank.checkpoint_folder import CheckpointFolder
from shared.config import Config
from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.files import write_atomically
from shared.formats import SourceSize
from shared.formats.rows import find_files
from shared.model_identity import model_digest

FILE = "identity.json"

FIXED = (
    "seed",
    "model.min_pixels",
    "model.max_pixels",
    "model.lora",
    "data.instruction",
    "data.shuffle",
    "data.heldout_samples",
    "permutation",
    "trainer.groups_per_step",
    "trainer.objective",
    "trainer.freeze_vision",
    "trainer.zero_stage",
    "eval.orders",
    "eval.max_tokens",
)
"""Keys, and sections whose keys are all fixed; model, data and ranks are added to them."""


@dataclass(frozen=True)
class Identity:
    """A run's fixed settings by key, and its training data."""

    fixed: dict[str, Any]
    sources: list[SourceSize]
    """Of ``data.train``; empty in what is only compared with another."""


def identity_of(config: Config, sources: Sequence[SourceSize] = ()) -> Identity:
    """The identity of a run with this configuration; reads its data files.

    Raises:
        UserError: when a source has no files.
    """
    content = config.model_dump(mode="json")
    fixed: dict[str, Any] = {}
    for key in FIXED:
        fixed |= dict(_flat(key, _value(content, key)))
    # Beside the adapter's own settings, which only a run that has one can be compared in.
    fixed["model.lora"] = None if config.model.lora is None else "an adapter"
    # A preset is a name for its switches, which are compared.
    fixed.pop("trainer.objective.preset", None)
    if config.model.dtype != "auto":
        fixed["model.dtype"] = config.model.dtype
    if config.trainer.zero_stage > 0:
        fixed["trainer.ranks * trainer.hosts"] = config.trainer.ranks * config.trainer.hosts
    fixed["model.path"] = f"a model with SHA-256 {model_digest(config.model.path)}"
    fixed |= _data("data.train", config.data.train_sources())
    fixed |= _data("data.heldout", config.data.heldout_sources())
    return Identity(fixed, list(sources))


def keep_identity(run_dir: Path, now: Identity) -> None:
    """`check_identity`, and remember it."""
    check_identity(run_dir, now)
    run_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(run_dir / FILE, json.dumps(asdict(now), indent=2) + "\n")


def check_identity(run_dir: Path, now: Identity) -> None:
    """Check that the run in `run_dir` goes on as it began; a run without a checkpoint begins now.

    Raises:
        UserError: naming each difference, with both values.
    """
    step = CheckpointFolder(run_dir / "checkpoints", keep=1).newest_step()
    before = read_identity(run_dir) if step else None
    changes = [] if before is None else differences(before, now)
    if changes:
        raise UserError(
            f"{run_dir}: cannot go on from step {step} with other settings: {'; '.join(changes)}; "
            f"set them back, or start a new run from its policy (perl-rl export {run_dir} --out "
            "MODEL; docs/resume.md says what may change)"
        )


def read_identity(run_dir: Path) -> Identity | None:
    """The identity of the run in `run_dir`; None when an older version of this software began it.

    Raises:
        UserError: when the file is damaged.
    """
    file = run_dir / FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Identity(content["fixed"], [SourceSize(**one) for one in content["sources"]])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: cannot be read ({error}); delete it to go on without comparing settings"
        ) from None


def differences(before: Identity, now: Identity) -> list[str]:
    """``key was X, now Y`` for each fixed setting that differs.

    A key that only one of them has is new in this version of the software, or not decided yet.
    """
    return [
        f"{key} was {_shown(before.fixed[key])}, now {_shown(now.fixed[key])}"
        for key in sorted(before.fixed.keys() & now.fixed.keys())
        if before.fixed[key] != now.fixed[key]
    ]


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)


def _value(content: dict[str, Any], key: str) -> Any:
    found: Any = content
    for part in key.split("."):
        found = found[part]
    return found


def _flat(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield key, value
        return
    for name, one in value.items():
        yield from _flat(f"{key}.{name}", one)


def _data(key: str, sources: Sequence[SourceConfig]) -> dict[str, Any]:
    """Each source's settings but its place, and the digest of its files."""
    found: dict[str, Any] = {f"{key} (sources)": len(sources)}
    for number, source in enumerate(sources):
        name = key if len(sources) == 1 else f"{key}[{number}]"
        settings = source.model_dump(mode="json", exclude={"path", "image_dir"})
        found |= {f"{name}.{one}": value for one, value in settings.items()}
        with ThreadPoolExecutor() as pool:
            digests = list(pool.map(_digest, find_files(source.path, source.split)))
        whole = hashlib.sha256("".join(digests).encode()).hexdigest()
        found[f"{name}.path"] = f"{len(digests)} files with SHA-256 {whole[:16]}"
    return found


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
