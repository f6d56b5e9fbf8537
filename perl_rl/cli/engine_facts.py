"""Imports engines and prints a JSON object about each, one a line, for ``perl-rl doctor``.

Runs in its own process (``python -m perl_rl.cli.engine_facts NAME ...``): imports take seconds, and
one that crashes must not end the doctor.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]


def torch_facts() -> Facts:
    import torch

    return {
        "version": torch.__version__,
        "cuda": torch.cuda.is_available(),
        "built_for_cuda": torch.version.cuda,
    }


def torchvision_facts() -> Facts:
    import torch
    import torchvision

    try:
        torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except NotImplementedError:  # the set-up's shim only declares it
        return {"version": torchvision.__version__, "operators": False}
    return {"version": torchvision.__version__, "operators": True}


def transformers_facts() -> Facts:
    import transformers

    # The package imports lazily: these names load the model's and the processor's own modules.
    wanted = ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor")
    for name in wanted:
        getattr(transformers, name)
    return {"version": transformers.__version__}


def vllm_facts() -> Facts:
    from importlib.metadata import entry_points

    import vllm

    importlib.import_module("vllm.v1.engine.async_llm")
    plugins = entry_points(group="vllm.general_plugins", name="perl_weights")
    for plugin in plugins:
        plugin.load()
    return {"version": vllm.__version__, "plugin": len(plugins) == 1}


def deepspeed_facts() -> Facts:
    import deepspeed
    from deepspeed.git_version_info import installed_ops

    built = bool(installed_ops.get("deepspeed_shm_comm"))
    return {"version": deepspeed.__version__, "collectives": built}


def flash_attn_facts() -> Facts:
    return {"version": importlib.import_module("flash_attn").__version__}


FACTS: dict[str, Callable[[], Facts]] = {
    "torch": torch_facts,
    "torchvision": torchvision_facts,
    "transformers": transformers_facts,
    "vLLM": vllm_facts,
    "DeepSpeed": deepspeed_facts,
    "flash-attn": flash_attn_facts,
}


def main(names: list[str]) -> None:
    """Print a line for each engine after its import; a failed import gives an error."""
    for name in names:
        try:
            facts = FACTS[name]()
        except Exception as error:
            words = str(error).strip().splitlines() or ["no message"]
            facts = {"error": f"{type(error).__name__}: {words[0][:160]}"}
        print(json.dumps({"engine": name, **facts}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
