"""The messages between the services: their fields, and their bytes on the wire.

A message is msgpack with its name and schema version in front. Anything else is refused with an
error that says what came and what was expected. Nothing is pickled.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self, TypeVar

import msgpack
import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    model_validator,
)

from shared.problems import in_words
from shared.sample import AnswerKind, OrderRule

SCHEMA_VERSION = 5
"""Raise it with every change of a message's fields or of their meaning: added, removed, renamed,
another type or default. Services refuse messages of any other version."""


class MalformedMessage(ValueError):
    """Bytes that are no message of the expected name and schema version."""


def _reader(dtype: str) -> Callable[[Any], np.ndarray]:
    def read(value: Any) -> np.ndarray:
        if isinstance(value, bytes):
            return np.frombuffer(value, dtype=dtype)
        try:
            array = np.asarray(value, dtype=dtype)
        except (TypeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        if array.ndim != 1:
            raise ValueError(f"expected one dimension, got {array.ndim}")
        return array

    return read


def _bytes(array: np.ndarray) -> bytes:
    return array.tobytes()


# Arrays travel as their little-endian bytes.
TokenIds = Annotated[np.ndarray, BeforeValidator(_reader("<i4")), PlainSerializer(_bytes)]
"""(T,) int32 token ids."""

LARGEST = float(np.finfo(np.float32).max)
"""A reward beyond it, on either side, is infinite to the trainer, which computes in float32."""

SMALLEST_LOGPROB = -104.0
"""No token has a smaller log-probability: the smallest positive float32 is ``2 ** -149``, whose
logarithm is -103.3, and an engine does not draw a token of probability 0."""

LARGEST_LOGPROB = 1e-3
"""0, and what rounding may add."""

RewardNumber = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]

Floats = Annotated[np.ndarray, BeforeValidator(_reader("<f4")), PlainSerializer(_bytes)]
"""(T,) float32."""


class Message(BaseModel):
    """Base of all messages and their parts."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, allow_inf_nan=False
    )


class PolicyVersion(Message):
    """Which weights: the trainer's history (`incarnation`) and the optimizer step in it.

    A resumed trainer starts a new incarnation, so that work of a lost history is recognized.
    """

    incarnation: int = Field(ge=0)
    step: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.incarnation}.{self.step}"

    def __lt__(self, other: "PolicyVersion") -> bool:
        return (self.incarnation, self.step) < (other.incarnation, other.step)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` wrote: ``incarnation.step``."""
        incarnation, step = text.split(".")
        return cls(incarnation=int(incarnation), step=int(step))


class SamplingSettings(Message):
    """How responses are sampled; the same for every order of a group."""

    temperature: float
    top_p: float
    max_tokens: int


class PromptTask(Message):
    """One order of one prompt group, to be answered `n` times by one rollout node."""

    run: str
    group_id: str
    sample_id: str
    source: str
    order_index: int
    orders: int
    """How many orders the whole group has."""
    permutation: tuple[int, ...]
    question: str
    """Question text in this order, with one ``<image>`` tag an image."""
    images: tuple[str, ...]
    """SHA-256 of each image, in this order, as the sampler sees it."""
    clean_images: tuple[str, ...] = ()
    """SHA-256 of each image as it is trained on, where the sampler sees distorted ones."""
    answer: str
    """Gold answer in this order."""
    kind: AnswerKind
    tolerance: float | None = None
    """Largest relative error of a right answer of kind ``number``; None: it must be exact."""
    order: OrderRule | None = None
    """How the answer changes when the images move; None when it is unknown."""
    fixed: tuple[int, ...] = ()
    """Indices of images that keep their place under every order."""
    n: int
    sampling: SamplingSettings
    seed: int
    issued_at: PolicyVersion
    """Policy version when the group was issued; no node samples it with an older one."""

    def trained_images(self) -> tuple[str, ...]:
        """SHA-256 of each image, in this order, as it is trained on."""
        return self.clean_images or self.images


class VersionSpan(Message):
    """A run of consecutive tokens sampled by the same policy version."""

    version: PolicyVersion
    tokens: int


class Response(Message):
    """One sampled answer."""

    token_ids: TokenIds
    """(T,) int32, the end-of-turn token included when it was sampled."""
    logprobs: Floats
    """(T,) float32, log-probability of each token under the distribution it was sampled from; see
    `impossible_logprob`."""
    versions: tuple[VersionSpan, ...]
    """Spans that cover the T tokens in order."""
    text: str
    finish_reason: Literal["stop", "length"]

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        tokens = len(self.token_ids)
        covered = sum(span.tokens for span in self.versions)
        if len(self.logprobs) != tokens or covered != tokens:
            raise ValueError(
                f"{tokens} tokens with {len(self.logprobs)} log-probabilities and version spans "
                f"over {covered}"
            )
        return self

    @model_validator(mode="after")
    def _tokens_can_have_been_sampled(self) -> Self:
        found = impossible_logprob(self.logprobs)
        if found is not None:
            raise ValueError(f"a log-probability of {found:g} cannot be that of a sampled token")
        return self

    def oldest_version(self) -> PolicyVersion:
        """The oldest policy that sampled a token of this response."""
        return min(span.version for span in self.versions)


def impossible_logprob(logprobs: np.ndarray) -> float | None:
    """The first of these that no sampled token can have: NaN, infinite, positive, or below the
    logarithm of the smallest float32; None when all are sound.

    Args:
        logprobs: (T,).
    """
    # Written so that NaN is found too.
    strange = ~((logprobs >= SMALLEST_LOGPROB) & (logprobs <= LARGEST_LOGPROB))
    return float(logprobs[strange][0]) if strange.any() else None


class TrajectoryBatch(Message):
    """A rollout node's answers to one `PromptTask`."""

    task: PromptTask
    node: str
    prompt_token_ids: TokenIds
    """(P,) int32, image placeholders expanded as the engine saw them."""
    image_grids: tuple[tuple[int, int, int], ...]
    """For each image, the number of patches in time, height and width that the engine made."""
    responses: tuple[Response, ...]
    sampled_s: float
    """Seconds from the first request to the last token."""

    @model_validator(mode="after")
    def _one_grid_each(self) -> Self:
        if len(self.image_grids) != len(self.task.images):
            raise ValueError(f"{len(self.task.images)} images with {len(self.image_grids)} grids")
        return self


class Reward(Message):
    """One response's reward, by component."""

    total: RewardNumber
    """The sum that is trained on, `penalty` included."""
    accuracy: RewardNumber
    format: RewardNumber
    penalty: RewardNumber = 0.0
    """The length penalty in the total: 0 or negative."""
    extracted: str | None
    """The final answer found in the response; None when there is none."""
    steps: tuple[bool, ...] | None = None
    """For kind ``steps``: whether each step of the gold answer was right."""


class ScoredOrder(Message):
    """One order of a group with its rewards, one for each response."""

    batch: TrajectoryBatch
    rewards: tuple[Reward, ...]
    scored_s: float
    """Seconds spent grading."""

    @model_validator(mode="after")
    def _one_reward_each(self) -> Self:
        if len(self.rewards) != len(self.batch.responses):
            raise ValueError(
                f"{len(self.batch.responses)} responses with {len(self.rewards)} rewards"
            )
        return self


class ScoredGroup(Message):
    """All orders of one prompt group: one unit of training work."""

    group_id: str
    orders: tuple[ScoredOrder, ...]

    def rewards(self) -> np.ndarray:
        """(orders * n,) float64 total rewards, order by order."""
        return np.array([one.total for order in self.orders for one in order.rewards])

    def rewards_by_order(self) -> list[np.ndarray]:
        """For each order, (n,) float64 total rewards."""
        return [np.array([one.total for one in order.rewards]) for order in self.orders]

    def score_sums(self) -> dict[str, float]:
        """Sums over all responses: their number, rewards, accuracies and format rewards."""
        rewards = [one for order in self.orders for one in order.rewards]
        return {
            "responses": len(rewards),
            "reward": sum(one.total for one in rewards),
            "accuracy": sum(one.accuracy for one in rewards),
            "format": sum(one.format for one in rewards),
        }

    def oldest_version(self) -> PolicyVersion:
        """The oldest policy that sampled a token of this group."""
        return min(
            response.oldest_version() for order in self.orders for response in order.batch.responses
        )

    def response_tokens(self) -> int:
        """How many tokens were sampled for this group."""
        return sum(
            len(response.token_ids) for order in self.orders for response in order.batch.responses
        )


class TrainedResponses(Message):
    """What the trainer computed about the responses of a group that it trained on."""

    version: PolicyVersion | None
    """The policy version whose log-probabilities these are; None when an earlier update of the same
    step had changed the policy."""
    logprobs: tuple[Floats | None, ...]
    """For each response of the group, order by order: (T,) log-probability of each token under the
    policy as it was when its update began; None when ``trainer.selection`` left it out."""


M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The message's bytes on the wire."""
    return msgpack.packb([type(message).__name__, SCHEMA_VERSION, message.model_dump()])


def decode(kind: type[M], data: bytes) -> M:
    """Read a message of type `kind`.

    Raises:
        MalformedMessage: when the bytes are not msgpack, or another message or schema version, or
            a field does not fit.
    """
    try:
        name, version, fields = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise MalformedMessage(f"expected {kind.__name__}: not a message ({error})") from None
    if name != kind.__name__:
        raise MalformedMessage(f"expected {kind.__name__}, got {name!r}")
    if version != SCHEMA_VERSION:
        raise MalformedMessage(
            f"{name}: schema version {version!r}, this service reads {SCHEMA_VERSION}; "
            "run the same release on every node"
        )
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "message"
        raise MalformedMessage(f"{name}, field '{field}': {in_words(first)}") from None


def group_identity(data: bytes) -> tuple[str, PolicyVersion] | None:
    """Group id and policy version at issue, from a message that does not decode; None if lost.

    Reads tasks, trajectories and scored groups of any schema version.
    """
    try:
        _, _, fields = msgpack.unpackb(data)
        if "orders" in fields and "group_id" in fields and "issued_at" not in fields:
            fields = fields["orders"][0]["batch"]
        task = fields.get("task", fields)
        return str(task["group_id"]), PolicyVersion.model_validate(task["issued_at"])
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        RecursionError,
        msgpack.UnpackException,
    ):
        return None
