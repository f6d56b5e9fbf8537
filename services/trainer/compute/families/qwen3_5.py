"""Qwen3.5: layers with linear attention (Gated DeltaNet, arXiv 2412.06464), which take no mask, so
that prompts are replicated; the vision tower sees whole pictures."""

from services.trainer.compute.families.base import Family


class Qwen3_5(Family):
    """As the base."""
