"""Checks before anything starts: model, ports, run folder; `data_check.py` checks the data.

Each raises a `UserError` that names the file, field or service and says what to do.
"""

from collections.abc import Iterator
from pathlib import Path

from perl_rl.launch.model_size import ModelSize, model_size
from shared.config import Config, ModelConfig
from shared.config.connections import WEIGHTS_ADDRESS
from shared.errors import UserError
from shared.families import FAMILIES, check_family, chosen_packing
from shared.jsonlines import parse_json
from shared.model_identity import refuse_adapter
from shared.named_folders import model_folder, run_folder
from shared.service.serve import bind
from shared.words import amount

TRACES = ("config.yaml", "metrics.jsonl", "summary.json", "checkpoints", "policy", "weights")
"""Any of these in a folder is a sign of an earlier run."""


def check_run_dir(folder: Path, resume: bool) -> None:
    """A new run needs a folder that holds no run; ``--resume`` needs one that does."""
    if resume or folder.exists():
        run_folder(folder, "--run-dir")
    found = earlier_run(folder)
    if found and not resume:
        raise UserError(
            f"{folder}: holds an earlier run ({found}); add --resume to continue it, or "
            "choose another --run-dir"
        )
    if not found and resume:
        raise UserError(f"{folder}: holds no run to resume; check --run-dir or leave out --resume")


def earlier_run(folder: Path) -> str | None:
    """A file or folder that an earlier run has left in `folder`; None when there is none."""
    return next((name for name in TRACES if (folder / name).exists()), None)


def check_model(model: ModelConfig) -> ModelSize:
    """Check the model's family, and that its weights, tokenizer and image processor are there."""
    refuse_adapter(model.path, "model.path")
    folder = model_folder(model.path)
    for what, names in (
        ("tokenizer", ("tokenizer.json", "vocab.json", "tokenizer.model")),
        ("image processor", ("preprocessor_config.json", "processor_config.json")),
    ):
        if not any((folder / name).is_file() for name in names):
            raise UserError(
                f"model.path {folder}: holds no {what} ({' or '.join(names)}); save the model and "
                "its processor there with save_pretrained"
            )
    check_family(folder)
    _check_weights(folder)
    return model_size(folder, model.lora)


def model_line(config: Config) -> str:
    """The model's family, and how its rows are made, in words.

    Raises:
        UserError: as `check_family` and `chosen_packing`.
    """
    folder = config.model.path
    family = FAMILIES[check_family(folder)].name
    return f"{family}, trained in {chosen_packing(folder, config.trainer.packing)} rows"


def _check_weights(folder: Path) -> None:
    for index in folder.glob("*.index.json"):
        try:
            content = parse_json(index.read_text(encoding="utf-8"))
            files = {Path(name) for name in content["weight_map"].values()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(
                f"{index}: is not an index of weight files; copy the model again"
            ) from None
        missing = sorted(str(name) for name in files if not (folder / name).is_file())
        if missing:
            raise UserError(
                f"model.path {folder}: {index.name} names {missing[0]}, which is not there "
                f"({amount(len(missing), 'file')} missing); copy the model again"
            )
    if not any(folder.glob("*.safetensors")):
        # Other formats are pickles, which may hold code.
        raise UserError(
            f"model.path {folder}: holds no weights (*.safetensors); check the path, or save the "
            "model again with save_pretrained"
        )


def ports(config: Config) -> Iterator[tuple[str, str, int]]:
    """Service, host and port of everything that will listen; the system chooses for port 0."""
    trainer, weights = config.trainer, config.weights
    yield "trainer", trainer.host, trainer.port
    if weights.backend == "http":
        yield "weights", trainer.host, weights.port_beside(trainer.port)
    for index in range(config.reward.nodes):
        yield "reward", config.reward.host, node_port(config.reward.port, index)
    for index in range(config.rollout.nodes):
        yield "rollout", config.rollout.host, node_port(config.rollout.port, index)
    if config.view.enabled and config.view.port is not None:
        yield "view", config.view.host, config.view.port


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
        settings = WEIGHTS_ADDRESS if service == "weights" else None
        bind(service, host, port, settings).close()
