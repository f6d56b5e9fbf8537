"""The trainer: optimizer, checkpoints, ranks."""

from typing import Literal

from pydantic import Field, model_validator

from shared.config.guard import GuardConfig
from shared.config.objective import ObjectiveConfig
from shared.config.section import Count, Fraction, Positive, Section

_BEYOND_GROUPS_S = 1800.0


class SelectionConfig(Section):
    """Trains on a part of each group's responses (PODS, arXiv 2504.13818)."""

    keep: int | None = Field(default=None, ge=2)
    """Responses of a group that are trained on: those whose rewards vary most, and with
    ``objective.advantage: per_order`` equally many of each order; default: all
    ``(n_s + 1) * n``."""


class OptimizerConfig(Section):
    """AdamW with a constant learning rate after a linear warm-up."""

    learning_rate: Positive = 1e-6
    """Constant after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises from zero; 0: no warm-up."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of matrices; biases and norms are never decayed."""
    beta1: Fraction = 0.9
    """Decay of the running mean of gradients."""
    beta2: Fraction = 0.999
    """Decay of the running mean of squared gradients."""
    grad_clip: Positive = 1.0
    """Largest gradient norm of one update; a larger gradient is scaled down to it."""
    offload: bool = False
    """Keep the optimizer's state in host memory instead of on the GPU (ZeRO 1 to 3): 12 bytes a
    parameter, shared out over the ranks, and an update on the CPU."""


class CheckpointConfig(Section):
    """When the trainer writes its state, and how many copies it keeps."""

    every_steps: Count = 100
    """Steps between two checkpoints; the last step always writes one."""
    keep: Count = 2
    """How many checkpoints are kept, the newest ones."""
    keep_best: bool = False
    """Keep the one with the best held-out accuracy too (needs ``eval.every_steps``)."""


class TrainerConfig(Section):
    """The trainer service."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port of status and control."""
    ranks: Count = 1
    """DeepSpeed processes on each host."""
    hosts: Count = 1
    """Hosts with ranks; each worker host runs ``perl-rl trainer join`` and sees the same run
    folder as the trainer's host."""
    rendezvous: str = Field(default="127.0.0.1:29400", pattern=r"^[^:\s]+:\d{1,5}$")
    """Address on the trainer's host where the ranks of several hosts find each other."""
    steps: Count = 100
    """Policy versions to train; each uses ``groups_per_step`` groups."""
    max_responses: Count | None = None
    """The run ends after the step with which so many responses have been sampled, those of dropped
    groups included; default: only ``steps`` ends it."""
    groups_per_step: Count = 128
    """Groups that one policy version is trained on."""
    minibatch_groups: Count | None = None
    """Groups for one optimizer update; default: all groups of a step."""
    max_staleness: int = Field(default=1, ge=0)
    """Largest ``current step - oldest sampling version`` of a group that is trained on; 0: only
    groups of the current version."""
    max_dropped_per_step: Count | None = None
    """The run ends when more groups than this are dropped before a step is full; default: 50 times
    ``groups_per_step``."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What the ranks shard; 0: nothing, 1: optimizer state, 2: also gradients, 3: also
    parameters. From 1 on gradients are accumulated in fp32; with 0, in ``model.dtype``."""
    micro_batch_tokens: Count = 16_384
    """Tokens, including padding, in one pass of the language model; it bounds the memory of
    activations, however many orders and responses a group has. Only a prompt with a single response
    may be longer."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, slower steps."""
    freeze_vision: bool = False
    """Do not train the vision tower."""
    packing: Literal["auto", "packed", "replicated"] = "auto"
    """Rows of the language model in the trainer: ``packed`` (the responses of an order share its
    prompt) or ``replicated`` (the prompt again before each response); ``auto``: ``packed``, unless
    a layer of the model cannot take the mask (docs/families.md). The loss is the same."""
    attention: Literal["auto", "sdpa", "eager", "flex"] = "auto"
    """Attention of the language model in the trainer: ``flex`` (PyTorch's FlexAttention, GPU only)
    skips what a row's mask hides, ``sdpa`` and ``eager`` compute with the whole mask; ``auto``:
    ``flex`` on a GPU, else ``sdpa``."""
    vision_attention: Literal["auto", "flash", "batched", "sdpa"] = "auto"
    """Attention of the vision tower in the trainer: ``flash`` (the flash-attn package, GPU and
    bfloat16 only), ``batched`` (windows of equal size together) or ``sdpa`` (one window after
    another); ``auto``: ``flash`` where it can be used, else ``batched``."""
    prepare_ahead_mib: int = Field(default=1024, ge=0)
    """Memory of each rank for the pictures of groups that are prepared while the step before
    trains, in MiB; 0: each step prepares its groups when it begins."""
    groups_timeout_s: Positive = 1800.0
    """Longest wait for a full batch of scored groups."""
    start_timeout_s: Positive = 1800.0
    """Longest time from the start of the ranks until the first weights are published and
    ``start_nodes`` rollout nodes are ready; also how long a worker host waits for the trainer."""
    start_nodes: int | None = Field(default=None, ge=0)
    """Rollout nodes that must be ready before the first group is issued; default: all that the
    launcher starts, or 0 without the launcher (prompts wait in the queue)."""
    stall_after_s: Positive = 300.0
    """A stage that has work but makes no progress for this long is reported as stalled in the log,
    in ``status`` and in the metrics."""
    drain_timeout_s: Positive = 60.0
    """How long the trainer may take to end when it is told to stop: half for the step in hand and a
    checkpoint, half for the ranks to end. Raise it when a checkpoint takes longer to write."""
    serve_after_end: bool = False
    """Keep serving status and the final weights after the last step until told to stop: for an
    orchestrator that restarts every process that ends."""
    max_restarts: int = Field(default=3, ge=0)
    """How often failed ranks are restarted from the same checkpoint; 0: never."""
    collective_timeout_s: Positive | None = None
    """Longest time that one rank waits for the others; more than ``groups_timeout_s``, because all
    ranks wait while the first one waits for groups; default: half an hour more than that."""
    objective: ObjectiveConfig = ObjectiveConfig()
    selection: SelectionConfig = SelectionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    guard: GuardConfig = GuardConfig()

    @model_validator(mode="after")
    def _groups_are_missed_before_ranks_are(self) -> "TrainerConfig":
        collective, groups = self.collective_timeout_s, self.groups_timeout_s
        if collective is not None and collective <= groups:
            raise ValueError(
                f"collective_timeout_s ({collective:g}) must be more than groups_timeout_s "
                f"({groups:g}): the ranks wait for each other while the first one waits for groups"
            )
        return self

    def rank_patience_s(self) -> float:
        """How long one rank waits for the others, in seconds."""
        return self.collective_timeout_s or self.groups_timeout_s + _BEYOND_GROUPS_S
