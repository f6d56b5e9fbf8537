"""Answers one prompt task: renders the prompt, samples n responses, stamps each token's version."""

import time

import numpy as np
from PIL import Image
from transformers import AutoProcessor
from vllm.exceptions import VLLMClientError
from vllm.outputs import CompletionOutput, RequestOutput
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError

from services.rollout.engine import request
from services.rollout.engine.grids import Grid, GridMemory
from services.rollout.failures import EngineDead, SamplingFailed, Unanswerable
from shared.config import Config
from shared.errors import UserError
from shared.prompting import render, special_token_in
from shared.sample import IMAGE_TAG
from shared.wire.image_store import ImageStore
from shared.wire.messages import (
    PolicyVersion,
    PromptTask,
    Response,
    SamplingSettings,
    TrajectoryBatch,
    VersionSpan,
    impossible_logprob,
)


class Sampler:
    """Turns prompt tasks into trajectories with one engine."""

    def __init__(self, engine: AsyncLLM, config: Config, images: ImageStore, node: str) -> None:
        self._engine = engine
        self._instruction = config.data.instruction
        self._images = images
        self._node = node
        self._processor = AutoProcessor.from_pretrained(
            config.model.path, trust_remote_code=config.model.trust_remote_code
        )
        self._grids = GridMemory()

    async def sample(self, task: PromptTask, priority: int = 0) -> TrajectoryBatch:
        """Answer `task` ``task.n`` times; the same seed and policy give the same answers.

        Args:
            priority: of two tasks that wait for the engine, it begins the one with the smaller.

        Raises:
            Unanswerable: when the prompt is too long or holds a special token, its tags do not
                match its images, or an image cannot be decoded.
            ImageMissing: when an image is not in the store.
            SamplingFailed: when the engine gave up.
            EngineDead: when it has ended.
        """
        tags = task.question.count(IMAGE_TAG)
        if tags != len(task.images):
            # The engine would take it, with placeholders that no image stands behind.
            raise Unanswerable(f"{tags} {IMAGE_TAG} tags for {len(task.images)} images")
        if token := special_token_in(self._processor, task.question):
            raise Unanswerable(f"the question holds the model's special token {token}")
        try:
            pictures = await self._images.get(list(task.images))
        except UserError as error:
            raise Unanswerable(str(error)) from None
        began = time.monotonic()
        output, grids = await self._generate(task, pictures, priority)
        return TrajectoryBatch(
            task=task,
            node=self._node,
            prompt_token_ids=np.array(output.prompt_token_ids, dtype=np.int32),
            image_grids=grids,
            responses=tuple(self._response(one) for one in output.outputs),
            sampled_s=time.monotonic() - began,
        )

    async def warm_up(self) -> None:
        """Answer one small question with an image: the first request takes seconds."""
        settings = SamplingSettings(temperature=1.0, top_p=1.0, max_tokens=2)
        picture = Image.new("RGB", (56, 56))
        parameters = sampling_parameters(settings, n=1, seed=0)
        await self._run("<image>", [picture], ["warm-up"], parameters)

    async def _generate(
        self, task: PromptTask, pictures: list[Image.Image], priority: int
    ) -> tuple[RequestOutput, tuple[Grid, ...]]:
        parameters = sampling_parameters(task.sampling, task.n, task.seed)
        try:
            return await self._run(task.question, pictures, list(task.images), parameters, priority)
        except VLLMClientError as error:
            raise Unanswerable(str(error)) from None
        except EngineDeadError as error:
            raise EngineDead(str(error)) from error

    async def _run(
        self,
        question: str,
        pictures: list[Image.Image],
        names: list[str],
        parameters: SamplingParams,
        priority: int = 0,
    ) -> tuple[RequestOutput, tuple[Grid, ...]]:
        """The finished output, and how each image was cut."""
        text = render(self._processor, question, self._instruction)
        prepared = await request.prepare(self._engine, text, pictures, names)
        processed = prepared["mm_kwargs"]["image"] if pictures else ()
        grids = self._grids.of(names, processed)
        return await request.generate(self._engine, prepared, parameters, priority), grids

    def _response(self, output: CompletionOutput) -> Response:
        if output.finish_reason not in ("stop", "length"):
            raise SamplingFailed(f"the engine ended a response with '{output.finish_reason}'")
        assert output.logprobs is not None and output.weight_versions is not None
        # With logprobs=0 there is one entry a token: its own.
        logprobs = np.array(output.logprobs.logprobs, dtype=np.float32)
        strange = impossible_logprob(logprobs)
        if strange is not None:
            # Another node's engine may be sound; where none is, the task becomes a dead letter.
            raise SamplingFailed(f"the engine gave a sampled token the log-probability {strange:g}")
        return Response(
            token_ids=np.array(output.token_ids, dtype=np.int32),
            logprobs=logprobs,
            versions=tuple(
                VersionSpan(version=PolicyVersion.parse(span.version), tokens=span.end - span.start)
                for span in output.weight_versions
            ),
            text=self._text(output),
            finish_reason=output.finish_reason,
        )

    def _text(self, output: CompletionOutput) -> str:
        """What the reward service grades: without the token that ended the response."""
        ended = output.finish_reason == "stop"
        ids = output.token_ids[:-1] if ended else output.token_ids
        return str(self._processor.tokenizer.decode(ids, skip_special_tokens=True))


def sampling_parameters(settings: SamplingSettings, n: int, seed: int) -> SamplingParams:
    """The engine's parameters; response k is drawn with seed ``seed + k``."""
    return SamplingParams(
        n=n,
        seed=seed,
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        logprobs=0,
        flat_logprobs=True,
        # The answer is decoded once, at its end: token by token costs the front end four times as
        # much as all of its other work.
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
