"""Times the vision tower with batched windows against one window after another.

``python -m bench.vision_attention [--pictures 3] [--side 56] [--depth 8]``: random pictures of
side x side patches through a tower with Qwen2.5-VL's widths, forward and backward, in turns.
"""

import argparse
import time

import torch
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import (
    Qwen2_5_VisionTransformerPretrainedModel,
)

from services.trainer.compute.families.qwen2_5_vl import window_inputs
from services.trainer.compute.vision import BATCHED


def main() -> None:
    """Print the best of three rounds of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=3)
    parser.add_argument("--side", type=int, default=56)
    parser.add_argument("--depth", type=int, default=8)
    parser.add_argument("--width", type=int, default=1280)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = Qwen2_5_VLVisionConfig(
        depth=options.depth,
        hidden_size=options.width,
        intermediate_size=options.width * 2,
        num_heads=16,
        fullatt_block_indexes=list(range(options.depth // 4 - 1, options.depth, 4)),
    )
    tower = Qwen2_5_VisionTransformerPretrainedModel(config).to(device)
    grid = torch.tensor([[1, options.side, options.side]] * options.pictures, device=device)
    pixels = torch.randn(int(grid.prod(-1).sum()), 3 * 2 * 14 * 14, device=device)
    seconds: dict[str, list[float]] = {"sdpa": [], BATCHED: []}
    for _ in range(4):
        for kernel, found in seconds.items():
            tower.set_attn_implementation(kernel)
            found.append(_timed(tower, pixels, grid))
    for kernel, found in seconds.items():
        # The first round warms up.
        print(f"{kernel:18} {min(found[1:]):.3f} s")


def _timed(tower: torch.nn.Module, pixels: torch.Tensor, grid: torch.Tensor) -> float:
    _wait()
    start = time.perf_counter()
    inputs = window_inputs(tower, grid) if tower.config._attn_implementation == BATCHED else {}
    output = tower(pixels, grid_thw=grid, **inputs).pooler_output
    output.sum().backward()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
