"""Writes the parameters in a DeepSpeed checkpoint as a model folder, on the CPU, without ranks."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoProcessor
from transformers.utils import logging

from perl_rl.export.merge import write_merged
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.lora import save_adapter
from services.trainer.compute.model import load_model
from services.trainer.rank.checkpoint_folder import ENGINE_TAG
from shared.config import Config
from shared.errors import UserError

_WHOLE = "mp_rank_00_model_states.pt"
"""Where DeepSpeed keeps the whole module, but under ZeRO 3."""
_PART = "zero_pp_rank_0_mp_rank_00_model_states.pt"
"""Rank 0's part of it under ZeRO 3, with names and number types."""
_PREFIX = "model."
"""What the trainer's module (`GroupModel`) puts before each parameter's name."""


def write_model(config: Config, checkpoint: Path, out: Path, merged: bool = False) -> str:
    """Write the checkpoint's policy with processor and tokenizer to `out`; says what was written.

    Args:
        config: the run's; its start model gives everything but the parameters.
        merged: add an adapter to the start model; otherwise it is written as it is.

    Raises:
        UserError: when the checkpoint does not hold the parameters of this model.
    """
    tensors = parameters(checkpoint / ENGINE_TAG, adapter=config.model.lora is not None)
    dtype = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    # The kernels of the run may not be there on this machine; none is needed.
    plain = {"attention": "auto", "vision_attention": "auto"}
    config = config.model_copy(
        update={
            "model": config.model.model_copy(update={"dtype": dtype}),
            "trainer": config.trainer.model_copy(update=plain),
        }
    )
    logging.disable_progress_bar()
    if config.model.lora is not None:
        return _write_adapter(config, tensors, out, merged)
    model = load_model(config.model.path, config, torch.device("cpu"))
    names = {name for name, _ in model.named_parameters()}
    if names - tensors.keys():
        raise UserError(
            f"{checkpoint}: lacks {len(names - tensors.keys())} parameters of model.path "
            f"{config.model.path}, such as {min(names - tensors.keys())}; the run began with "
            "another model"
        )
    model.save_pretrained(out, state_dict={name: tensors[name] for name in names})
    _save_processor(config, out)
    return f"{len(names)} tensors in {dtype}"


def _write_adapter(
    config: Config, tensors: dict[str, torch.Tensor], out: Path, merged: bool
) -> str:
    named = {peft_name(name): tensor.contiguous() for name, tensor in tensors.items()}
    dtype = next(iter(named.values())).dtype
    said = f"an adapter of {len(named)} tensors in {str(dtype).removeprefix('torch.')}"
    if not merged:
        save_adapter(out, config, named)
        _save_processor(config, out)
        return said
    with TemporaryDirectory(prefix="perl-adapter-") as folder:
        save_adapter(Path(folder), config, named)
        _save_processor(config, Path(folder))
        write_merged(config, Path(folder), dtype, out)
    return f"{said}, added to {config.model.path}"


def _save_processor(config: Config, out: Path) -> None:
    AutoProcessor.from_pretrained(
        config.model.path,
        trust_remote_code=config.model.trust_remote_code,
        **config.model.pixel_bounds(),
    ).save_pretrained(out)


def parameters(engine: Path, adapter: bool = False) -> dict[str, torch.Tensor]:
    """Name and CPU tensor of every parameter, in the number type that the run computed in.

    Args:
        engine: DeepSpeed's part of a checkpoint, of any ZeRO stage.
        adapter: whether it holds an adapter's parameters only.
    """
    whole = engine / _WHOLE
    if whole.is_file():
        return _named(_module(whole))
    dtype = next(iter(_module(engine / _PART).values())).dtype
    # Here, because DeepSpeed takes seconds to import, and ZeRO 0 to 2 need none of it.
    from deepspeed.utils.zero_to_fp32 import get_fp32_state_dict_from_zero_checkpoint

    masters = get_fp32_state_dict_from_zero_checkpoint(
        str(engine.parent), tag=engine.name, exclude_frozen_parameters=adapter
    )
    return _named({name: tensor.to(dtype) for name, tensor in masters.items()})


def _module(file: Path) -> dict[str, torch.Tensor]:
    content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    module: dict[str, torch.Tensor] = content["module"]
    return module


def _named(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
