"""Time a step of packed rows against the same responses one a row, at three shapes.

    python -m bench.packed [--rounds 6] [--json FILE]

Packed, an order is one row and each image of the group is encoded once. Replicated, each response
is a row with the whole prompt, and brings its images, as plain training does. Both sides are the
trainer's own step with random weights, in turns; ``bench.gpu`` compares their gradients.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from bench.facts import Figures, machine, say
from bench.gpu.groups import GroupSize, made_up_group
from bench.gpu.rank import Rank, join, make_rank, settings
from bench.gpu.setting import CPU, GPU, Setting
from services.trainer.compute.packing import PreparedGroup

SMALL: Setting = replace(
    CPU,
    layers=(4,),
    text={
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 400,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [8, 12, 12],
        },
    },
    vision={
        "depth": 4,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_heads": 4,
        "out_hidden_size": 256,
        "fullatt_block_indexes": [3],
        "window_size": 112,
    },
)
"""For a CPU: enough work a row that the rows count."""

SHAPES = {
    "short answers": GroupSize(images=3, patches=4, text=60, responses=[12] * 6),
    "long answers": GroupSize(images=3, patches=4, text=60, responses=[48] * 6),
    "many images": GroupSize(images=8, patches=4, text=60, responses=[24] * 6),
}


def replicated(group: PreparedGroup) -> list[PreparedGroup]:
    """Each response as a group of its own, with the prompt and the images."""
    return [
        replace(group, orders=(replace(order, responses=(response,)),))
        for order in group.orders
        for response in order.responses
    ]


def measure(rank: Rank, size: GroupSize, rounds: int) -> list[float]:
    """Replicated seconds over packed seconds, round by round; forth, then back."""
    group = made_up_group(rank.model, size)
    sides = {"packed": [group], "replicated": replicated(group)}
    ratios = []
    for number in range(-1, rounds):
        order = list(sides) if number % 2 else list(sides)[::-1]
        seconds = {side: rank.step(*sides[side])["seconds"] for side in order}
        if number >= 0:
            ratios.append(seconds["replicated"] / seconds["packed"])
    return ratios


def main() -> None:
    """Print the ratio of each shape."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    setting = GPU if torch.cuda.is_available() else SMALL
    sizes = SHAPES
    if setting is GPU:
        sizes = dict(
            zip(SHAPES, (setting.rows[0], setting.rows[1], setting.pictures[1]), strict=True)
        )
    join()
    rank = make_rank(setting, setting.layers[0], settings(setting, zero_stage=1))
    found: Figures = {"machine": machine(), "shapes": {}}
    for name, size in sizes.items():
        ratios = found["shapes"][name] = measure(rank, size, options.rounds)
        say(
            name,
            {
                "replicated / packed": statistics.median(ratios),
                "from": min(ratios),
                "to": max(ratios),
            },
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
