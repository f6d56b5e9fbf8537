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
    """Kinds of answer to keep; all when absent."""
    min_images: int = Field(default=1, ge=0)
    """0 lets questions without an image through."""
    max_images: Count = 32
    """What the sampler takes in one prompt (``rollout.engine.max_images``)."""
    min_question_chars: int = Field(default=1, ge=0)
    """Length of the question without its image tags."""
    max_question_chars: Count = 16_000
    """Length of the question without its image tags."""
    sources: tuple[str, ...] | None = None
    """Sources to keep; all when absent."""
    exclude_sources: tuple[str, ...] = ()
    """Sources to drop."""
    max_image_pixels: Count = 64_000_000
    """As ``data.max_image_pixels`` of a run."""
    max_aspect_ratio: Positive = 200.0
    """Longer side of an image over its shorter one; processors refuse more."""
    duplicates: bool = False
    """Keep samples that ask the same text about the same images as an earlier one."""


class RephraseSettings(Section):
    """Open questions become questions with lettered options."""

    endpoint: EndpointConfig | None = None
    """Instead of the common `endpoint`."""
    kinds: tuple[AnswerKind, ...] = ("text", "exact")
    """Kinds of answer that are open; the others pass as they are."""
    tries: Count = 3
    """How often one question is put, until the answer makes sense."""
    temperature: float = Field(default=0.7, ge=0)
    """Tries differ by seed: at 0 they would all be the same."""
    max_tokens: Count = 1024
    """The longest answer."""
    failed: Literal["drop", "keep"] = "drop"
    """What becomes of a question whose answers never made sense."""


class DifficultySettings(Section):
    """Rollouts of the model that is to be trained."""

    endpoint: EndpointConfig | None = None
    """A rollout node's ``/v1``, or any server of the model; else the common `endpoint`."""
    rollouts: Count = 10
    """Responses to each question."""
    temperature: float = Field(default=1.0, ge=0)
    """As ``sampling.temperature`` of a run."""
    max_tokens: Count = 2048
    """The longest response."""
    instruction: str = DEFAULT_INSTRUCTION
    """Text after every question, as ``data.instruction`` of a run."""


class BalanceSettings(Section):
    """Samples drawn without replacement, so that their pass rates have a given histogram."""

    target: Literal["paper", "drop-0-and-1"] | dict[float, Weight] = "paper"
    """A preset, or upper edges of bins with their weights, ``{0: 12, 0.5: 60, 1: 28}``."""
    size: Count | None = None
    """How many samples to keep; as many as the scarcest bin allows when absent."""
    shortfall: bool = False
    """With `size`: take what there is where a bin has too few, instead of refusing."""

    @field_validator("target")
    @classmethod
    def _edges(cls, target: str | dict[float, float]) -> str | dict[float, float]:
        if isinstance(target, str):
            return target
        edges = list(target)
        if not edges or edges != sorted(edges) or edges[0] < 0 or edges[-1] != 1:
            raise ValueError("the upper edges of bins must rise, from 0 at least to 1 at last")
        if not any(target.values()):
            raise ValueError("all weights are 0")
        return target


class LabelSettings(Section):
    """What moving the images does to the answer: the semantic variation S."""

    endpoint: EndpointConfig | None = None
    """Instead of the common `endpoint`."""
    rules_only: bool = False
    """Ask no endpoint: what the rules cannot judge stays unlabelled."""
    relabel: bool = False
    """Judge samples again that have an order rule."""
    cross_check: int = Field(default=100, ge=0)
    """How many samples that the rules judged are put to the endpoint as well."""
    tries: Count = 3
    """How often one question is put, until the answer makes sense."""
    temperature: float = Field(default=0.0, ge=0)
    """Of the first try; later ones use 0.7 at least, so that they differ."""
    max_tokens: Count = 256
    """The longest answer."""
    failed: Literal["keep", "drop"] = "keep"
    """What becomes of a sample that nobody could judge; kept, it is never permuted."""


class PrepareConfig(Section):
    """All stages."""

    input: Path
    """JSON-lines file of samples."""
    work: Path
    """Folder of the results and of everything that lets a killed run go on."""
    seed: int = Field(default=0, ge=0)
    """Every random choice derives from it."""
    stages: tuple[StageName, ...] = STAGES
    """Which to run, in this order."""
    endpoint: EndpointConfig | None = None
    """The language model that rephrases and labels."""
    refused: Literal["stop", "drop"] = "stop"
    """When an endpoint refuses one request by its contents (400, 413, 422): end the stage, or drop
    the sample with that reason."""
    images: Literal["reference", "copy"] = "reference"
    """Name the images where they are, relative to the result, or copy them beside it."""
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
            raise ValueError("name at least one stage, and each once")
        return stages

    def endpoint_of(
        self, stage: Literal["rephrase", "difficulty", "label"]
    ) -> EndpointConfig | None:
        """The endpoint that a stage asks: its own, else the common one."""
        settings: RephraseSettings | DifficultySettings | LabelSettings = getattr(self, stage)
        return settings.endpoint or self.endpoint
