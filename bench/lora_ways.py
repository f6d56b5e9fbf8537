"""Two ways to sample with an adapter: vLLM's own LoRA, and an adapter added to the weights.

    python -m bench.lora_ways [--prompts 24] [--rank 16] [--dtype bfloat16] [--json FILE]

The demo's model with a random adapter in every language layer answers the demo's questions, each
way in an engine of its own. Printed are the tokens per second, and how far the sampled tokens'
log-probabilities are from those that transformers and peft give, where the adapter stays beside the
weights as in the trainer. For comparison: the merged model in both, which is what training all
weights has.
"""

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from bench.weights import machine, say
from perl_rl.demo.digits import KINDS, ask, digits, picture
from perl_rl.demo.model import INSTRUCTION
from perl_rl.demo.run import CONFIG
from perl_rl.export.merge import write_merged
from services.rollout.engine.environment import prepare_environment
from services.trainer.compute.adapter_names import peft_name
from services.trainer.compute.lora import add_adapter, save_adapter
from shared.config import Config, load_config
from shared.prompting import render

Prompt = tuple[str, list[Any]]
Sampled = list[list[tuple[list[int], list[float]]]]
"""For each prompt, its responses: token ids and their log-probabilities."""

_COMPARED = 4
"""Responses of each prompt that are computed again."""


def main() -> None:
    """Print the figures and, with ``--json``, write them to a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--size", type=float, default=0.01, help="of B's numbers")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    prepare_environment()
    overrides = [f"model.lora.rank={options.rank}", f"model.lora.alpha={2 * options.rank}"]
    config = load_config(CONFIG, [*overrides, f"model.dtype={options.dtype}"])
    found: dict[str, Any] = {"machine": machine()}
    say("machine", found["machine"])
    with tempfile.TemporaryDirectory() as name:
        adapter, merged = Path(name) / "adapter", Path(name) / "merged"
        random_adapter(config, adapter, options.size)
        write_merged(config, adapter, getattr(torch, options.dtype), merged)
        prompts = questions(config.model.path, options.prompts)
        beside, speed = sampled(config, config.model.path, prompts, adapter)
        added, other_speed = sampled(config, merged, prompts)
        peft_model, merged_model = models(config, adapter, merged)
        found["vLLM's LoRA"] = {"tokens_per_s": speed} | apart(peft_model, prompts, beside)
        found["added"] = {"tokens_per_s": other_speed} | apart(peft_model, prompts, added)
        found["whole weights"] = apart(merged_model, prompts, added)
    for stage in ("vLLM's LoRA", "added", "whole weights"):
        say(stage, found[stage])
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


def random_adapter(config: Config, folder: Path, size: float) -> None:
    """Write an adapter that changes the model, with its processor."""
    dtype = getattr(torch, config.model.dtype)
    model = AutoModelForImageTextToText.from_pretrained(config.model.path, dtype=torch.float32)
    add_adapter(model, config)
    torch.manual_seed(0)
    tensors = {}
    for name, one in model.named_parameters():
        if one.requires_grad:
            number = size * torch.randn_like(one) if "lora_B" in name else one.detach()
            tensors[peft_name(name)] = number.to(dtype)
    save_adapter(folder, config, tensors)
    AutoProcessor.from_pretrained(config.model.path).save_pretrained(folder)


def questions(model: Path, count: int) -> list[Prompt]:
    """The demo's questions as the sampler renders them, with their pictures."""
    processor, rng = AutoProcessor.from_pretrained(model), random.Random(5)
    asked = [ask(KINDS[number % len(KINDS)], digits().train, 1.0, rng) for number in range(count)]
    return [
        (
            render(processor, one.text, INSTRUCTION),
            [picture(digits().scans[index]) for index in one.digits],
        )
        for one in asked
    ]


def sampled(
    config: Config, model: Path, prompts: list[Prompt], adapter: Path | None = None
) -> tuple[Sampled, float]:
    """What an engine answers, and its tokens per second."""
    lora = {} if adapter is None else {"enable_lora": True, "max_lora_rank": 64, "max_loras": 1}
    engine = LLM(
        str(model),
        dtype=config.model.dtype,
        max_model_len=config.rollout.engine.max_model_len,
        max_num_seqs=config.rollout.engine.max_num_seqs,
        limit_mm_per_prompt={"image": 4, "video": 0},
        enforce_eager=True,
        kv_cache_memory_bytes=2**29,
        enable_chunked_prefill=False,
        logprobs_mode="processed_logprobs",
        generation_config="vllm",
        **lora,
    )
    request = None if adapter is None else LoRARequest("adapter", 1, str(adapter))
    inputs: Any = [
        {"prompt": text, "multi_modal_data": {"image": images}} for text, images in prompts
    ]
    rest: dict[str, Any] = {"lora_request": request, "use_tqdm": False}
    engine.generate(inputs[:2], SamplingParams(max_tokens=4, seed=1), **rest)  # warm
    parameters = SamplingParams(n=12, temperature=1.0, max_tokens=24, logprobs=0, seed=7)
    began = time.monotonic()
    outputs = engine.generate(inputs, parameters, **rest)
    seconds = time.monotonic() - began
    found: Sampled = [[_response(one) for one in output.outputs] for output in outputs]
    tokens = sum(len(ids) for responses in found for ids, _ in responses)
    return found, tokens / seconds


def _response(output: Any) -> tuple[list[int], list[float]]:
    ids = list(output.token_ids)
    return ids, [at[token].logprob for at, token in zip(output.logprobs, ids, strict=True)]


def models(config: Config, adapter: Path, merged: Path) -> tuple[Any, Any]:
    """The model with the adapter beside its weights, and the one with whole weights."""
    dtype = getattr(torch, config.model.dtype)
    start, whole = (
        AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype)
        for folder in (config.model.path, merged)
    )
    return PeftModel.from_pretrained(start, adapter, autocast_adapter_dtype=False), whole


@torch.no_grad()
def apart(model: Any, prompts: list[Prompt], answers: Sampled) -> dict[str, float]:
    """Mean and largest absolute difference of log-probabilities, in nats a token."""
    processor = AutoProcessor.from_pretrained(load_config(CONFIG).model.path)
    found = []
    for (text, images), responses in zip(prompts, answers, strict=True):
        seen = processor(text=[text], images=images, return_tensors="pt")
        start = seen["input_ids"].shape[1]
        for ids, logprobs in responses[:_COMPARED]:
            chosen = torch.tensor(ids)
            whole = torch.cat([seen["input_ids"], chosen[None]], 1)
            types = torch.zeros_like(whole)
            types[:, :start] = seen["mm_token_type_ids"]
            logits = model(
                input_ids=whole,
                attention_mask=torch.ones_like(whole),
                pixel_values=seen["pixel_values"].to(model.dtype),
                image_grid_thw=seen["image_grid_thw"],
                mm_token_type_ids=types,
            ).logits[0, start - 1 : -1]
            own = logits.float().log_softmax(-1).gather(-1, chosen[:, None])[:, 0]
            found.append((own - torch.tensor(logprobs)).abs())
    every = torch.cat(found)
    return {"mean": float(every.mean()), "largest": float(every.max())}


if __name__ == "__main__":
    main()
