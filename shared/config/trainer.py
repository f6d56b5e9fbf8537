"""The trainer: optimizer, checkpoints, ranks."""

from typing import Literal

from pydantic import Field

from shared.config.guard import GuardConfig
from shared.config.objective import ObjectiveConfig
from shared.config.section import Count, Fraction, Positive, Section


class SelectionConfig(Section):
    """Training on a part of each group's responses (PODS, arXiv 2504.13818)."""

    keep: int | None = Field(default=None, ge=2)
    """So many responses of a group are trained on, those whose rewards vary most; default: all of
    its ``(n_s + 1) * n``. With ``objective.advantage: per_order``, as many of each order."""


class OptimizerConfig(Section):
    """AdamW with a constant learning rate after a linear warm-up."""

    learning_rate: Positive = 1e-6
    """Constant after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates over which the learning rate rises to its value."""
    weight_decay: float = Field(default=0.01, ge=0)
    """For matrices; biases and norms are not decayed."""
    beta1: Fraction = 0.9
    """Decay of the mean of gradients."""
    beta2: Fraction = 0.999
    """Decay of the mean of squared gradients."""
    grad_clip: Positive = 1.0
    """The largest norm of the gradient of one update."""
    offload: bool = False
    """Keep the optimizer's state in host memory."""


class CheckpointConfig(Section):
    """When the trainer's state is written, and how much of it is kept."""

    every_steps: Count = 100
    """Steps between two checkpoints; one is written at the end in any case."""
    keep: Count = 2
    """Checkpoints that are kept, the newest ones."""


class TrainerConfig(Section):
    """The trainer service."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8000, ge=0, le=65_535)
    """Port of status, control and weights."""
    public_url: str | None = None
    """Where rollout nodes reach the trainer; default: ``http://host:port``."""
    ranks: Count = 1
    """DeepSpeed processes on each host."""
    hosts: Count = 1
    """Hosts with ranks; beside the trainer's own, each runs ``perl-rl trainer join`` and sees the
    same run folder."""
    rendezvous: str = Field(default="127.0.0.1:29400", pattern=r"^[^:\s]+:\d{1,5}$")
    """Address on the trainer's host where the ranks of several hosts find each other."""
    steps: Count = 100
    """Policy versions to train; each uses ``groups_per_step`` groups."""
    groups_per_step: Count = 128
    """Groups that one policy version is trained on."""
    minibatch_groups: Count | None = None
    """Groups for one optimizer update; default: all of a step's."""
    max_staleness: int = Field(default=1, ge=0)
    """A group is trained while ``current step - oldest sampling version`` is at most this."""
    max_dropped_per_step: Count | None = None
    """The run ends when more groups are dropped before one step is full; default: 50 times
    ``groups_per_step``."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """What the ranks shard: 1 optimizer state, 2 gradients too, 3 parameters too."""
    micro_batch_tokens: Count = 16_384
    """Tokens, padding included, that the language model computes at once."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""
    freeze_vision: bool = False
    """Do not train the vision tower."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """The trainer's attention; group packing needs one that takes a mask."""
    groups_timeout_s: Positive = 1800.0
    """The longest wait for a full batch of scored groups."""
    start_timeout_s: Positive = 1800.0
    """From the start of the ranks to the first published weights, and to ``start_nodes`` ready
    rollout nodes; also the longest that a further host waits for the trainer to answer."""
    start_nodes: int | None = Field(default=None, ge=0)
    """Rollout nodes that must be ready before the first group is issued; default: all that the
    launcher starts, elsewhere none (prompts wait in the queue)."""
    stall_after_s: Positive = 300.0
    """A stage that has work and gets nowhere for this long is named as stalled: in the log, in
    ``status`` and in the metrics."""
    drain_timeout_s: Positive = 60.0
    """How long the ranks may take to end when they are told to stop."""
    serve_after_end: bool = False
    """After the last step, go on serving status and the final weights until told to stop: for an
    orchestrator that starts whatever ends again."""
    max_restarts: int = Field(default=3, ge=0)
    """How often failed ranks are started again from the same checkpoint."""
    collective_timeout_s: Positive = 1800.0
    """The longest one rank waits for the others."""
    objective: ObjectiveConfig = ObjectiveConfig()
    selection: SelectionConfig = SelectionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    guard: GuardConfig = GuardConfig()
