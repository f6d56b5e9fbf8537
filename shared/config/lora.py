"""Low-rank adapters (LoRA, arXiv 2106.09685), trained in place of the model's own weights."""

import re
from collections.abc import Collection
from fnmatch import fnmatchcase

from pydantic import Field

from shared.config.section import Count, Section
from shared.errors import UserError

LARGEST_RANK = 512
"""What vLLM serves at most."""


class LoraConfig(Section):
    """Trains ``alpha / rank * B @ A`` beside each chosen layer; the start model's weights stay as
    they are. Give ``{}`` for the defaults."""

    rank: int = Field(default=16, ge=1, le=LARGEST_RANK)
    """Rows of A and columns of B: more can learn more, and take more memory."""
    alpha: Count = 32
    """The product of both matrices is scaled by ``alpha / rank``."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of an adapter's inputs that are left out in passes of the trainer. The sampler leaves
    none out, so that ratios and ``logprob_mismatch_abs`` get noisier with it."""
    targets: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
    )
    """Which linear layers get an adapter: the last parts of their names, such as ``q_proj`` or
    ``self_attn.*``, where ``*`` stands for anything; each has to match a layer."""
    vision: bool = False
    """Look for layers in the vision tower too; otherwise the tower stays as it is."""

    def chosen(self, layers: Collection[str]) -> list[str]:
        """Those of a model's linear layers that get an adapter.

        Args:
            layers: whole names, of the language model's and, with `vision`, the tower's.

        Raises:
            UserError: when a target matches none, naming those that there are.
        """
        found: set[str] = set()
        for target in self.targets:
            matched = {name for name in layers if fnmatchcase(name, f"*.{target}")}
            if not matched:
                there = sorted({re.sub(r".*\.\d+\.(?=[a-z])", "", name) for name in layers})
                where = "the model" if self.vision else "the language model (model.lora.vision)"
                raise UserError(
                    f"model.lora.targets: '{target}' is the name of no linear layer of {where}; "
                    f"there are {', '.join(there)}"
                )
            found |= matched
        return sorted(found)
