"""The reward service and its filters."""

from typing import Literal

from pydantic import Field, model_validator

from shared.config.endpoint import EndpointConfig
from shared.config.section import Count, Fraction, Positive, Section, heard_before_lost
from shared.sample import AnswerKind

Extraction = Literal["strict", "lenient"]
"""Where the final answer of a response may stand (``shared/grading/extract.py``)."""


Consistency = Literal["share", "unique_mode", "paired"]
"""share: the share of the other orders' responses with the same answer. unique_mode: 1 for the
group's single most frequent answer, else -1. paired: -1 for a right answer whose counterparts under
the other orders are not all right."""


class FilterConfig(Section):
    """Which scored groups are dropped before training; an empty key drops none."""

    drop_uniform: bool = True
    """Drop groups whose rewards are all equal: their advantages are zero."""
    min_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is lower."""
    max_accuracy: Fraction | None = None
    """Drop groups whose mean accuracy is higher."""
    min_std: Positive | None = None
    """Drop groups whose rewards have a smaller standard deviation."""
    max_truncated: Fraction | None = None
    """Drop groups in which a larger share of the responses was cut off at
    ``sampling.max_tokens``."""
    min_distinct: Fraction | None = None
    """Drop groups in which a smaller share of the responses has a distinct text."""
    functions: tuple[str, ...] = ()
    """Custom filters as dotted paths ``module:function``, tried in this order after the others."""

    @model_validator(mode="after")
    def _some_accuracy_passes(self) -> "FilterConfig":
        low, high = self.min_accuracy, self.max_accuracy
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"no group can pass: min_accuracy ({low:g}) is more than max_accuracy ({high:g}); "
                "exchange them"
            )
        return self


class JudgeConfig(Section):
    """A language model that gives a second opinion on answers that the rules grade as wrong."""

    endpoint: EndpointConfig
    kinds: tuple[AnswerKind, ...] = Field(default=("text",), min_length=1)
    """Kinds of answers that the judge sees."""
    prompt: str | None = None
    """The judge's prompt, with `{gold}`, `{response}` and optionally `{question}`; default: the
    prompt in `services/reward/judge.py`."""
    asks: Count = 3
    """Most requests for one verdict: a reply that is no verdict is asked for again with another
    seed."""
    max_tokens: Count = 32
    """Longest reply, in tokens; a verdict needs few."""
    shown_chars: Count = 4000
    """Most characters of a response that the judge sees, counted from its end."""
    timeout_s: Positive = 300.0
    """Longest time for one verdict, with all waits and retries; must be less than
    ``reward.task_timeout_s``."""
    outage_timeout_s: Positive = 900.0
    """How long a batch waits for a judge that is busy, broken or out of reach; then its group is
    dropped with the reason `judge_failed`."""

    @model_validator(mode="after")
    def _prompt_shows_both_answers(self) -> "JudgeConfig":
        for place in ("{gold}", "{response}"):
            if self.prompt is not None and place not in self.prompt:
                raise ValueError(f"the prompt must contain {place}")
        return self


class LengthPenaltyConfig(Section):
    """Lowers the reward by ``per_token`` for each token after the first ``start_tokens``."""

    start_tokens: int = Field(ge=0)
    """Responses of at most this many tokens are not penalised."""
    per_token: Positive
    """Penalty for each token after them."""
    most: Positive
    """Largest penalty."""


class OverlongConfig(Section):
    """DAPO's soft overlong penalty: it grows over the last tokens before ``sampling.max_tokens``.

    arXiv 2503.14476, equation 13.
    """

    buffer_tokens: Count
    """How many tokens before ``sampling.max_tokens`` the penalty starts."""
    penalty: Positive = 1.0
    """Penalty for a response of ``sampling.max_tokens`` tokens."""


class RewardConfig(Section):
    """The reward service."""

    nodes: Count = 1
    """Nodes that the launcher starts; without it, the orchestrator decides."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = Field(default=8200, ge=0, le=65_535)
    """Port of the service; the launcher gives node i ``port + i``."""
    function: str = "services.reward.rules:accuracy_and_format"
    """Dotted path ``module:function`` of the reward function."""
    function_timeout_s: Positive = 120.0
    """Longest time for one call of a custom function that is plain, not ``async``; then its group
    is dropped with the reason `reward_timeout`. ``task_timeout_s`` bounds a whole batch."""
    accuracy_weight: float = 0.9
    """Weight of a right answer in the reward."""
    format_weight: float = 0.1
    """Weight of the right format in the reward."""
    extraction: Extraction = "strict"
    """Where the built-in reward function finds the answer; strict: only in the last box, lenient:
    also in words, as evaluation does."""
    judge: JudgeConfig | None = None
    """A language model that is asked about answers that the rules grade as wrong; empty: none."""
    length_penalty: LengthPenaltyConfig | None = None
    """Penalty on long responses, with any reward function; empty: none."""
    overlong: OverlongConfig | None = None
    """Penalty on responses close to the longest length, with any reward function; empty: none."""
    group_function: str | None = None
    """Dotted path ``module:function`` of a reward function that scores a whole group; empty:
    none."""
    consistency: Consistency = "share"
    """How the agreement of a response with the group's other orders is measured
    (docs/signals.md)."""
    consistency_weight: float = Field(default=0.0, ge=0)
    """Weight of that agreement in a response's reward; 0: off."""
    workers: Count = 2
    """Processes that grade the answers that need a maths library."""
    grade_timeout_s: Positive = 5.0
    """Longest time to grade one answer; an answer that takes longer is wrong."""
    grade_memory_mib: Count = 1024
    """Address space of one grader process, in MiB."""
    grader_start_timeout_s: Positive = 60.0
    """Longest time for a grader process to start."""
    concurrent_tasks: Count = 32
    """Most trajectory batches that one node scores at the same time."""
    task_timeout_s: Positive = 600.0
    """Longest time to score one batch or one request to ``/score``."""
    max_request_mib: Count = 16
    """Larger requests to ``/score`` are refused."""
    heartbeat_s: Positive = 2.0
    """Time between two heartbeats of a node."""
    lost_after_s: Positive = 15.0
    """A node without a heartbeat for this long is shown as lost, and others take over its work."""
    drain_timeout_s: Positive = 10.0
    """How long a stopping node may take to finish its current work."""
    max_attempts: Count = 3
    """A batch that was delivered this often without a result is dropped as a dead letter, or with
    the reason `judge_failed` when the judge was up but gave no verdict."""
    filter: FilterConfig = FilterConfig()

    @model_validator(mode="after")
    def _rewards_differ(self) -> "RewardConfig":
        """With the built-in function alone, a reward is one of four sums of the two weights."""
        added = (self.length_penalty, self.overlong, self.group_function)
        built_in = self.function == type(self).model_fields["function"].default
        if not built_in or any(one is not None for one in added) or self.consistency_weight > 0:
            return self
        spread = (abs(self.accuracy_weight) + abs(self.format_weight)) / 2
        if spread == 0:
            raise ValueError(
                "no group could ever carry a signal: accuracy_weight and format_weight are 0, so "
                "all rewards are; raise one of them"
            )
        if self.filter.min_std is not None and self.filter.min_std > spread:
            raise ValueError(
                f"no group can pass: filter.min_std ({self.filter.min_std:g}) is more than the "
                f"largest standard deviation of its rewards ({spread:g}); lower it"
            )
        return self

    @model_validator(mode="after")
    def _judge_ends_first(self) -> "RewardConfig":
        if self.judge is not None and self.judge.timeout_s >= self.task_timeout_s:
            raise ValueError(
                f"judge.timeout_s ({self.judge.timeout_s:g}) must be less than task_timeout_s "
                f"({self.task_timeout_s:g})"
            )
        return self

    @model_validator(mode="after")
    def _is_heard_in_time(self) -> "RewardConfig":
        heard_before_lost(self.heartbeat_s, self.lost_after_s)
        return self
