"""The whole configuration of a run."""

from typing import Any

from pydantic import Field, field_validator, model_validator

from shared.config.connections import RedisConfig, SecurityConfig, WeightsConfig
from shared.config.questions import (
    DataConfig,
    EvalConfig,
    ModelConfig,
    PermutationConfig,
    SamplingConfig,
)
from shared.config.record import RecordConfig
from shared.config.reward import RewardConfig
from shared.config.rollout import RolloutConfig
from shared.config.section import Positive, Section
from shared.config.tracing import TracingConfig
from shared.config.trackers import TrackerConfig, from_names
from shared.config.trainer import TrainerConfig
from shared.config.view import ViewConfig


class LauncherConfig(Section):
    """`perl-rl launch`, which runs every service on this machine."""

    max_restarts: int = Field(default=3, ge=0)
    """How often a dead service (or Redis) is restarted within ``restart_window_s``; 0: never."""
    restart_window_s: Positive = 600.0
    """Restarts longer ago than this are not counted."""
    stop_timeout_s: Positive = 30.0
    """Time between SIGTERM and SIGKILL for a process that has to stop."""
    share_gpus: bool = False
    """Let rollout nodes and trainer ranks share GPUs when there are too few for each to have its
    own; lower ``rollout.engine.gpu_memory_utilization`` too."""


class Config(Section):
    """Everything one run needs."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """Name of the run; all its keys in Redis start with it."""
    seed: int = Field(default=0, ge=0)
    """Decides the order of the data, the permutations and the sampling."""
    redis: RedisConfig = RedisConfig()
    security: SecurityConfig = SecurityConfig()
    model: ModelConfig
    data: DataConfig
    permutation: PermutationConfig = PermutationConfig()
    sampling: SamplingConfig = SamplingConfig()
    rollout: RolloutConfig = RolloutConfig()
    reward: RewardConfig = RewardConfig()
    trainer: TrainerConfig
    weights: WeightsConfig = WeightsConfig()
    eval: EvalConfig = EvalConfig()
    record: RecordConfig = RecordConfig()
    tracing: TracingConfig = TracingConfig()
    trackers: tuple[TrackerConfig, ...] = ()
    """Where the run is shown besides its own folder: names, or mappings with the keys below."""
    launcher: LauncherConfig = LauncherConfig()
    view: ViewConfig = ViewConfig()

    def group_size(self) -> int:
        """Responses of one group: all orders' together."""
        return (self.permutation.n_s + 1) * self.sampling.n

    @field_validator("trackers", mode="before")
    @classmethod
    def _tracker_names(cls, trackers: Any) -> Any:
        return from_names(trackers)

    @property
    def trains_vision(self) -> bool:
        """Whether any number of the vision tower changes."""
        if self.model.lora is not None:
            return self.model.lora.vision
        return not self.trainer.freeze_vision

    @model_validator(mode="after")
    def _vision_is_frozen_or_adapted(self) -> "Config":
        if self.trainer.freeze_vision and self.model.lora is not None and self.model.lora.vision:
            raise ValueError(
                "trainer.freeze_vision and model.lora.vision contradict each other: set one of "
                "them to false"
            )
        return self

    @model_validator(mode="after")
    def _selects_from_a_group(self) -> "Config":
        keep, orders = self.trainer.selection.keep, self.permutation.n_s + 1
        responses = self.group_size()
        if keep is not None and keep > responses:
            raise ValueError(
                f"trainer.selection.keep ({keep}) must not be more than the {responses} responses "
                "of a group, (permutation.n_s + 1) * sampling.n"
            )
        within = self.trainer.objective.advantage == "per_order"
        if keep is not None and within and (keep % orders or keep < 2 * orders):
            raise ValueError(
                f"trainer.selection.keep ({keep}) must be the same number, 2 or more, for each of "
                f"the {orders} orders of a group (permutation.n_s + 1), because "
                "trainer.objective.advantage is per_order"
            )
        return self

    @model_validator(mode="after")
    def _compares_responses(self) -> "Config":
        n, n_s, objective = self.sampling.n, self.permutation.n_s, self.trainer.objective
        within = objective.advantage == "per_order" or (
            objective.advantage == "two_level" and objective.per_order_weight == 1
        )
        if within and n == 1:
            raise ValueError(
                f"no group could ever carry a signal: trainer.objective.advantage "
                f"{objective.advantage} compares a response with those of its own order, and "
                "sampling.n is 1; raise sampling.n, or set trainer.objective.advantage: pooled"
            )
        if n * (n_s + 1) == 1:
            raise ValueError(
                "no group could ever carry a signal: with sampling.n 1 and permutation.n_s 0 it "
                "has one response, and nothing to compare it with; raise one of them"
            )
        return self

    @model_validator(mode="after")
    def _answers_fit(self) -> "Config":
        longest = self.rollout.engine.max_model_len
        asked = {"sampling": self.sampling.max_tokens}
        if self.data.heldout is not None:
            asked["eval"] = self.eval.max_tokens
        for section, tokens in asked.items():
            if tokens >= longest:
                raise ValueError(
                    f"{section}.max_tokens ({tokens}) leaves no room for a prompt in "
                    f"rollout.engine.max_model_len ({longest}), which counts both; lower "
                    f"{section}.max_tokens or raise rollout.engine.max_model_len"
                )
        return self

    @model_validator(mode="after")
    def _divisible(self) -> "Config":
        trainer = self.trainer
        minibatch = trainer.minibatch_groups or trainer.groups_per_step
        if trainer.groups_per_step % minibatch:
            raise ValueError(
                f"trainer.groups_per_step ({trainer.groups_per_step}) must be a multiple of "
                f"trainer.minibatch_groups ({minibatch})"
            )
        ranks = trainer.ranks * trainer.hosts
        if minibatch % ranks:
            raise ValueError(
                f"a minibatch of {minibatch} groups cannot be split evenly over {ranks} ranks "
                "(trainer.ranks * trainer.hosts)"
            )
        return self

    @model_validator(mode="after")
    def _best_is_evaluated(self) -> "Config":
        saved, evaluated = self.trainer.checkpoint, self.eval.every_steps
        if not saved.keep_best:
            return self
        if self.data.heldout is None or evaluated is None:
            raise ValueError(
                "trainer.checkpoint.keep_best needs data.heldout and eval.every_steps: the best "
                "checkpoint is the one with the best held-out accuracy"
            )
        if evaluated % saved.every_steps:
            raise ValueError(
                f"eval.every_steps ({evaluated}) must be a multiple of "
                f"trainer.checkpoint.every_steps ({saved.every_steps}) with "
                "trainer.checkpoint.keep_best, so that every policy that is evaluated is saved"
            )
        return self

    @model_validator(mode="after")
    def _overlong_within_a_response(self) -> "Config":
        overlong, longest = self.reward.overlong, self.sampling.max_tokens
        if overlong is not None and overlong.buffer_tokens > longest:
            raise ValueError(
                f"reward.overlong.buffer_tokens ({overlong.buffer_tokens}) must not be more than "
                f"sampling.max_tokens ({longest})"
            )
        return self
