"""The reward service and its filters."""

from pydantic import Field

from shared.config.section import Count, Fraction, Positive, Section


class FilterConfig(Section):
    """Which scored groups are worth training on."""

    drop_uniform: bool = True
    """Drop groups whose rewards are all alike: their advantages are zero."""
    min_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is lower."""
    max_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is higher."""
    min_std: Positive | None = None
    """Drop groups whose rewards have a smaller standard deviation."""
    max_truncated: Fraction | None = None
    """Drop groups of whose responses a larger share was cut off at ``sampling.max_tokens``."""
    min_distinct: Fraction | None = None
    """Drop groups with a smaller share of distinct texts among their responses."""
    functions: tuple[str, ...] = ()
    """Dotted paths ``module:function`` of filters of your own, tried last, in this order."""


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
    group_function: str | None = None
    """Dotted path ``module:function`` of a reward function over a whole group."""
    consistency_weight: float = Field(default=0.0, ge=0)
    """Weight of a response's agreement with the group's other orders in its reward."""
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
