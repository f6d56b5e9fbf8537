"""The rollout service and its engine."""

from pydantic import Field

from shared.config.section import Count, Positive, Section


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
    stall_timeout_s: Positive = 180.0
    """A node whose engine has requests and gives no token for this long ends itself: it hangs."""
    outdated_after_s: Positive = 60.0
    """A node that cannot get the newest weights for this long takes no work until it can."""
    drain_timeout_s: Positive = 30.0
    """How long a node may finish work in hand when it is told to stop."""
    max_attempts: Count = 3
    """A prompt task handed out this often without a result is dropped as a dead letter."""
    max_request_mib: Count = 64
    """Larger requests to the OpenAI routes are refused."""
    engine: EngineConfig = EngineConfig()
