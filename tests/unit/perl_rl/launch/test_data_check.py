"""What the run could not ask is refused before it starts, with file and row; what passes is asked.

The prompts are rendered by the demo's real tokenizer and image processor.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers import AutoProcessor

from perl_rl.cli.main import main
from perl_rl.launch.data_check import skipping_notes
from perl_rl.launch.prompts import Job, Prompt, Said, check_prompts
from shared.config import Config, ModelConfig
from shared.errors import UserError
from shared.families import FAMILIES
from shared.prompting import render, special_token_in
from tests.family_models import family_processor
from tests.paths import ROOT, START_MODEL

pytestmark = pytest.mark.slow

ROW: dict[str, Any] = {
    "id": "one",
    "question": "<image>\nWhich digit is this?",
    "images": ["plain.png"],
    "answer": "3",
    "kind": "number",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (112, 112), "white").save(tmp_path / "plain.png")
    Image.new("RGB", (6000, 25)).save(tmp_path / "thin.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "plain.png").read_bytes()[:90])
    return tmp_path


def check(folder: Path, *rows: dict[str, Any], settings: tuple[str, ...] = ()) -> int:
    file = folder / "train.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    ports = ("trainer.port=0", "reward.port=0", "rollout.port=0")
    data = (f"data.train={file}", "data.heldout=null", "data.prepare=null", *ports, *settings)
    config = str(ROOT / "configs" / "demo.yaml")
    return main(["check", config, "--run-dir", str(folder / "run"), "--set", *data])


def test_good_samples_pass_and_the_longest_prompt_is_told(folder, capsys):
    other = ROW | {"id": "two", "question": ROW["question"] + " Say it in one word."}
    assert check(folder, ROW, other, ROW | {"id": "again"}) == 0
    out, err = capsys.readouterr()
    assert "data: 3 questions and 1 picture checked, the longest prompt has " in out
    assert "prompts: 2 of 2" in err, "equal prompts are rendered once"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"question": "<image>\n" + "word " * 2000},
            "more than 488 (rollout.engine.max_model_len 512 less sampling.max_tokens 24)",
        ),
        ({"images": ["thin.png"]}, "6000x25 pixels, one side more than 200 times the other"),
        (
            {"question": "<image>\nWhich digit follows <|image_pad|>?"},
            "the question holds the model's special token <|image_pad|>",
        ),
        ({"images": ["cut.png"]}, "cannot be decoded (image file is truncated"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_file_and_row(folder, capsys, changes, named):
    assert check(folder, ROW, ROW | {"id": "bad"} | changes) == 2
    err = capsys.readouterr().err
    [line] = [line for line in err.splitlines() if line.startswith("perl-rl: error: ")]
    assert f"{folder / 'train.jsonl'}, line 2, " in line
    assert named in line and len(line) < 500


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (None, "does not have a chat template"),
        ("{% if %}", "Expected an expression"),
        ("{{ raise_exception('one turn is too few') }}", "one turn is too few"),
    ],
)
def test_a_chat_template_that_cannot_be_used_is_named_in_one_line(
    folder, tmp_path, capsys, template, why
):
    model = tmp_path / "model"
    shutil.copytree(START_MODEL, model)
    file = model / "chat_template.jinja"
    file.unlink() if template is None else file.write_text(template)
    assert check(folder, ROW, settings=(f"model.path={model}",)) == 2
    said = capsys.readouterr().err
    assert f"perl-rl: error: model.path {model}: its chat template cannot be used (" in said
    assert why in said and "Traceback" not in said


def test_a_damaged_tokenizer_is_named_in_one_line(folder, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    for file in START_MODEL.iterdir():
        text = b"{" if file.name == "tokenizer.json" else file.read_bytes()
        (model / file.name).write_bytes(text)
    assert check(folder, ROW, settings=(f"model.path={model}",)) == 2
    assert f"model.path {model}: its tokenizer and image processor" in capsys.readouterr().err


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(START_MODEL)


def prompt(question: str, *sizes: tuple[int, int], room: int = 488) -> Prompt:
    return Prompt(place="row 1", question=question, sizes=sizes, room=room, room_of="a less b")


def longest(*prompts: Prompt, instruction: str = "Think.", **model: Any) -> int:
    settings = ModelConfig.model_validate({"path": START_MODEL} | model)
    return max(check_prompts(Job(model=settings, instruction=instruction, prompts=prompts)))


SIZES = [(112, 112), (28, 28), (56, 300), (1000, 20), (1, 1), (1, 200), (37, 91)]


@pytest.mark.parametrize("bounds", [{}, {"max_pixels": 6272}])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_is_as_long_as_the_processor_makes_it(tmp_path, family, bounds):
    processor = family_processor(family)
    processor.save_pretrained(tmp_path)
    bounded = AutoProcessor.from_pretrained(tmp_path, **bounds)
    question = "<image>" * len(SIZES) + " Which one?"
    pictures = [Image.fromarray(np.zeros((*size, 3), np.uint8)) for size in SIZES]
    text = render(processor, question, "Think.")
    whole = bounded(text=[text], images=pictures)["input_ids"][0]
    assert longest(prompt(question, *SIZES), path=tmp_path, **bounds) == len(whole)


def test_the_limit_itself_is_allowed(processor):
    text = render(processor, "How many?", "Think.")
    length = len(processor.tokenizer(text)["input_ids"])
    assert longest(prompt("How many?", room=length)) == length
    with pytest.raises(UserError, match=rf"its prompt has {length} tokens, more than {length - 1}"):
        longest(prompt("How many?", room=length - 1))


@pytest.mark.parametrize(
    "token",
    ["<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|vision_start|>", "<|video_pad|>"],
)
def test_every_special_token_in_a_question_is_refused(token):
    with pytest.raises(UserError, match="row 1: the question holds the model's special token") as e:
        longest(prompt(f"What does {token} mean?"))
    assert token in str(e.value)


@pytest.mark.parametrize(
    "text", ["<image> <image>", "a <| b |> c", "<|image_pad >", "<think> so </think>", "<im_end>"]
)
def test_text_that_only_looks_like_a_special_token_is_none(processor, text):
    assert special_token_in(processor, text) is None


def test_the_first_special_token_is_named(processor):
    assert special_token_in(processor, "a <|im_end|> b <|image_pad|>") == "<|im_end|>"


def test_a_special_token_in_the_instruction_is_refused():
    with pytest.raises(UserError, match=r"data\.instruction: holds the model's special token"):
        longest(prompt("How many?"), instruction="End with <|im_end|>.")


def test_an_image_that_the_processor_refuses_is_named():
    with pytest.raises(UserError, match=r"processor refuses image 2, of 6000x25 pixels \(.*ratio"):
        longest(prompt("<image><image>?", (112, 112), (25, 6000)))


def test_it_says_how_far_it_is():
    said: list[Said] = []
    prompts = tuple(prompt(f"{number}?") for number in range(150))
    check_prompts(
        Job(model=ModelConfig(path=START_MODEL), instruction="", prompts=prompts), said.append
    )
    assert [len(one.lengths) for one in said] == [64, 64, 22]
    assert {one.refused for one in said} == {None}


def test_a_run_that_may_end_within_its_first_epoch_is_told_so():
    def config(target: float | None) -> Config:
        return Config.model_validate(
            {
                "run": "test",
                "model": {"path": "model"},
                "data": {"train": "train.jsonl", "skipping": {"target": target}},
                "trainer": {"steps": 10, "groups_per_step": 4},
            }
        )

    assert list(skipping_notes(config(0.25), 41)) == [
        "data.skipping: nothing is skipped within the first epoch; this run trains 40 groups and "
        "has 41 questions"
    ]
    assert list(skipping_notes(config(0.25), 40)) == list(skipping_notes(config(None), 41)) == []
