"""Which model a folder holds, whatever it is called and wherever it lies."""

import hashlib
from pathlib import Path

from shared.errors import UserError
from shared.weights.manifest import ADAPTER_SETTINGS

_SAMPLES, _SAMPLE_BYTES = 64, 1 << 16


def model_digest(folder: Path) -> str:
    """16 hexadecimal digits, of the model's configuration, tokenizer and processor, and of samples
    of its weights: the whole weights of a large model would take a minute to read."""
    whole = hashlib.sha256()
    texts = [*folder.glob("*.json"), *folder.glob("*.txt"), *folder.glob("*.jinja")]
    for file in sorted(texts):
        whole.update(f"{file.name}\0".encode() + file.read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        whole.update(f"{file.name}\0{size}".encode())
        with file.open("rb") as stream:
            for number in range(_SAMPLES):
                stream.seek(number * size // _SAMPLES)
                whole.update(stream.read(_SAMPLE_BYTES))
    return whole.hexdigest()[:16]


def refuse_adapter(folder: Path, setting: str) -> None:
    """Refuse a folder that holds an adapter where a whole model is wanted.

    Args:
        setting: what names the folder.

    Raises:
        UserError: when it holds an adapter and no model.
    """
    if (folder / ADAPTER_SETTINGS).is_file() and not (folder / "config.json").is_file():
        raise UserError(
            f"{setting} {folder}: holds an adapter, and no whole model; write one with perl-rl "
            "export RUN --merged --out MODEL, RUN being the run that trained it"
        )
