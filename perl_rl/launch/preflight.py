"""Checks before anything starts: model, ports, run folder; `data_check.py` checks the data.

Each raises a `UserError` that names the file, field or service and says what to do.
"""

import json
from collections.abc import Iterator
from pathlib import Path

<<<<<<< HEAD
from shared.config import Config, ModelConfig
=======
from perl_rl.golds import Golds
from shared.config import Config, DataConfig, ModelConfig
>>>>>>> main
from shared.errors import UserError
from shared.service.serve import bind

<<<<<<< HEAD
=======
PICTURES_CHECKED = 2000
"""Pictures decoded before the start; the trainer's feeder checks the others before use."""

GOLDS_COMPARED = 5000
"""Different gold answers that are compared with themselves before the start."""

>>>>>>> main
TRACES = ("config.yaml", "metrics.jsonl", "summary.json", "checkpoints", "policy", "weights")
"""Any of these in a folder is a sign of an earlier run."""


def check_run_dir(folder: Path, resume: bool) -> None:
    """A new run needs a folder that holds no run; ``--resume`` needs one that does."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; choose another --run-dir")
    found = [name for name in TRACES if (folder / name).exists()]
    if found and not resume:
        raise UserError(
            f"{folder}: holds an earlier run ({found[0]}); add --resume to continue it, or "
            "choose another --run-dir"
        )
    if not found and resume:
        raise UserError(f"{folder}: holds no run to resume; check --run-dir or leave out --resume")


def check_model(model: ModelConfig) -> None:
    """Check that the model folder holds configuration, weights, tokenizer and image processor."""
    folder = model.path
    if not folder.is_dir():
        raise UserError(f"model.path: there is no folder {folder}; check the path")
    for what, names in (
        ("configuration", ("config.json",)),
        ("tokenizer", ("tokenizer.json", "vocab.json", "tokenizer.model")),
        ("image processor", ("preprocessor_config.json", "processor_config.json")),
    ):
        if not any((folder / name).is_file() for name in names):
            raise UserError(
                f"model.path {folder}: holds no {what} ({' or '.join(names)}); save the model and "
                "its processor there with save_pretrained"
            )
    _check_weights(folder)


def _check_weights(folder: Path) -> None:
    for index in folder.glob("*.index.json"):
        try:
            files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{index}: is not an index of weight files; copy the model again"
            ) from None
        missing = sorted(name for name in files if not (folder / name).is_file())
        if missing:
            raise UserError(
                f"model.path {folder}: {index.name} names {missing[0]}, which is not there "
                f"({len(missing)} files missing); copy the model again"
            )
    if not any(folder.glob("*.safetensors")):
        # Other formats are pickles, which may hold code.
        raise UserError(
            f"model.path {folder}: holds no weights (*.safetensors); check the path, or save the "
            "model again with save_pretrained"
        )


<<<<<<< HEAD
=======
def check_data(
    config: Config,
    run_dir: Path,
    progress: Callable[[str], None] = lambda doing: None,
    note: Callable[[str], None] = lambda text: None,
) -> tuple[int, int]:
    """Check that all rows fit and that the first `PICTURES_CHECKED` pictures decode.

    Pictures inside data files are copied to the run's folder, unless the configuration names
    another.

    Args:
        progress: called with what is being done now.
        note: called with a line about the rows of each source, and about each gold answer that no
            answer can match.

    Returns how many different pictures were decoded, and how many the data has.
    """
    data, named, golds = config.data, dict[str, str](), Golds()
    for sources in (data.train_sources(), data.heldout_sources()):
        loaded = load(data, sources, run_dir / "images", progress)
        for line in loaded.notes:
            note(line)
        for one in loaded.located:
            _check_sample(one, config.rollout.engine.max_images)
            golds.add(one)
            for image in one.sample.images:
                named.setdefault(image, one.place())
    for line in golds.unmatched(config.reward, GOLDS_COMPARED, progress):
        note(line)
    chosen = dict(list(named.items())[:PICTURES_CHECKED])
    with ThreadPoolExecutor(max_workers=4) as pool:
        checks = pool.map(lambda image: _check_picture(image, chosen[image], config.data), chosen)
        for done, _ in enumerate(checks, start=1):
            progress(f"checking pictures: {done} of {len(chosen)}")
    return len(chosen), len(named)


def _check_sample(one: Located, most_images: int) -> None:
    sample = one.sample
    if len(sample.images) > most_images:
        raise UserError(
            f"{one.place()}: {len(sample.images)} images, more than rollout.engine.max_images "
            f"({most_images}); raise it or leave the sample out"
        )
    try:
        check_gold(sample.answer, sample.kind)
    except UngradableGold as error:
        raise UserError(f"{one.place()}: {error}") from None


def _check_picture(image: str, row: str, data: DataConfig) -> None:
    try:
        read_image_file(Path(image), data.max_image_pixels)
    except UserError as error:
        raise UserError(f"{row}: {error}") from None


>>>>>>> main
def ports(config: Config) -> Iterator[tuple[str, str, int]]:
    """Service, host and port of everything that will listen; the system chooses for port 0."""
    yield "trainer", config.trainer.host, config.trainer.port
    for index in range(config.reward.nodes):
        yield "reward", config.reward.host, node_port(config.reward.port, index)
    for index in range(config.rollout.nodes):
        yield "rollout", config.rollout.host, node_port(config.rollout.port, index)


def node_port(first: int, index: int) -> int:
    """The port of node `index` of a service whose first node has port `first`; 0 stays 0."""
    return first and first + index


def check_ports(config: Config) -> None:
    """Check that the services' ports are free and all different."""
    taken: dict[int, str] = {}
    for service, host, port in ports(config):
        if port > 65_535:
            raise UserError(f"{service}.port: its nodes would need port {port}; lower it")
        if port and port in taken:
            raise UserError(
                f"{service}.port: port {port} is wanted by the {taken[port]} service too; "
                "change one of them"
            )
        taken[port] = service
        bind(service, host, port).close()
