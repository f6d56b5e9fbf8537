"""The reward service and its filters."""

from typing import Literal

from pydantic import Field, model_validator

from shared.config.endpoint import EndpointConfig
from shared.config.section import Count, Fraction, Positive, Section
from shared.sample import AnswerKind

Extraction = Literal["strict", "lenient"]
"""Where a response's final answer is looked for (``shared/grading/extract.py``)."""


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


class JudgeConfig(Section):
    """A language model's second opinion on answers that the rules do not find right."""

    endpoint: EndpointConfig
    kinds: tuple[AnswerKind, ...] = Field(default=("text",), min_length=1)
    """Kinds of answers that it is asked about."""
    prompt: str | None = None
    """What it is asked, with the places `{gold}`, `{response}` and, as you like, `{question}`;
    default: the prompt in `services/reward/judge.py`."""
    asks: Count = 3
    """How often it is asked, each time with another seed, until its reply is a verdict."""
    max_tokens: Count = 32
    """The longest reply; a verdict needs few."""
    shown_chars: Count = 4000
    """The most characters of a response that it is shown: the last ones."""
    timeout_s: Positive = 300.0
    """The longest one verdict may take, with all waiting and asking again; shorter than
    ``reward.task_timeout_s``."""
    outage_timeout_s: Positive = 900.0
    """How long a batch waits for a judge that cannot be reached, is too busy or fails, before its
    group is dropped for the reason `judge_failed`."""

    @model_validator(mode="after")
    def _prompt_shows_both_answers(self) -> "JudgeConfig":
        for place in ("{gold}", "{response}"):
            if self.prompt is not None and place not in self.prompt:
                raise ValueError(f"the prompt has no place {place}")
        return self


class LengthPenaltyConfig(Section):
    """Takes ``per_token`` off the reward for each token after the first ``start_tokens``."""

    start_tokens: int = Field(ge=0)
    """Responses up to this length are free."""
    per_token: Positive
    """Taken off for each further token."""
    most: Positive
    """The most that is taken off."""


class OverlongConfig(Section):
    """DAPO's soft overlong punishment: grows over the last tokens before ``sampling.max_tokens``.

    arXiv 2503.14476, equation 13.
    """

    buffer_tokens: Count
    """How many tokens before ``sampling.max_tokens`` it starts."""
    penalty: Positive = 1.0
    """What is taken off a response of ``sampling.max_tokens``."""


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
    extraction: Extraction = "strict"
    """Where the answer is looked for: in the last box alone, or also in words, as evaluation does.
    For the reward function that comes with the service."""
    judge: JudgeConfig | None = None
    """A language model that is asked where the rules do not find an answer right."""
    length_penalty: LengthPenaltyConfig | None = None
    """A price on tokens, whatever the reward function."""
    overlong: OverlongConfig | None = None
    """A price on getting close to the longest response, whatever the reward function."""
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
    """Trajectories handed out this often without a result are dropped as a dead letter, or,
    where the judge was there and gave no verdict, for the reason `judge_failed`."""
    filter: FilterConfig = FilterConfig()

    @model_validator(mode="after")
    def _judge_ends_first(self) -> "RewardConfig":
        if self.judge is not None and self.judge.timeout_s >= self.task_timeout_s:
            raise ValueError(
                f"judge.timeout_s ({self.judge.timeout_s:g}) must be less than task_timeout_s "
                f"({self.task_timeout_s:g})"
            )
        return self
