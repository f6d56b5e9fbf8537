"""The module that turns a packed batch into log-probabilities, and the loading of its model."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForImageTextToText, PreTrainedModel

from services.trainer.compute.checks import check_features_fit
from services.trainer.compute.packing import PackedBatch, RowChunk, additive, attention_mask
from shared.config import Config
from shared.errors import UserError

# Tokens whose logits over the whole vocabulary are in memory at once: 2048 x 152k fp32 is 1.2 GB.
_LOGIT_TOKENS = 2048


def load_model(path: Path, config: Config) -> PreTrainedModel:
    """Load a vision-language model from a folder.

    Raises:
        UserError: when the folder holds no model that transformers can load.
    """
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            path,
            dtype=getattr(torch, config.model.dtype),
            attn_implementation=config.trainer.attention,
            trust_remote_code=config.model.trust_remote_code,
            use_safetensors=True,
        )
    except (OSError, ValueError) as error:
        raise UserError(f"model.path {path}: {' '.join(str(error).split())}") from None
    model.config.use_cache = False
    return model


class GroupModel(nn.Module):
    """Computes the log-probability of every response token of a packed batch.

    The vision tower encodes each distinct image of the batch once, however many orders and
    responses show it.
    """

    def __init__(
        self, model: PreTrainedModel, temperature: float, freeze_vision: bool = False
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.freeze_vision = freeze_vision
        # transformers' eager attention adds the mask to the scores, whatever its dtype: with a
        # boolean mask every token would see all others, and no error would say so.
        self._adds_mask = model.config.get_text_config()._attn_implementation == "eager"
        if freeze_vision:
            model.model.visual.requires_grad_(False)

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        """(T,) float32 log-probabilities, in the order of ``batch.old_logprobs``.

        The sampler draws from the same distribution: logits divided by the temperature.
        """
        features = self._encode(batch)
        logprobs = torch.cat([self._logprobs(chunk, features) for chunk in batch.chunks])
        if not any(chunk.images for chunk in batch.chunks):
            # The vision tower must take part in the backward pass on every rank, pictures or not.
            logprobs = logprobs + 0.0 * sum(feature.sum() for feature in features)
        for _ in range(batch.idle_chunks):
            logprobs = logprobs + 0.0 * self._logprobs(batch.chunks[-1], features).sum()
        return logprobs

    def _encode(self, batch: PackedBatch) -> tuple[torch.Tensor, ...]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_vision):
            output = self.model.model.get_image_features(
                batch.pixel_values, batch.grid, return_dict=True
            )
        return output.pooler_output

    def _logprobs(self, chunk: RowChunk, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        embeddings = self.model.get_input_embeddings()(chunk.input_ids)
        if chunk.images:
            # Placed by column rather than by token id: a response may contain the image token.
            shown = torch.cat([features[image] for image in chunk.images]).to(embeddings.dtype)
            check_features_fit(len(shown), len(chunk.feature_columns))
            where = (chunk.feature_rows, chunk.feature_columns)
            embeddings = embeddings.index_put(where, shown)
        mask = attention_mask(chunk.segments)
        if self._adds_mask:
            mask = additive(mask, embeddings.dtype)
        hidden = self.model.model(
            inputs_embeds=embeddings,
            position_ids=chunk.positions,
            attention_mask=mask,
            use_cache=False,
        ).last_hidden_state
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
