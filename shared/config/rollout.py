"""The rollout service and its engine."""

from pydantic import Field, model_validator

from shared.config.section import Count, Positive, Section, heard_before_lost


class EngineConfig(Section):
    """Arguments of the vLLM engine."""

    max_model_len: Count = 10_240
    """Longest prompt and response together, in tokens."""
    max_images: Count = 32
    """Most images in one prompt."""
    tensor_parallel_size: Count = 1
    """GPUs that one node splits the model over."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that the engine uses."""
    max_num_seqs: Count = 256
    """Most responses sampled at the same time."""
    max_num_batched_tokens: Count | None = None
    """Most tokens, of prompts and responses, that the engine computes in one step; default: 8192 on
    a GPU, the engine's own choice on a CPU."""
    enforce_eager: bool = False
    """Skip the compilation of graphs: a faster start, but slower sampling."""
    kv_cache_gib: Positive | None = None
    """Size of the KV cache, in GiB; default: what ``gpu_memory_utilization`` leaves for it."""

    @model_validator(mode="after")
    def _a_step_holds_every_response(self) -> "EngineConfig":
        tokens = self.max_num_batched_tokens
        if tokens is not None and tokens < self.max_num_seqs:
            raise ValueError(
                f"max_num_batched_tokens ({tokens}) must be at least max_num_seqs "
                f"({self.max_num_seqs}): each response takes a token of a step"
            )
        return self


class RolloutConfig(Section):
    """The rollout service."""

    nodes: Count = 1
    """Nodes that the launcher starts; without it, the orchestrator decides."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8100, ge=0, le=65_535)
    """Port of the service; the launcher gives node i ``port + i``."""
    concurrent_tasks: Count = 32
    """Most prompt tasks that one node samples at the same time: as few as keep the engine busy.
    With more, the groups of several steps finish together, the oldest later than they could."""
    image_cache_mib: Count = 256
    """Memory for decoded images on one node, in MiB; a cached image is not fetched again."""
    heartbeat_s: Positive = 2.0
    """Time between two heartbeats of a node."""
    lost_after_s: Positive = 15.0
    """A node without a heartbeat for this long is shown as lost, and others take over its work."""
    start_timeout_s: Positive = 900.0
    """Longest time to start: load the model, fetch the current weights, warm up."""
    task_timeout_s: Positive = 600.0
    """Longest time for one prompt task; then it is handed back to the queue."""
    stall_timeout_s: Positive = 180.0
    """A node ends itself when its engine has requests but gives no token for this long."""
    outdated_after_s: Positive = 60.0
    """A node that fails to get the newest weights for this long takes no work until it has them."""
    drain_timeout_s: Positive = 30.0
    """How long a stopping node may take to finish its current work."""
    max_attempts: Count = 3
    """A prompt task delivered this often without a result is dropped as a dead letter."""
    max_request_mib: Count = 64
    """Larger requests to the OpenAI routes are refused."""
    engine: EngineConfig = EngineConfig()

    @model_validator(mode="after")
    def _is_heard_in_time(self) -> "RolloutConfig":
        heard_before_lost(self.heartbeat_s, self.lost_after_s)
        return self
