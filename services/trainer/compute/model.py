"""The module that turns a packed batch into log-probabilities, and the loading of its model."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForImageTextToText, PreTrainedModel

from services.trainer.compute.attention import chosen_attention, with_mask
from services.trainer.compute.families import family_of
from services.trainer.compute.features import BatchFeatures
from services.trainer.compute.packing import PackedBatch, RowChunk
from services.trainer.compute.vision import chosen_vision_attention
from shared.config import Config
from shared.errors import UserError
from shared.families import check_family, chosen_packing

# Tokens whose logits over the whole vocabulary are in memory at once: 2048 x 152k fp32 is 1.2 GB.
_LOGIT_TOKENS = 2048


def load_model(path: Path, config: Config, device: torch.device) -> PreTrainedModel:
    """Load a vision-language model from a folder, with the attention kernels for `device`.

    Raises:
        UserError: when the folder holds no model of a supported family that transformers can load.
    """
    check_family(path)
    packing = chosen_packing(path, config.trainer.packing)
    kernels = {
        "text_config": chosen_attention(config.trainer.attention, device, packing),
        "vision_config": chosen_vision_attention(config, device),
    }
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=getattr(torch, config.model.dtype),
            attn_implementation=kernels,
            trust_remote_code=config.model.trust_remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.path {path}: {' '.join(str(error).split())}") from None
    model.config.use_cache = False
    return _without_dropout(model)


def _without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    """The sampler has none: with it, log-probabilities of the same weights would differ."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif getattr(module, "attention_dropout", 0.0):
            module.attention_dropout = 0.0
    return model


class GroupModel(nn.Module):
    """Computes the log-probability of every response token of a batch, chunk by chunk.

    The vision tower encodes each distinct image of the batch once, however many orders and
    responses show it.
    """

    def __init__(
        self, model: PreTrainedModel, temperature: float, freeze_vision: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.trains_vision = not freeze_vision
        self._attention = model.config.get_text_config()._attn_implementation
        self._family = family_of(model)
        if freeze_vision:
            self._family.visual.requires_grad_(False)

    def forward(self, chunk: RowChunk, features: BatchFeatures, last: bool = True) -> torch.Tensor:
        """(T,) float32 log-probabilities of a chunk's response tokens.

        The sampler draws from the same distribution: logits divided by the temperature.

        Args:
            features: of the chunk's batch; its images are encoded here, for its first chunk.
            last: whether this is the batch's last chunk.
        """
        first = not features.encoded
        if first:
            features.hold(self._encode(features.pixel_values, features.grid))
        logprobs = self._logprobs(chunk, features, last)
        if first and not last and self.trains_vision and torch.is_grad_enabled():
            # Under ZeRO 3, and with an offloaded optimizer, DeepSpeed takes a parameter's gradient
            # for a new one only in the first backward pass after an update, and adds it to what is
            # left of the old one in later passes. So the first pass has to reach all parameters,
            # and this picture of one token stands for those whose pass comes last.
            logprobs = logprobs + 0.0 * self._encode_one_token(features).sum()
        return logprobs

    def _encode(self, pixel_values: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.trains_vision):
            return self._family.encode(pixel_values, grid)

    def _encode_one_token(self, features: BatchFeatures) -> torch.Tensor:
        """(1, W) features of the smallest picture there is, cut from the first image."""
        merge = self._family.merge
        grid = features.grid.new_tensor([[1, merge, merge]])
        return self._encode(features.pixel_values[: merge**2], grid)[0]

    def _logprobs(self, chunk: RowChunk, features: BatchFeatures, last: bool) -> torch.Tensor:
        chunk, mask = with_mask(chunk, self._attention, self.model.dtype)
        shown = features.of(chunk.images, last) if chunk.images else None
        hidden = self._family.hidden(chunk, shown, mask)
        predicting = hidden[chunk.predict_rows, chunk.predict_columns]
        if len(predicting) <= _LOGIT_TOKENS:
            return self._gather(predicting, chunk.targets)
        parts = zip(
            predicting.split(_LOGIT_TOKENS), chunk.targets.split(_LOGIT_TOKENS), strict=True
        )
        return torch.cat([checkpoint(self._gather, *part, use_reentrant=False) for part in parts])

    def _gather(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.model.lm_head(hidden).float() / self.temperature
        return torch.log_softmax(logits, dim=-1).gather(-1, targets[:, None]).squeeze(-1)


@torch.no_grad()
def chunk_logprobs(policy: nn.Module, batch: PackedBatch) -> list[torch.Tensor]:
    """For each chunk of a batch, (T,) log-probabilities, without gradients.

    Ranks that share parameters make as many passes as in training.
    """
    features, passes = BatchFeatures(batch), batch.passes()
    found = [(policy(chunk, features), counts) for chunk, counts in passes]
    return [logprobs for logprobs, counts in found if counts]
