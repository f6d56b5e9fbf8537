"""The model that answers: a folder run by vLLM in this process, or an endpoint."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from PIL import Image
from pydantic import ValidationError

from perl_rl.asking import as_asked
from perl_rl.quiet import errors_to
from shared.chat import ChatEndpoint
from shared.config import Config
from shared.config.endpoint import EndpointConfig
from shared.errors import UserError
from shared.images import PILLOW_MAX_PIXELS, decode_image
from shared.model_identity import refuse_adapter
from shared.prompting import render

_CACHED_IMAGES = 256

_ENGINE_END_S = 20.0
"""Long enough for an orderly end, which leaves no line in the terminal."""


@dataclass(frozen=True)
class Prompt:
    """One question in one order, as a model is asked it."""

    key: str
    """Names the question, the order and the repetition."""
    question: str
    """With one image tag for each image."""
    images: tuple[str, ...]
    """Image files, in the order of the tags."""
    seed: int


@dataclass(frozen=True)
class Decoding:
    """How the model is asked and its answers are drawn; temperature 0 is greedy."""

    instruction: str
    max_tokens: int
    temperature: float = 0.0


class Model(Protocol):
    """Answers prompts, many at the same time."""

    concurrency: int
    """How many prompts to ask at the same time."""

    async def ask(self, prompt: Prompt) -> str:
        """The response.

        Raises:
            UserError: when there is none, with the reason.
        """
        ...


class EndpointModel(AbstractAsyncContextManager["EndpointModel"]):
    """A model behind an OpenAI-compatible endpoint; images are sent as ``data:`` URLs."""

    def __init__(self, config: EndpointConfig, decoding: Decoding) -> None:
        self._endpoint = ChatEndpoint(config)
        self._decoding = decoding
        self.concurrency = config.concurrency

    async def __aexit__(self, *exception: object) -> None:
        await self._endpoint.__aexit__(*exception)

    async def ask(self, prompt: Prompt) -> str:
        """The response; failed requests are repeated as often as the configuration says."""
        return await self._endpoint.ask(
            await as_asked(prompt.question, prompt.images, self._decoding.instruction),
            max_tokens=self._decoding.max_tokens,
            temperature=self._decoding.temperature,
            seed=prompt.seed,
        )


def engine_config(model: Path, overrides: list[str], run: Path | None = None) -> Config:
    """The configuration of the engine for `model`; ``rollout.*`` and ``model.*`` may be overridden.

    Args:
        run: a run's configuration file, for its ``model.*``, its ``rollout.*`` and its instruction.

    Raises:
        UserError: when the folder holds no model, or a setting is wrong.
    """
    from shared.config.load import apply_override, load_config, read_settings
    from shared.named_folders import model_folder
    from shared.problems import first_problem

    refuse_adapter(model, "--model")
    model_folder(model, "--model")
    if run is not None:
        load_config(run)  # refuses a file that is no run's
    given = {} if run is None else read_settings(run)
    # A run's configuration must name training data, and sample answers that fit its engine, but
    # nothing reads either here.
    raw: dict[str, Any] = {
        "run": "eval",
        "model": {**(given.get("model") or {}), "path": str(model.resolve())},
        "data": {"train": "none"},
        "sampling": {"max_tokens": 1},
        "rollout": given.get("rollout") or {},
        "trainer": {},
    }
    if "instruction" in (given.get("data") or {}):
        raw["data"]["instruction"] = given["data"]["instruction"]
    for override in overrides:
        if not override.startswith(("rollout.", "model.")):
            raise UserError(f"--set {override}: only model.* and rollout.* settings are used here")
        apply_override(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        where = "--set" if run is None else f"--config {run}, --set"
        raise UserError(f"{where}: {first_problem(error, Config)}") from None


class VllmModel(AbstractAsyncContextManager["VllmModel"]):
    """A model folder in an engine with the rollout service's settings.

    Args:
        log: where the engine's processes write; default: to standard error.
    """

    def __init__(self, config: Config, decoding: Decoding, log: Path | None = None) -> None:
        self._config = config
        self._decoding = decoding
        self._log = log
        # The engine batches by itself; a queue as long as its batch keeps it busy.
        self.concurrency = 2 * config.rollout.engine.max_num_seqs

    async def __aenter__(self) -> "VllmModel":
        with errors_to(self._log) if self._log else nullcontext():
            await self._start()
        return self

    async def _start(self) -> None:
        from services.rollout.engine.environment import prepare_environment

        prepare_environment()
        from transformers import AutoProcessor
        from vllm.sampling_params import RequestOutputKind, SamplingParams

        from services.rollout.engine.start import start_engine
        from services.rollout.failures import EngineFailed

        model, decoding = self._config.model, self._decoding
        self._processor = AutoProcessor.from_pretrained(
            model.path, trust_remote_code=model.trust_remote_code
        )
        self._parameters = SamplingParams(
            temperature=decoding.temperature,
            max_tokens=decoding.max_tokens,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        try:
            engine = await start_engine(self._config, asyncio.Event())
        except EngineFailed as error:
            log = f" (log: {self._log})" if self._log else ""
            raise UserError(f"--model {model.path}: {error}{log}") from error
        assert engine is not None, "nothing stops the start"
        self._engine = engine

    async def __aexit__(self, *_: object) -> None:
        from services.rollout.engine.start import end_engine

        end_engine(self._engine, _ENGINE_END_S)

    async def ask(self, prompt: Prompt) -> str:
        """The response; the engine batches the prompt with others in flight."""
        from vllm.exceptions import VLLMClientError

        from services.rollout.engine import request
        from services.rollout.failures import SamplingFailed

        parameters = self._parameters.clone()
        parameters.seed = prompt.seed
        text = render(self._processor, prompt.question, self._decoding.instruction)
        pictures = [_opened(file) for file in prompt.images]
        try:
            prepared = await request.prepare(self._engine, text, pictures, prompt.images)
            output = await request.generate(self._engine, prepared, parameters)
        except VLLMClientError as error:
            raise UserError(f"question {prompt.key}: the engine refuses it ({error})") from None
        except SamplingFailed:
            raise UserError(
                f"question {prompt.key}: the engine gave no answer; run the same command again"
            ) from None
        return output.outputs[0].text


@lru_cache(maxsize=_CACHED_IMAGES)
def _opened(file: str) -> Image.Image:
    return decode_image(Path(file), file, PILLOW_MAX_PIXELS)
