"""The configuration of a run: one YAML file for every service, checked before anything starts.

Unknown keys are refused. ``${NAME}`` and ``${NAME:-default}`` in a value are taken from the
environment, which is how secrets get in. Times end in ``_s`` and are seconds.
"""

import os
import re
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import UserError
from shared.prompting import DEFAULT_INSTRUCTION

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """Base of every part of the configuration."""

    # The text under each field becomes its description in docs/configuration.md.
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class RedisConfig(Section):
    """Where the queues are."""

    url: str | None = None
    """``redis://[:password@]host:port/db``; empty: the launcher starts one of its own."""
    timeout_s: Positive = 30.0
    """How long one Redis command may take."""


class SecurityConfig(Section):
    """Who may talk to the services."""

    token: str | None = Field(default=None, repr=False)
    """When set, every route but health wants it as a bearer token."""


class ModelConfig(Section):
    """The policy, and how both sides see its images."""

    path: Path
    """Folder of the start model (``from_pretrained`` layout, with its processor)."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Dtype of the weights in the engine and of the trainer's computation."""
    min_pixels: int | None = None
    """Images with fewer pixels are enlarged; default: the processor's bound."""
    max_pixels: int | None = None
    """Images with more pixels are shrunk, for the sampler and the trainer alike."""
    trust_remote_code: bool = False
    """Run code that the model folder brings along."""


class DataConfig(Section):
    """The questions."""

    train: Path
    """JSON-lines file of samples (``shared/sample.py``)."""
    heldout: Path | None = None
    """Samples for the evaluation before and after training."""
    prepare: str | None = None
    """``module:function`` that the launcher calls with the folder of `train`, and the run's seed,
    when `train` does not exist: it writes the data there."""
    instruction: str = DEFAULT_INSTRUCTION
    """Text after every question."""
    max_image_pixels: Count = 64_000_000
    """Pictures with more pixels than this are refused before they are decoded."""
    shuffle: bool = True
    """Ask the samples in another order in every epoch."""


class PermutationConfig(Section):
    """The order groups: how many orders, and how often they differ."""

    n_s: int = Field(default=1, ge=0)
    """Permuted copies beside the original order; 0 is plain GRPO."""
    schedule: Literal["constant", "linear"] = "linear"
    """How the probability of permuting changes over training; linear: ``1 - t/T``."""
    alpha: Fraction = 1.0
    """The probability of permuting at the start."""


class SamplingConfig(Section):
    """How responses are drawn."""

    n: Count = 6
    """Responses for each order."""
    temperature: Positive = 1.0
    """Logits are divided by it, in the sampler and in the loss alike."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Sample from the smallest set of tokens with this much probability."""
    max_tokens: Count = 2048
    """The longest response."""


class EngineConfig(Section):
    """vLLM's engine arguments that matter here."""

    max_model_len: Count = 10_240
    """The longest prompt and response together, in tokens."""
    max_images: Count = 32
    """The most images one prompt may have."""
    tensor_parallel_size: Count = 1
    """GPUs of one node."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that the engine takes."""
    max_num_seqs: Count = 256
    """Responses sampled at a time."""
    enforce_eager: bool = False
    """Do without compiled graphs: a faster start, slower sampling."""
    kv_cache_gib: Positive | None = None
    """KV cache on a CPU, in GiB; GPUs take what ``gpu_memory_utilization`` leaves."""


class RolloutConfig(Section):
    """The rollout service."""

    nodes: Count = 1
    """How many the launcher starts; elsewhere the orchestrator decides."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8100, ge=0, le=65_535)
    """The launcher gives node i the port ``port + i``."""
    concurrent_tasks: Count = 32
    """Prompt tasks one node works on at a time."""
    image_cache_mib: Count = 256
    """Decoded pictures one node keeps, so that an image crosses the wire once."""
    heartbeat_s: Positive = 2.0
    """Time between two heartbeats."""
    lost_after_s: Positive = 15.0
    """A node without a heartbeat for this long is shown as lost and its work is taken over."""
    start_timeout_s: Positive = 900.0
    """From process start to ready: loading, current weights, warm-up."""
    task_timeout_s: Positive = 600.0
    """The longest one prompt task may take before it is handed back."""
    drain_timeout_s: Positive = 30.0
    """How long a node may finish work in hand when it is told to stop."""
    max_attempts: Count = 3
    """A prompt task handed out this often without a result is dropped as a dead letter."""
    engine: EngineConfig = EngineConfig()


class FilterConfig(Section):
    """Which scored groups are worth training on."""

    drop_uniform: bool = True
    """Drop groups whose rewards are all alike: their advantages are zero."""
    min_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is lower."""
    max_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is higher."""


class RewardConfig(Section):
    """The reward service."""

    nodes: Count = 1
    """How many the launcher starts; elsewhere the orchestrator decides."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8200, ge=0, le=65_535)
    """The launcher gives node i the port ``port + i``."""
    function: str = "services.reward.rules:accuracy_and_format"
    """Dotted path ``module:function`` of the reward function."""
    accuracy_weight: float = 0.9
    """Weight of a right answer in the reward."""
    format_weight: float = 0.1
    """Weight of the asked-for format in the reward."""
    workers: Count = 2
    """Processes that grade answers which need a maths library."""
    grade_timeout_s: Positive = 5.0
    """The longest one answer may be graded; longer counts as wrong."""
    grade_memory_mib: Count = 1024
    """Address space of one grader process."""
    grader_start_timeout_s: Positive = 60.0
    """The longest a grading process may take to start."""
    concurrent_tasks: Count = 32
    """Trajectory batches one node works on at a time."""
    task_timeout_s: Positive = 600.0
    """The longest one batch, or one request to ``/score``, may be scored."""
    max_request_mib: Count = 16
    """Larger requests to ``/score`` are refused."""
    heartbeat_s: Positive = 2.0
    """Time between two heartbeats."""
    lost_after_s: Positive = 15.0
    """A node without a heartbeat for this long is shown as lost and its work is taken over."""
    drain_timeout_s: Positive = 10.0
    """How long a node may finish work in hand when it is told to stop."""
    max_attempts: Count = 3
    """Trajectories handed out this often without a result are dropped as a dead letter."""
    filter: FilterConfig = FilterConfig()


class ObjectiveConfig(Section):
    """PeRL's objective (PERL.md section 2)."""

    clip_low: Positive = 0.2
    """The importance ratio is clipped below at ``1 - clip_low``."""
    clip_high: Positive = 0.2
    """The importance ratio is clipped above at ``1 + clip_high``."""
    kl_coef: float = Field(default=0.01, ge=0)
    """Weight of the k3 estimate of KL(policy || start model)."""
    advantage_eps: Positive = 1e-6
    """Added to the standard deviation that advantages are divided by."""


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
    """DeepSpeed processes on this host."""
    steps: Count = 100
    """Policy versions to train; each uses ``groups_per_step`` groups."""
    groups_per_step: Count = 128
    """Groups that one policy version is trained on."""
    minibatch_groups: Count | None = None
    """Groups for one optimizer update; default: all of a step's."""
    max_staleness: int = Field(default=1, ge=0)
    """A group is trained while ``current step - oldest sampling version`` is at most this."""
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
    """From the start of the ranks to the first published weights."""
    drain_timeout_s: Positive = 60.0
    """How long the ranks may take to end when they are told to stop."""
    max_restarts: int = Field(default=3, ge=0)
    """How often failed ranks are started again from the last checkpoint."""
    collective_timeout_s: Positive = 1800.0
    """The longest one rank waits for the others."""
    objective: ObjectiveConfig = ObjectiveConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()


class WeightsConfig(Section):
    """How new weights reach the rollout nodes."""

    backend: Literal["http"] = "http"
    """``http``: each node fetches the new version from the trainer."""
    bucket_mib: Count = 64
    """Bytes of one request, and the unit of verification."""
    keep_versions: Count = 2
    """Published versions that the trainer keeps on disk."""
    fetch_timeout_s: Positive = 300.0
    """The longest one version may take to fetch and load."""


class EvalConfig(Section):
    """The evaluation before and after training, greedy."""

    orders: Count = 6
    """Orders of each held-out question, the original one among them."""
    max_tokens: Count = 2048
    """The longest answer."""
    timeout_s: Positive = 7200.0
    """The longest one evaluation may take."""


class LauncherConfig(Section):
    """`perl-rl launch`: every service on this machine."""

    max_restarts: int = Field(default=3, ge=0)
    """How often one rollout or reward node that died is started again."""
    stop_timeout_s: Positive = 30.0
    """What a process gets between SIGTERM and SIGKILL."""
    share_gpus: bool = False
    """Let rollout nodes and trainer ranks use the same GPUs when there are too few for each to
    have its own; lower ``rollout.engine.gpu_memory_utilization`` with it."""


class Config(Section):
    """Everything one run needs."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """Name of the run; its keys in Redis start with it."""
    seed: int = Field(default=0, ge=0)
    """Data order, permutations and sampling derive from it."""
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
    launcher: LauncherConfig = LauncherConfig()

    @model_validator(mode="after")
    def _divisible(self) -> "Config":
        trainer = self.trainer
        minibatch = trainer.minibatch_groups or trainer.groups_per_step
        if trainer.groups_per_step % minibatch:
            raise ValueError(
                f"trainer.groups_per_step ({trainer.groups_per_step}) must be a multiple of "
                f"trainer.minibatch_groups ({minibatch})"
            )
        if minibatch % trainer.ranks:
            raise ValueError(
                f"a minibatch of {minibatch} groups cannot be shared evenly by trainer.ranks "
                f"({trainer.ranks})"
            )
        return self


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a configuration file, apply ``key.path=value`` overrides, and check it all.

    Relative paths in it are resolved against the folder of the file.

    Raises:
        UserError: naming the file and the key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read the configuration ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path}: must hold a mapping of settings")
    for override in overrides or []:
        _apply_override(raw, override)
    raw = _expand(raw, path)
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {_first_problem(error)}") from None
    return _resolve_paths(config, path.parent.resolve())


def save_config(config: Config, path: Path) -> None:
    """Write a configuration that `load_config` reads back; only its owner may read the file.

    That is how secrets reach a child process without standing in its arguments.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)
        yaml.safe_dump(config.model_dump(mode="json"), stream, sort_keys=False)


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"--set {override}: write it as key.path=value")
    *parents, last = key.split(".")
    section = raw
    for parent in parents:
        # A section that is written but empty holds nothing yet.
        section[parent] = {} if section.get(parent) is None else section[parent]
        section = section[parent]
        if not isinstance(section, dict):
            raise UserError(f"--set {override}: '{parent}' is a value, not a section")
    try:
        section[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {override}: the value is not valid YAML") from None


_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def _expand(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, path) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path) for item in value]
    if not isinstance(value, str) or not _VARIABLE.search(value):
        return value

    def variable(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = os.environ.get(name, default)
        if found is None:
            raise UserError(f"{path}: the environment variable {name} is not set")
        return found

    # An empty variable means "not set", as for an optional secret.
    return _VARIABLE.sub(variable, value) or None


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key '{key}'; see docs/configuration.md for the keys there are"
    if first["type"] == "missing":
        return f"the key '{key}' is missing"
    message = first["msg"].removeprefix("Value error, ")
    if not key or key.startswith("security."):
        return f"{key}: {message}" if key else message
    return f"{key}: {message} (got {textwrap.shorten(repr(first['input']), 80)})"


def _resolve_paths(config: Config, folder: Path) -> Config:
    def resolve(file: Path | None) -> Path | None:
        return None if file is None else Path(os.path.normpath(folder / file))

    data = config.data.model_copy(
        update={"train": resolve(config.data.train), "heldout": resolve(config.data.heldout)}
    )
    model = config.model.model_copy(update={"path": resolve(config.model.path)})
    return config.model_copy(update={"data": data, "model": model})
