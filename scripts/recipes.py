"""Print the tables of docs/recipes.md, or write them into the page with ``--write``.

They are `perl-rl plan` for each recipe, from the published sizes of the models: no weights needed.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from perl_rl.plan.main import GB, Plan, plan_of, shares_gpus
from perl_rl.plan.sampler import cache_bytes
from perl_rl.plan.shape import ModelShape
from perl_rl.plan.shared_memory import needed
from shared.config import Config, load_config

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "recipes.md"
BEGIN, END = "<!-- made by scripts/recipes.py -->", "<!-- end -->"
GPU = 80 * GB

_VISION = {"model_type": "qwen2_5_vl_vision", "depth": 32, "hidden_size": 1280, "num_heads": 16}
MODELS: dict[str, dict[str, Any]] = {
    "3b": {
        "tie_word_embeddings": True,
        "text_config": {
            "hidden_size": 2048,
            "intermediate_size": 11_008,
            "num_hidden_layers": 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "vocab_size": 151_936,
        },
        "vision_config": {**_VISION, "intermediate_size": 3420, "out_hidden_size": 2048},
    },
    "7b": {
        "tie_word_embeddings": False,
        "text_config": {
            "hidden_size": 3584,
            "intermediate_size": 18_944,
            "num_hidden_layers": 28,
            "num_attention_heads": 28,
            "num_key_value_heads": 4,
            "vocab_size": 152_064,
        },
        "vision_config": {**_VISION, "intermediate_size": 3420, "out_hidden_size": 3584},
    },
    "32b": {
        "tie_word_embeddings": False,
        "text_config": {
            "hidden_size": 5120,
            "intermediate_size": 27_648,
            "num_hidden_layers": 64,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "vocab_size": 152_064,
        },
        "vision_config": {**_VISION, "intermediate_size": 3456, "out_hidden_size": 5120},
    },
}
"""Sizes of Qwen2.5-VL, as in the ``config.json`` of each."""

RECIPES = {
    "qwen2_5_vl_3b_1gpu": "3b",
    "qwen2_5_vl_3b_2gpu": "3b",
    "qwen2_5_vl_3b": "3b",
    "qwen2_5_vl_7b": "7b",
    "qwen2_5_vl_7b_6train_2sample": "7b",
    "qwen2_5_vl_32b": "32b",
    "qwen2_5_vl_3b_lora_24gb": "3b",
    "qwen2_5_vl_3b_lora_1gpu": "3b",
    "qwen2_5_vl_7b_lora_2gpu": "7b",
}
"""Configuration and the size of its model."""
SMALL_GPUS = {"qwen2_5_vl_3b_lora_24gb": 24 * GB}
"""Recipes for other GPUs than `GPU`."""


def model_folder(size: str, folder: Path) -> Path:
    """Write the ``config.json`` of Qwen2.5-VL of this size into a folder, which is returned."""
    sizes = MODELS[size]
    text = {"model_type": "qwen2_5_vl_text", **sizes["text_config"]}
    text["tie_word_embeddings"] = sizes["tie_word_embeddings"]
    content = {"model_type": "qwen2_5_vl", "dtype": "bfloat16", **sizes, "text_config": text}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def planned(name: str) -> tuple[Config, Plan, ModelShape]:
    """A recipe's configuration, plan and shape."""
    with tempfile.TemporaryDirectory() as folder:
        path = model_folder(RECIPES[name], Path(folder))
        config = load_config(ROOT / "configs" / f"{name}.yaml", [f"model.path={path}"])
        gpu = SMALL_GPUS.get(name, GPU)
        return config, *plan_of(config, gpu, shares_gpus(config, None))


Plans = dict[str, tuple[Config, Plan, ModelShape]]
"""A recipe's name to what `planned` gives."""


def tables(plans: Plans) -> str:
    """The tables as Markdown."""
    return "\n".join(
        [
            *_overview(plans),
            "",
            "A rank of the trainer, in GB of its GPU at the moment when most is there:",
            "",
            *_parts({name: plan.rank.shown() for name, (_, plan, _) in plans.items()}, plans),
            "",
            "Each GPU of a rollout node, in GB, and the node's part of the host's memory:",
            "",
            *_engines(plans),
        ]
    )


def _overview(plans: Plans) -> list[str]:
    found = [
        "| configuration | parameters | GPUs of GB | training | sampling | rank | node | fits |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (config, plan, shape) in plans.items():
        trainer, rollout = config.trainer, config.rollout
        parallel = rollout.engine.tensor_parallel_size
        ranks = trainer.ranks * trainer.hosts
        gpus = 1 if plan.shared else ranks + rollout.nodes * parallel
        offload = ", AdamW in host memory" if trainer.optimizer.offload else ""
        if config.model.lora is not None:
            offload += f", adapter of {shape.adapter_parameters / 1e6:.0f}e6"
        fits = "no" if plan.problems() else "yes"
        found.append(
            f"| `{name}.yaml` | {shape.parameters / 1e9:.2f}e9 | {gpus} of "
            f"{plan.gpu / GB:.0f} | {ranks} rank"
            f"{'s' * (ranks > 1)}, ZeRO {trainer.zero_stage}{offload} | {rollout.nodes} node"
            f"{'s' * (rollout.nodes > 1)} of {parallel} | "
            f"{plan.rank_total / GB:.1f} | {plan.engine_total / GB:.1f} | {fits} |"
        )
    return found


def _parts(columns: dict[str, dict[str, float]], plans: Plans) -> list[str]:
    rows = list(dict.fromkeys(part for parts in columns.values() for part in parts))
    names = [name.removeprefix("qwen2_5_vl_") for name in columns]
    found = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [f"{parts[row] / GB:.1f}" if row in parts else "" for parts in columns.values()]
        found.append(f"| {row} | {' | '.join(cells)} |")
    rest = [
        f"{(plan.rank_total - sum(plan.rank.shown().values())) / GB:.1f}"
        for _, plan, _ in plans.values()
    ]
    totals = [f"**{plan.rank_total / GB:.1f}**" for _, plan, _ in plans.values()]
    found.append(f"| CUDA, libraries, fragments | {' | '.join(rest)} |")
    found.append(f"| **together** | {' | '.join(totals)} |")
    hosts = [
        f"{sum(plan.rank.host.values()) / GB:.1f}" if plan.rank.host else ""
        for _, plan, _ in plans.values()
    ]
    return [*found, f"| in host memory | {' | '.join(hosts)} |"]


def _engines(plans: Plans) -> list[str]:
    found = [
        "| configuration | weights | a step | KV cache | kB a token | longest answers at a time | "
        "in host memory: its version | `/dev/shm` for it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, (config, plan, shape) in plans.items():
        engine, version = plan.engine, sum(plan.engine.host.values())
        cells = [engine.held["weights"], engine.kept["a step"], engine.held["KV cache"]]
        found.append(
            f"| `{name}.yaml` | {' | '.join(f'{cell / GB:.1f}' for cell in cells)} | "
            f"{cache_bytes(config, shape) / 1e3:.1f} | {plan.answers:.0f} | "
            f"{version / GB:.1f} | {needed(version) / GB:.1f} |"
        )
    return found


def page_with(made: str) -> str:
    """docs/recipes.md with these tables in their place."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{made}\n\n{END}{after}"


def main() -> int:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write them into docs/recipes.md")
    given, plans = parser.parse_args(), {name: planned(name) for name in RECIPES}
    if given.write:
        PAGE.write_text(page_with(tables(plans)), encoding="utf-8")
    else:
        print(tables(plans))
    return 0


if __name__ == "__main__":
    sys.exit(main())
