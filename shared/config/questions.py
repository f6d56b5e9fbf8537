"""The model, the questions it is asked, in which orders, and how it answers."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from shared.config.section import Count, Fraction, Positive, Section
from shared.config.source import SourceConfig
from shared.prompting import DEFAULT_INSTRUCTION


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


def _shape(value: Any) -> str:
    if isinstance(value, dict | SourceConfig):
        return "source"
    return "sources" if isinstance(value, list | tuple) else "path"


Questions = Annotated[
    Annotated[Path, Tag("path")]
    | Annotated[SourceConfig, Tag("source")]
    | Annotated[tuple[SourceConfig, ...], Tag("sources"), Field(min_length=1)],
    Discriminator(_shape),
]
"""A JSON-lines file of samples, one source in another format, or a mixture of sources."""


class DataConfig(Section):
    """The questions."""

    train: Questions
    """JSON-lines file of samples (``shared/sample.py``), or a source, or a list of sources that are
    mixed by their weights."""
    heldout: Questions | None = None
    """Samples for the evaluation before and after training."""
    image_folder: Path | None = None
    """Keeps the pictures that lie inside data files, named by their SHA-256; default: `images` in
    the run's folder."""
    prepare: str | None = None
    """``module:function`` that `launch` and `check` call with the folder of `train`, and the run's
    seed, when `train` does not exist: it writes the data there."""
    instruction: str = DEFAULT_INSTRUCTION
    """Text after every question."""
    max_image_pixels: Count = 64_000_000
    """Pictures with more pixels than this are refused before they are decoded."""
    shuffle: bool = True
    """Ask the samples in another order in every epoch."""

    @model_validator(mode="after")
    def _prepare_writes_a_file(self) -> "DataConfig":
        if self.prepare is not None and not isinstance(self.train, Path):
            raise ValueError("prepare writes the file that train names: give train as a path")
        return self

    def train_sources(self) -> tuple[SourceConfig, ...]:
        """The sources of `train`, one for a plain path."""
        return _sources(self.train)

    def heldout_sources(self) -> tuple[SourceConfig, ...]:
        """The sources of `heldout`; empty when there is none."""
        return () if self.heldout is None else _sources(self.heldout)


def _sources(questions: Path | SourceConfig | tuple[SourceConfig, ...]) -> tuple[SourceConfig, ...]:
    if isinstance(questions, Path):
        return (SourceConfig(path=questions),)
    return questions if isinstance(questions, tuple) else (questions,)


class NoiseConfig(Section):
    """Distorted images for the sampler only (NoisyRollout, arXiv 2504.13055)."""

    share: Fraction = 0.0
    """Share of a group's orders that are sampled with distorted images; 0 is off."""
    strength: Fraction = 0.1
    """Standard deviation of the Gaussian noise at the start, as a share of the range of values."""
    schedule: Literal["sigmoid", "linear", "constant"] = "sigmoid"
    """How the strength falls over training."""


class PermutationConfig(Section):
    """The order groups: how many orders, and how often they differ."""

    n_s: int = Field(default=1, ge=0)
    """Permuted copies beside the original order; 0 is plain GRPO."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the probability of permuting falls over training; linear: ``1 - t/T``, cosine:
    ``(1 + cos(pi t/T)) / 2``."""
    alpha: Fraction = 1.0
    """The probability of permuting at the start."""
    noise: NoiseConfig = NoiseConfig()


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


class EvalConfig(Section):
    """The evaluation before and after training, greedy."""

    orders: Count = 6
    """Orders of each held-out question, the original one among them."""
    max_tokens: Count = 2048
    """The longest answer."""
    timeout_s: Positive = 7200.0
    """The longest one evaluation may take."""
