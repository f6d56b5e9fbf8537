"""A model's card, and its way to the Hub: the real library uploads to a scripted server."""

import json
from pathlib import Path

import pytest
import yaml

from perl_rl.cli.main import main
from perl_rl.export.card import card
from shared.config import Config
from shared.records.evaluations import evaluation_file
from tests.paths import START_MODEL
from tests.scripted_hub import ScriptedHub


def config(**changes: object) -> Config:
    settings: dict = {
        "run": "pairs",
        "seed": 7,
        "trainer": {"groups_per_step": 4},
        "model": {"path": START_MODEL},
        "data": {"train": "/secret/place/train.jsonl", "instruction": "Think.\nThen answer."},
    }
    return Config.model_validate(settings | changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of two steps, evaluated at its start and after step 2."""
    folder = tmp_path / "run"
    (folder / "evaluations").mkdir(parents=True)
    rows = [{"step": step, "samples": 32} for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step, value in ((0, 0.25), (2, 0.75)):
        figure = {"value": value, "low": value - 0.1, "high": value + 0.1}
        content = dict.fromkeys(("accuracy", "worst_case", "flip_rate"), figure)
        text = json.dumps(content | {"items": 24, "most_orders": 6})
        evaluation_file(folder, step).write_text(text)
    return folder


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_says_what_the_model_is_and_how_it_does(run: Path) -> None:
    text = card(run, config(), 2)
    assert header(text)["base_model"] == START_MODEL.name
    assert "| accuracy | 0.250 [0.150, 0.350] | 0.750 [0.650, 0.850] |" in text
    assert "24 held-out questions, each in up to 6 orders" in text
    # Step 3 came after it.
    assert "| responses trained on | 64 |" in text and "| seed | 7 |" in text
    assert "> Think.\n> Then answer." in text
    assert "`train.jsonl` (format samples)" in text and "/secret" not in text


def test_a_card_without_an_evaluation_says_so(run: Path) -> None:
    assert "This checkpoint was not evaluated" in card(run, config(), 1)


def test_data_of_the_hub_is_named_for_the_hub(run: Path) -> None:
    sources = [
        {"path": f"hf://digits/pairs@{ScriptedHub.commit}:easy/train", "format": "easyr1"},
        {"path": "own.jsonl", "weight": 2},
    ]
    text = card(run, config(data={"train": sources}), 2)
    assert header(text)["datasets"] == ["digits/pairs"]
    assert f"`hf://digits/pairs@{ScriptedHub.commit}:easy/train` (format easyr1, weight 1)" in text


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "README.md", "model.safetensors"):
        (folder / name).write_text(f"content of {name}")
    return folder


def test_a_model_is_pushed_with_its_card(model: Path, monkeypatch, capsys) -> None:
    hub = ScriptedHub({})
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 8)
    with hub.serving() as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", address)
        assert main(["push", str(model), "me/pairs"]) == 0
        assert f"pushed {model} to me/pairs: {address}/me/pairs/commit/" in capsys.readouterr().out
        assert hub.visibility == "private"
        assert main(["push", str(model), "me/pairs", "--public"]) == 0
    assert hub.visibility == "public"
    assert hub.pushed == {file.name: file.read_bytes() for file in model.iterdir()}


@pytest.mark.parametrize(
    ("repository", "said"),
    [
        ("pairs", "'pairs' is no repository of the Hub; write owner/name"),
        ("me/pairs", "nobody is logged in to the Hub; run hf auth login, or set HF_TOKEN"),
    ],
)
def test_what_keeps_a_model_from_the_hub_is_said(
    repository: str, said: str, model: Path, monkeypatch, capsys, tmp_path
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    assert main(["push", str(model), repository]) == 2
    assert said in capsys.readouterr().err


def test_a_hub_out_of_reach_is_one_line(model: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_" + "x" * 8)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", str(model), "me/pairs"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("perl-rl: error: push: me/pairs: ") and said.count("\n") == 1


def test_what_is_no_model_is_not_pushed(tmp_path: Path, capsys) -> None:
    assert main(["push", str(tmp_path), "me/pairs"]) == 2
    assert "holds no model (config.json)" in capsys.readouterr().err
