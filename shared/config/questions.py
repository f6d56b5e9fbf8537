"""The model, the questions, the orders of their images, and how responses are sampled."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from shared.config.lora import LoraConfig
from shared.config.section import Count, Fraction, Positive, Section
from shared.config.source import SourceConfig
from shared.permutation.orders import OrderChoice
from shared.prompting import DEFAULT_INSTRUCTION


class ModelConfig(Section):
    """The policy, and the size of the images that sampler and trainer show it."""

    path: Path
    """Folder of the start model (``from_pretrained`` layout, with its processor)."""
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    """Number type of the engine's weights and of the trainer's computation; auto: bfloat16 on a GPU
    or on a processor with instructions for it, else float32. The log says which."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """What sampler and trainer compute on; auto: the GPUs, or the CPU on a machine without any. A
    machine with an NVIDIA GPU that torch cannot use is refused unless this is cpu."""
    min_pixels: Count | None = None
    """Images with fewer pixels are enlarged; default: the processor's limit."""
    max_pixels: Count | None = None
    """Images with more pixels are shrunk, for sampler and trainer alike; default: the processor's
    limit."""
    trust_remote_code: bool = False
    """Run Python code from the model folder."""
    lora: LoraConfig | None = None
    """Train low-rank adapters only; empty: train all weights."""

    @model_validator(mode="after")
    def _pixels_in_order(self) -> "ModelConfig":
        if (self.min_pixels or 0) > (self.max_pixels or float("inf")):
            raise ValueError(
                f"min_pixels ({self.min_pixels}) must not be more than max_pixels "
                f"({self.max_pixels})"
            )
        return self

    def pixel_bounds(self) -> dict[str, int]:
        """The bounds that are set, as arguments of a transformers image processor."""
        bounds = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels}
        return {name: value for name, value in bounds.items() if value is not None}


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


class SkippingConfig(Section):
    """Skips questions whose last groups were dropped by the filters, before they are sampled again
    (GRESO, arXiv 2506.02177). A run that ends within its first epoch skips none."""

    target: Fraction | None = 0.25
    """Share of dropped groups, among those that are sampled, at which questions are skipped no more
    and no less often; empty: none is ever skipped."""
    explore: float = Field(default=0.05, gt=0, le=1)
    """Least probability that a visit of a question is sampled: each one is sampled again after
    ``1 / explore`` epochs on the average."""
    patience_s: Positive = 15.0
    """How long the next question waits for the verdict on an earlier group that the decision about
    it depends on; a group that takes longer than that has no part in decisions."""


class DataConfig(Section):
    """The questions."""

    train: Questions
    """JSON-lines file of samples (``shared/sample.py``), one source, or a list of sources that are
    mixed by their weights."""
    heldout: Questions | None = None
    """Samples for the evaluations before, while and after training; empty: no evaluation."""
    heldout_samples: Count | None = None
    """How many of them are asked, the same ones each time; default: all."""
    image_folder: Path | None = None
    """Folder for images that are stored inside data files, each named by its SHA-256; default:
    `images` in the run's folder."""
    prepare: str | None = None
    """``module:function`` that writes the data when `train` does not exist; `launch` and `check`
    call it with the folder of `train` and the run's seed."""
    instruction: str = DEFAULT_INSTRUCTION
    """Text that follows every question."""
    max_image_pixels: Count = 64_000_000
    """Images with more pixels than this are refused before they are decoded."""
    shuffle: bool = True
    """Shuffle the samples again in every epoch; false: keep the order of the files."""
    skipping: SkippingConfig = SkippingConfig()

    @model_validator(mode="after")
    def _prepare_writes_a_file(self) -> "DataConfig":
        if self.prepare is not None and not isinstance(self.train, Path):
            raise ValueError("prepare writes the file train: give train as one path, not sources")
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
    """Noise on images, for the sampler only (NoisyRollout, arXiv 2504.13055)."""

    share: Fraction = 0.0
    """Share of a group's orders that are sampled with noisy images; 0: off."""
    strength: Fraction = 0.1
    """Standard deviation of the Gaussian noise at the start; 1 is the full range of pixel
    values."""
    schedule: Literal["sigmoid", "linear", "constant"] = "sigmoid"
    """How the strength falls over training."""


class PermutationConfig(Section):
    """How many orders of its images a group has, and how often they are permuted."""

    n_s: int = Field(default=1, ge=0)
    """Permuted orders of a group, beside the original one; 0: plain GRPO."""
    orders: OrderChoice = "random"
    """Which orders these are; random: drawn from all, cyclic: from the cyclic shifts of the
    original one, cyclic_reverse: from these and the reversal (PA-GRPO, arXiv 2603.21016)."""
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    """How the probability of permuting falls from ``alpha`` over training; linear: times
    ``1 - t/T``, cosine: times ``(1 + cos(pi t/T)) / 2``."""
    alpha: Fraction = 1.0
    """Probability of permuting at the start; 0: never."""
    noise: NoiseConfig = NoiseConfig()


class SamplingConfig(Section):
    """How responses are sampled."""

    n: Count = 6
    """Responses for each order of a group."""
    temperature: Positive = 1.0
    """Divides the logits, in the sampler and in the loss alike."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Must be 1: the loss compares probabilities over all tokens, so it cannot train on responses
    that were drawn from a part of them."""
    max_tokens: Count = 2048
    """Longest response, in tokens; longer ones are cut off."""

    @field_validator("top_p")
    @classmethod
    def _from_all_tokens(cls, top_p: float) -> float:
        if top_p < 1:
            raise ValueError(
                "must be 1: the sampler would report probabilities among the tokens it draws from, "
                "the trainer computes them among all tokens, and every ratio would be wrong; use "
                "sampling.temperature to make sampling less random"
            )
        return top_p


class EvalConfig(Section):
    """The evaluations on ``data.heldout``: before, while and after training; decoded greedily."""

    every_steps: Count | None = None
    """Evaluate after every so many steps too, while training goes on; default: only before the
    first step and after the last. One that is not done when the next is due lets that one pass."""
    orders: Count = 6
    """Orders of each held-out question, including the original one."""
    max_tokens: Count = 2048
    """Longest answer, in tokens; longer ones are cut off."""
    timeout_s: Positive = 7200.0
    """Longest time for one evaluation."""
