"""Qwen2-VL (arXiv 2409.12191): its vision tower sees whole pictures."""

from services.trainer.compute.families.base import Family


class Qwen2VL(Family):
    """As the base."""
