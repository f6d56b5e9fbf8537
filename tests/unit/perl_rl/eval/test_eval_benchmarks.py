"""All benchmarks in their published shapes, answered by an oracle and at random."""

import math
from collections import defaultdict
from pathlib import Path

import pytest
from scipy.stats import binom

from perl_rl.eval.benchmarks import BENCHMARKS
from perl_rl.eval.items import Item
from perl_rl.eval.loading import load_items
from perl_rl.eval.models import Decoding
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.results import Result
from perl_rl.eval.run import Asking, evaluate
from shared.sample import IMAGE_TAG
from tests.benchmark_files import WRITERS, parquet, write_benchmark
from tests.scripted_model import Answerer, ScriptedModel, at_random, by_content, candidates

QUESTIONS = 280
GREEDY = Decoding("Answer in \\boxed{}.", 64)


def items_of(name: str, folder: Path, count: int = QUESTIONS) -> list[Item]:
    data = write_benchmark(name, folder / "data", count)
    return load_items(BENCHMARKS[name], data, Pictures(folder / "images"))


def run(name: str, items: list[Item], answerer: Answerer, folder: Path, **asking: object) -> Result:
    journal = folder / f"{answerer.__name__}.jsonl"
    model = ScriptedModel(answerer)
    return evaluate(
        BENCHMARKS[name], items, "scripted", model, Asking(GREEDY, **asking), journal, {}
    )


def test_there_is_a_writer_for_every_benchmark() -> None:
    assert WRITERS.keys() == BENCHMARKS.keys()
    assert sum(one.published for one in BENCHMARKS.values()) == 217 + 1901 + 11698 + 2600 + 2009 + (
        1000 + 3940 + 3040 + 2600 + 925
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_an_oracle_is_always_right_and_chance_is_chance(name: str, tmp_path: Path) -> None:
    items = items_of(name, tmp_path)
    assert len(items) >= 200
    assert all(item.sample.question.count(IMAGE_TAG) == len(item.sample.images) for item in items)

    oracle = run(name, items, by_content, tmp_path)
    wrong = [item.id for item in oracle.items if not item.right]
    assert wrong == []
    assert oracle.summary.score.value == 1.0
    assert oracle.summary.no_answer == 0

    within_chance(run(name, items, at_random, tmp_path))


def within_chance(result: Result) -> None:
    """Items of the same chance together, and the benchmark's own score."""
    chances = {item.id: 1 / len(candidates(item.answers[0].prompt)) for item in result.items}
    alike: dict[float, list[bool]] = defaultdict(list)
    by_task: dict[str, list[float]] = defaultdict(list)
    for item in result.items:
        alike[chances[item.id]].append(item.right)
        by_task[item.task].append(chances[item.id])
    for chance, rights in alike.items():
        low, high = binom.interval(0.999, len(rights), chance)
        assert low <= sum(rights) <= high, f"{sum(rights)} of {len(rights)} at {chance}"
    if result.summary.average == "micro":
        by_task = {"all": list(chances.values())}
    means = [sum(chances) / len(chances) for chances in by_task.values()]
    variances = [sum(p * (1 - p) for p in ps) / len(ps) ** 2 for ps in by_task.values()]
    expected = sum(means) / len(means)
    deviation = math.sqrt(sum(variances)) / len(means)
    assert abs(result.summary.score.value - expected) < 3.29 * deviation


@pytest.mark.slow
def test_scores_are_broken_down_as_published(tmp_path: Path) -> None:
    def summary(name: str, count: int = 56) -> Result:
        return run(name, items_of(name, tmp_path / name, count), by_content, tmp_path / name)

    blink = summary("blink").summary
    assert (blink.average, len(blink.tasks), blink.interval) == ("macro", 14, "bootstrap")
    assert (blink.items, blink.published_items) == (56, 1901)
    assert len(summary("remi").summary.tasks) == 13
    muir = summary("muirbench").summary
    assert (muir.average, len(muir.tasks)) == ("micro", 12)
    assert list(muir.groups["answerable"]) == ["yes"]
    assert list(summary("mirb").summary.tasks) == ["analogy", "count", "foods"]
    verse = summary("mathverse").summary
    assert list(verse.tasks) == sorted(
        ("Text Dominant", "Text Lite", "Vision Intensive", "Vision Dominant", "Vision Only")
    )
    vista = summary("mathvista").summary
    assert list(vista.groups["answer_type"]) == ["float", "integer", "list", "text"]
    math_of_several = summary("mv-math").summary
    assert list(math_of_several.groups["answer_type"]) == ["choice", "multi-step", "single-step"]
    assert math_of_several.step_accuracy is not None
    assert math_of_several.step_accuracy.value == 1.0


def test_a_wrong_step_costs_the_item_but_not_the_other_step(tmp_path: Path) -> None:
    items = [one for one in items_of("mv-math", tmp_path, 40) if one.rule == "steps"]

    def half_right(question: str, pictures: list[tuple[int, ...]], rng: object) -> str:
        return f"(1) {pictures[0][0]}; (2) {pictures[1][0] + 1}"

    summary = run("mv-math", items, half_right, tmp_path).summary
    assert (summary.items, summary.right) == (10, 0)
    assert summary.step_accuracy is not None
    assert summary.step_accuracy.value == 0.5


def test_macro_is_the_mean_of_tasks_and_micro_of_questions(tmp_path: Path) -> None:
    items = items_of("mmiu", tmp_path, 30)
    first = [item for item in items if item.sample.source == "task_0"]
    others = [item for item in items if item.sample.source == "task_2"][:2]

    def largest_only(question: str, pictures: list[tuple[int, ...]], rng: object) -> str:
        return by_content(question, pictures, rng) if "largest" in question else "none"

    summary = run("mmiu", [*first, *others], largest_only, tmp_path).summary
    assert (summary.items, summary.right, summary.no_answer) == (12, 10, 0)
    assert summary.score.value == 0.5
    assert summary.tasks["task_0"].accuracy.value == 1.0


def test_images_stand_where_the_text_names_them(tmp_path: Path) -> None:
    def texts(name: str) -> list[str]:
        return [item.sample.question for item in items_of(name, tmp_path / name, 28)]

    assert texts("mantis-eval")[0].startswith("Is the digit of <image> larger than that of <image>")
    padded = texts("mantis-eval")[1]
    assert padded.startswith("<image><image>\nWhich image shows the largest digit? <image>\nA. the")
    assert texts("blink")[0].startswith("<image><image><image><image>\nWhich image")
    assert texts("mmiu")[0].count("A. the first image") == 1
    assert texts("mmiu")[0].startswith("<image><image><image><image>\nWhich image")
    assert texts("remi")[0] == (
        "What digit does <image> show, beside <image>? Not image 2, image 1."
    )
    assert texts("mv-math")[0].endswith("A. <image>\nB. <image>\nC. <image>\nD. <image>")
    assert texts("mv-math")[2] == "<image><image> What digit does the image image 1 show?"
    assert texts("mathvision")[0].startswith("<image>\nOf image 1 and image 2, which digit")
    assert texts("mathvision")[1].startswith("<image> Which digit")
    assert "(unit: apples)\nThe answer is a whole number." in texts("mathvista")[1]
    assert texts("mathverse")[4] == "<image>\nAnswer the question that the image shows."


def test_images_are_kept_once_by_their_hash(tmp_path: Path) -> None:
    items = items_of("blink", tmp_path, 56)
    kept = {file.name for file in (tmp_path / "images").iterdir()}
    assert {Path(file).name for item in items for file in item.sample.images} == kept
    assert all(len(Path(name).stem) == 64 for name in kept)


@pytest.mark.parametrize("limit", [5, 14])
def test_a_limit_takes_from_every_file_in_turn(tmp_path: Path, limit: int) -> None:
    data = write_benchmark("blink", tmp_path / "data", 56)
    items = load_items(BENCHMARKS["blink"], data, Pictures(tmp_path / "images"), limit=limit)
    assert len({item.sample.source for item in items}) == limit


def test_a_question_that_cannot_be_answered_is_told_from_its_twin(tmp_path: Path) -> None:
    row = {
        "idx": "1",
        "task": "Counting",
        "image_relation": "Multiview",
        "answer": "B",
        "question": "How many?",
        "image_list": [],
        "options": ["1", "None of the choices provided."],
    }
    parquet([row, row | {"idx": "2", "answer": "A"}], tmp_path / "test.parquet")
    found = load_items(BENCHMARKS["muirbench"], tmp_path, Pictures(tmp_path / "images"))
    assert [item.groups["answerable"] for item in found] == ["no", "yes"]


def test_image_options_of_muirbench_move_with_their_letters(tmp_path: Path) -> None:
    items = items_of("muirbench", tmp_path, 24)
    shown = [item.sample for item in items if "A. <image>" in item.sample.question]
    assert shown and all(sample.order == "letter" for sample in shown)
    assert {sample.question.count(IMAGE_TAG) for sample in shown} == {4}
