"""TRL's side of `bench.trl`, in the environment that ``make bench-trl`` makes.

It runs by its path, so that it imports nothing of the project. It prints one JSON line a step.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from datasets import Dataset
from PIL import Image
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration, TrainerCallback

from trl import GRPOConfig, GRPOTrainer


class Clock(TrainerCallback):
    """Prints how long each step took."""

    def __init__(self) -> None:
        self.began = 0.0
        self.tokens: list[int] = []

    def on_step_begin(self, *_: object, **__: object) -> None:
        self.began = time.monotonic()

    def on_step_end(self, *_: object, **__: object) -> None:
        line = {"seconds": time.monotonic() - self.began, "tokens": self.tokens}
        print(json.dumps(line), flush=True)
        self.tokens = []


def main() -> None:
    """Train for some steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=Path, help="JSON")
    given = json.loads(parser.parse_args().settings.read_text())
    processor = AutoProcessor.from_pretrained(given["model"])
    dtype = getattr(torch, given["dtype"])
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(given["model"], dtype=dtype)
    clock = Clock()

    def reward(completion_ids: list[list[int]], answer: list[str], **_: object) -> list[float]:
        clock.tokens = [len(one) for one in completion_ids]
        texts = processor.tokenizer.batch_decode(completion_ids, skip_special_tokens=True)
        return [float(f"{{{gold}}}" in text) for text, gold in zip(texts, answer, strict=True)]

    samples = given["prompts"] * given["responses"]
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=given["out"],
            per_device_train_batch_size=samples,
            num_generations=given["responses"],
            max_completion_length=given["max_tokens"],
            max_steps=given["steps"],
            learning_rate=given["learning_rate"],
            beta=given["kl_coef"],
            temperature=1.0,
            bf16=given["dtype"] == "bfloat16",
            use_cpu=not torch.cuda.is_available(),
            gradient_checkpointing=False,
            save_strategy="no",
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=_dataset(given),
        processing_class=processor,
        callbacks=[clock],
    )
    trainer.train()


def _dataset(given: dict) -> Dataset:
    rows = [json.loads(line) for line in Path(given["data"]).read_text().splitlines()]
    folder = Path(given["data"]).parent
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": _question(row, given["instruction"])}],
                "images": [Image.open(folder / name).convert("RGB") for name in row["images"]],
                "answer": row["answer"],
            }
            for row in rows[: given["prompts"] * given["steps"]]
        ]
    )


def _question(row: dict, instruction: str) -> str:
    return f"{row['question'].replace('<image>', '')}\n{instruction}"


if __name__ == "__main__":
    main()
