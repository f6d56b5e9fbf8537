"""The demo's tiny Qwen2.5-VL: its prompts, its tokens, its size, and that it can be reloaded."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLProcessor

from perl_rl.demo.digits import digits, picture, questions, worked_answer
from perl_rl.demo.model import INSTRUCTION, build_model, build_processor, save
from perl_rl.demo.teach import Lesson, teach
from shared.permutation import RenderedOrder, identity
from shared.prompting import render
from tests.greedy import answer


@pytest.fixture(scope="module")
def processor() -> Qwen2_5_VLProcessor:
    return build_processor()


@pytest.fixture(scope="module")
def saved(processor: Qwen2_5_VLProcessor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(build_model(processor, seed=3), processor, folder)
    return folder


def test_the_prompt_is_one_user_turn_in_qwens_words(processor: Qwen2_5_VLProcessor) -> None:
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    assert render(processor, "First <image> second <image>?", INSTRUCTION) == (
        f"<|im_start|>user\nFirst {image} second {image}?\n{INSTRUCTION}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_an_image_becomes_four_tokens(processor: Qwen2_5_VLProcessor) -> None:
    scans = [digits().scans[index] for index in (0, 1, 2)]
    inputs = processor(
        text=[render(processor, "<image><image><image>", INSTRUCTION)],
        images=[[picture(scan) for scan in scans]],
        return_tensors="pt",
    )
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]] * 3
    assert int((inputs["input_ids"] == processor.image_token_id).sum()) == 12


def test_any_text_comes_back_from_its_tokens(processor: Qwen2_5_VLProcessor) -> None:
    tokenizer = processor.tokenizer
    texts = ["naïve 日本 \t\n {}", *(worked_answer(q) for q in questions(30, range(50), 1.0, "t"))]
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_worked_answers_are_short(processor: Qwen2_5_VLProcessor) -> None:
    lengths = [
        len(processor.tokenizer(worked_answer(question))["input_ids"])
        for question in questions(60, digits().train, 1.0, "lengths")
    ]
    assert max(lengths) <= 15


def test_the_saved_folder_is_small_and_loads_to_the_same_answers(
    saved: Path, processor: Qwen2_5_VLProcessor
) -> None:
    size = sum(path.stat().st_size for path in saved.rglob("*"))
    assert size <= 8_000_000
    model = AutoModelForImageTextToText.from_pretrained(saved, dtype=torch.float32).eval()
    reloaded = AutoProcessor.from_pretrained(saved)
    original = build_model(processor, seed=3).eval()
    with torch.no_grad():
        for weight in original.parameters():
            weight.copy_(weight.to(torch.bfloat16))
    asked = next(questions(1, digits().held_out, 1.0, "reload"))
    images = [[picture(digits().scans[index]) for index in asked.digits]]
    logits = []
    for one, made in ((model, reloaded), (original, processor)):
        text = [render(made, asked.text, INSTRUCTION)]
        logits.append(one(**made(text=text, images=images, return_tensors="pt")).logits)
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_building_twice_gives_the_same_model_and_tokenizer(saved: Path) -> None:
    again = build_processor()
    assert again.tokenizer.get_vocab() == AutoProcessor.from_pretrained(saved).tokenizer.get_vocab()
    first, second = build_model(again, seed=3), build_model(again, seed=3)
    assert all(
        torch.equal(one, two)
        for one, two in zip(first.parameters(), second.parameters(), strict=True)
    )


@pytest.mark.slow
def test_lessons_lower_the_loss_and_are_reproducible(processor: Qwen2_5_VLProcessor) -> None:
    losses: list[list[float]] = []
    for _ in range(2):
        model = build_model(processor, seed=0)
        heard: list[float] = []
        lesson = Lesson(steps=6, questions=4, skew=1.0, rate=2e-3)
        teach(model, processor, lesson, seed=0, progress=lambda _, loss, to=heard: to.append(loss))
        losses.append(heard)
    assert losses[0] == losses[1]
    assert losses[0][-1] < losses[0][0]


def test_greedy_answers_keep_the_order_asked_and_do_not_depend_on_the_batch(
    saved: Path, processor: Qwen2_5_VLProcessor, tmp_path: Path
) -> None:
    model = AutoModelForImageTextToText.from_pretrained(saved, dtype=torch.float32).eval()
    asked = []
    for number, question in enumerate(questions(6, digits().held_out, 1.0, "batch")):
        files = []
        for slot, index in enumerate(question.digits):
            files.append(str(tmp_path / f"{number}-{slot}.png"))
            picture(digits().scans[index]).save(files[-1])
        order = identity(len(files))
        asked.append(
            RenderedOrder(question=question.text, images=tuple(files), answer="", permutation=order)
        )
    together = answer(model, processor, asked, INSTRUCTION, max_tokens=6)
    alone = [answer(model, processor, [one], INSTRUCTION, max_tokens=6)[0] for one in asked]
    assert together == alone
