"""The demo's report: the table, the picture, and metrics that lack some keys."""

import json
from pathlib import Path

import pytest
from PIL import Image

from perl_rl.eval.robustness import OrderRobustness, item_answers, measure_robustness
from perl_rl.report.page import write_report
from shared.permutation import all_orders, answer_under
from shared.sample import Sample

SAMPLES = [
    Sample(
        id=str(number),
        question="First <image> second <image>: which is larger?",
        images=("0.png", "1.png"),
        answer="first",
        kind="position",
        order="position",
        source="place",
    )
    for number in range(8)
]


def answered(biased: int) -> OrderRobustness:
    """A model that says "first" to the first `biased` samples and is right on the rest."""
    items = []
    for number, sample in enumerate(SAMPLES):
        orders = all_orders(2)
        words = [
            "first" if number < biased else answer_under(sample.answer, sample, order)
            for order in orders
        ]
        items.append(item_answers(sample, orders, [f"\\boxed{{{word}}}" for word in words]))
    return measure_robustness(items, {})


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    file = tmp_path / "metrics.jsonl"
    rows = [{"step": step, "reward": 0.5 + step / 100, "kl": None} for step in range(1, 31)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_the_table_holds_both_models_and_goes_into_the_file(tmp_path: Path, metrics: Path) -> None:
    text = write_report(tmp_path, answered(biased=8), answered(biased=2), metrics)
    rows = {line.split("  ")[0]: line for line in text.splitlines()}
    assert "0.500 [0.500, 0.500]" in rows["accuracy over all orders"]
    assert "0.875 [" in rows["accuracy over all orders"]
    assert "1.000 [1.000, 1.000]" in rows["flip rate"]
    assert "0.250 [" in rows["flip rate"]
    assert rows["accuracy, gold image in place 2"].split()[-2:] == ["0.000", "0.750"]
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "8 held-out questions, 16 prompts" in written
    assert "| flip rate | 1.000 [1.000, 1.000] |" in written
    assert "![before and after](report.png)" in written


def test_the_picture_grows_by_a_row_of_curves_only_when_there_are_metrics(
    tmp_path: Path, metrics: Path
) -> None:
    heights = []
    for name, file in (("with", metrics), ("without", tmp_path / "absent.jsonl")):
        folder = tmp_path / name
        folder.mkdir()
        write_report(folder, answered(8), answered(0), file)
        with Image.open(folder / "report.png") as picture:
            heights.append(picture.height)
    assert heights[0] > 1.5 * heights[1]


def test_a_report_read_back_from_its_file_is_the_same() -> None:
    original = answered(3)
    assert OrderRobustness.model_validate_json(original.model_dump_json()) == original
