"""The demo's report: the table, the picture, and metrics that lack some keys."""

import json
from pathlib import Path

import pytest
from PIL import Image

from perl_rl.eval.heldout import HeldOutResult
from perl_rl.eval.robustness import OrderRobustness, item_answers, measure_robustness
from perl_rl.report.page import report_on, write_report
from shared.errors import UserError
from shared.permutation import all_orders, answer_under
from shared.records.evaluations import Asked, evaluation_file
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
    assert rows["place: flip rate"].split()[-2:] == ["1.000", "0.250"]
    written = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "8 held-out questions, 16 prompts" in written
    assert "| flip rate | 1.000 [1.000, 1.000] |" in written
    assert "![before and after](report.png)" in written


def test_questions_without_a_source_are_called_so(tmp_path: Path, metrics: Path) -> None:
    before, after = answered(biased=8), answered(biased=2)
    for one in (before, after):
        one.by_source[""] = one.by_source.pop("place")
    text = write_report(tmp_path, before, after, metrics)
    assert "\nno source: flip rate" in text and "\n: " not in text


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


ASKED = Asked(questions=8, prompts=16, orders=2, max_tokens=9, digest="ab" * 32)


def write(file: Path, biased: int, asked: Asked = ASKED, versions: tuple[str, ...] = ()) -> None:
    result = HeldOutResult(**dict(answered(biased)), asked=asked, versions=versions)
    file.parent.mkdir(exist_ok=True)
    file.write_text(result.model_dump_json())


def test_evaluations_while_training_are_a_table_and_a_curve(tmp_path: Path, metrics: Path) -> None:
    write(tmp_path / "eval-before.json", 8)
    write(tmp_path / "eval-after.json", 0)
    for step, biased in ((0, 8), (30, 0)):
        write(evaluation_file(tmp_path, step), biased)
    report_on(tmp_path, "it")
    assert "While training" not in (tmp_path / "report.md").read_text()
    write(evaluation_file(tmp_path, 10), 4, versions=("1.10", "1.12"))
    report_on(tmp_path, "it")
    rows = (tmp_path / "report.md").read_text().split("## While training")[1].splitlines()
    assert rows[2].startswith("| step | accuracy over all orders |")
    assert rows[5].startswith("| 10 | 0.750 [") and rows[5].endswith("| 1.10 to 1.12 |")
    assert [row.split(" ")[1] for row in rows[4:7]] == ["0", "10", "30"]


@pytest.mark.parametrize("odd", ["eval-before.json", "evaluations/step-000010.json"])
def test_evaluations_of_other_questions_are_refused_with_both_facts(tmp_path: Path, odd) -> None:
    for name in ("eval-before.json", "eval-after.json", "evaluations/step-000010.json"):
        write(tmp_path / name, 4)
    other = Asked(questions=8, prompts=40, orders=5, max_tokens=9, digest="cd" * 32)
    write(tmp_path / odd, 4, asked=other)
    with pytest.raises(UserError) as refused:
        report_on(tmp_path, "it")
    said = str(refused.value)
    assert f"{tmp_path / odd} and {tmp_path / 'eval-after.json'} asked different things" in said
    assert "8 questions in up to 5 orders, 40 prompts, answers of up to 9 tokens" in said
    assert "8 questions in up to 2 orders, 16 prompts, answers of up to 9 tokens" in said
    (tmp_path / odd).write_text("{}")
    with pytest.raises(UserError, match=r"is no evaluation \(.*; delete it and run perl-rl report"):
        report_on(tmp_path, "it")


def test_a_report_read_back_from_its_file_is_the_same() -> None:
    original = answered(3)
    assert OrderRobustness.model_validate_json(original.model_dump_json()) == original
