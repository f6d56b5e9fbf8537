"""Adds an adapter to its start model, for whatever wants whole weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from shared.config import Config
from shared.weights.manifest import ADAPTER_SETTINGS


def write_merged(config: Config, adapter: Path, dtype: torch.dtype, out: Path) -> None:
    """Write ``W + alpha / rank * B @ A``, computed in fp32 and rounded once, with the processor.

    Args:
        config: of the run that trained the adapter.
        adapter: a folder in peft's format.
        dtype: number type of the result.
        out: a folder that is not there.
    """
    model = AutoModelForImageTextToText.from_pretrained(
        config.model.path,
        dtype=torch.float32,
        trust_remote_code=config.model.trust_remote_code,
        use_safetensors=True,
    )
    merged = PeftModel.from_pretrained(model, adapter).float().merge_and_unload()
    merged.to(dtype).save_pretrained(out)
    AutoProcessor.from_pretrained(
        adapter, trust_remote_code=config.model.trust_remote_code
    ).save_pretrained(out)


@contextmanager
def whole_model(config: Config, folder: Path) -> Iterator[Path]:
    """`folder` itself or, when it holds an adapter, one with whole weights until the end of the
    block."""
    if not (folder / ADAPTER_SETTINGS).is_file():
        yield folder
        return
    from shared.machine import TorchFacts, settled

    facts = TorchFacts(torch.__version__, torch.version.cuda, torch.cuda.is_available())
    dtype = getattr(torch, settled(config.model, facts)[0].dtype)
    with TemporaryDirectory(prefix="perl-merged-") as parent:
        out = Path(parent) / "model"
        write_merged(config, folder, dtype, out)
        yield out
