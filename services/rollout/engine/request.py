"""One request to the engine: a prompt with its images, and the engine's finished output.

The rollout node and ``perl-rl eval`` both ask through here, so the two see the same prompts.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from PIL import Image
from vllm.outputs import RequestOutput
from vllm.renderers.inputs.preprocess import parse_model_prompt
from vllm.sampling_params import SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from services.rollout.failures import SamplingFailed


async def prepare(
    engine: AsyncLLM, text: str, pictures: Sequence[Image.Image], names: Sequence[str]
) -> Any:
    """The engine's own input for a prompt: tokens, and its images as its processor cut them.

    Args:
        text: the rendered prompt, with one placeholder for each image.
        names: of the pictures; equal names must mean equal pictures.

    Raises:
        VLLMClientError: when the engine refuses the prompt, for example as too long.
    """
    # Text and not ids: the engine would expand the image tokens a second time.
    prompt: dict[str, Any] = {"prompt": text}
    if pictures:
        prompt["multi_modal_data"] = {"image": list(pictures)}
        # With a name, the engine need not hash the pixels.
        prompt["multi_modal_uuids"] = {"image": list(names)}
    parsed = parse_model_prompt(engine.model_config, prompt)
    [prepared] = await engine.renderer.render_cmpl_async([parsed])
    return prepared


async def generate(
    engine: AsyncLLM, prepared: Any, parameters: SamplingParams, priority: int = 0
) -> RequestOutput:
    """The finished output for what `prepare` returned.

    Args:
        priority: the engine takes up waiting requests with a smaller one first.

    Raises:
        SamplingFailed: when the engine ends the request without an answer.
        VLLMClientError: when it refuses the request.
        EngineDeadError: when the engine has ended.
    """
    final: RequestOutput | None = None
    async for output in engine.generate(prepared, parameters, uuid.uuid4().hex, priority=priority):
        final = output
    if final is None or not final.finished:
        raise SamplingFailed("the engine ended a request without its answer")
    return final
