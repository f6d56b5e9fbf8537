"""The configuration of the preparation stages: one YAML file, unknown keys refused."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from shared.config.endpoint import EndpointConfig
from shared.config.section import Count, Positive, Section
from shared.prompting import DEFAULT_INSTRUCTION
from shared.sample import AnswerKind

StageName = Literal["filter", "rephrase", "difficulty", "balance", "label"]
STAGES: tuple[StageName, ...] = get_args(StageName)

Weight = Annotated[float, Field(ge=0)]


class FilterSettings(Section):
    """Rules that a sample has to meet."""

    kinds: tuple[AnswerKind, ...] | None = None
    """Kinds of answer to keep. Default: all."""
    min_images: int = Field(default=1, ge=0)
    """0 keeps questions without an image."""
    max_images: Count = 32
    """The most images that the sampler takes in one prompt (``rollout.engine.max_images``)."""
    min_question_chars: int = Field(default=1, ge=0)
    """Length of the question without its image tags."""
    max_question_chars: Count = 16_000
    """Length of the question without its image tags."""
    sources: tuple[str, ...] | None = None
    """Sources to keep. Default: all."""
    exclude_sources: tuple[str, ...] = ()
    """Sources to drop."""
    max_image_pixels: Count = 64_000_000
    """Give the run's ``data.max_image_pixels``."""
    max_aspect_ratio: Positive = 200.0
    """An image's longer side divided by its shorter one; image processors refuse more."""
    duplicates: bool = False
    """Keep samples with the text and the images of an earlier one."""


class RephraseSettings(Section):
    """Open questions become questions with lettered options."""

    endpoint: EndpointConfig | None = None
    """Instead of the common `endpoint`."""
    kinds: tuple[AnswerKind, ...] = ("text", "exact")
    """Kinds of answer that count as open; other samples pass unchanged."""
    tries: Count = 3
    """How often to ask one question before giving up on an answer that makes sense."""
    temperature: float = Field(default=0.7, ge=0)
    """Tries differ only by seed, so at 0 they would all be the same."""
    max_tokens: Count = 1024
    """Of the longest answer."""
    failed: Literal["drop", "keep"] = "drop"
    """What to do with a question when no try gave an answer that makes sense."""


class DifficultySettings(Section):
    """Rollouts of the model that is to be trained."""

    endpoint: EndpointConfig | None = None
    """A rollout node's ``/v1``, or any server of the model, instead of the common `endpoint`."""
    rollouts: Count = 10
    """Responses to each question."""
    temperature: float = Field(default=1.0, ge=0)
    """Give the run's ``sampling.temperature``."""
    max_tokens: Count = 2048
    """Of the longest response."""
    instruction: str = DEFAULT_INSTRUCTION
    """Text after every question; give the run's ``data.instruction``."""


class BalanceSettings(Section):
    """Samples drawn without replacement, so that their pass rates have a given histogram."""

    target: Literal["paper", "drop-0-and-1"] | dict[float, Weight] = "paper"
    """A preset, or upper edges of bins with their weights, ``{0: 12, 0.5: 60, 1: 28}``."""
    size: Count | None = None
    """How many samples to keep. Default: as many as the scarcest bin allows."""
    shortfall: bool = False
    """With `size`: where a bin has too few samples, take all of them instead of stopping."""

    @field_validator("target")
    @classmethod
    def _edges(cls, target: str | dict[float, float]) -> str | dict[float, float]:
        if isinstance(target, str):
            return target
        edges = list(target)
        if not edges or edges != sorted(edges) or edges[0] < 0 or edges[-1] != 1:
            raise ValueError("the upper edges of bins must rise, start at 0 or above and end at 1")
        if not any(target.values()):
            raise ValueError("all weights are 0; give one bin at least a positive weight")
        return target


class LabelSettings(Section):
    """What moving the images does to the answer: the semantic variation S."""

    endpoint: EndpointConfig | None = None
    """Instead of the common `endpoint`; with neither, as `rules_only`."""
    rules_only: bool = False
    """Ask no endpoint: samples that no rule can label stay unlabelled."""
    relabel: bool = False
    """Label samples again that have an order rule already."""
    cross_check: int = Field(default=100, ge=0)
    """How many samples with a label by rules to put to the endpoint as well, as a comparison."""
    tries: Count = 3
    """How often to ask one question before giving up on an answer that makes sense."""
    temperature: float = Field(default=0.0, ge=0)
    """Of the first try; later tries use 0.7 at least, so that they differ."""
    max_tokens: Count = 256
    """Of the longest answer."""
    failed: Literal["keep", "drop"] = "keep"
    """What to do with a sample that got no label. If kept, it is never permuted."""


class PrepareConfig(Section):
    """All stages."""

    input: Path
    """JSON-lines file of samples."""
    work: Path
    """Folder for the results, and for what a killed run needs to continue."""
    seed: int = Field(default=0, ge=0)
    """Every random choice derives from it."""
    stages: tuple[StageName, ...] = STAGES
    """The stages to run, in this order."""
    endpoint: EndpointConfig | None = None
    """The language model that rephrases and labels."""
    refused: Literal["stop", "drop"] = "stop"
    """When an endpoint refuses a request for its contents (400, 413, 422): stop the stage, or drop
    the sample."""
    images: Literal["reference", "copy"] = "reference"
    """Whether the result names the images where they are, or gets a copy of them beside it."""
    workers: Count = 2
    """Threads that decode images, and processes that grade mathematics."""
    filter: FilterSettings = FilterSettings()
    rephrase: RephraseSettings = RephraseSettings()
    difficulty: DifficultySettings = DifficultySettings()
    balance: BalanceSettings = BalanceSettings()
    label: LabelSettings = LabelSettings()

    @field_validator("stages")
    @classmethod
    def _once(cls, stages: tuple[StageName, ...]) -> tuple[StageName, ...]:
        if not stages or len(set(stages)) < len(stages):
            raise ValueError("name at least one stage, and none twice")
        return stages

    def endpoint_of(
        self, stage: Literal["rephrase", "difficulty", "label"]
    ) -> EndpointConfig | None:
        """The endpoint that a stage asks: its own, else the common one."""
        settings: RephraseSettings | DifficultySettings | LabelSettings = getattr(self, stage)
        return settings.endpoint or self.endpoint
