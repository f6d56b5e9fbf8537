"""Benchmark files that do not fit are refused with file, row and column."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from PIL import Image

from perl_rl.eval.benchmarks import BENCHMARKS
from perl_rl.eval.items import Item
from perl_rl.eval.loading import load_items
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import BadRow, Row, by_reason, find_files, read_rows, skipped_lines
from shared.errors import UserError
from shared.images import png_bytes
from tests.benchmark_files import WRITERS, parquet, write_benchmark

Change = Callable[[dict[str, Any]], Any]


def change(**values: Any) -> Change:
    return lambda row: row.update(values)


def lacks(column: str) -> Change:
    return lambda row: row.pop(column)


BROKEN: list[tuple[str, int, Change, str, str]] = [
    ("mantis-eval", 1, change(question_type="essay"), "question_type", "not one of multi-choice"),
    ("mantis-eval", 1, change(answer="E"), "answer", "'E' is none of A, B, C"),
    ("mantis-eval", 0, change(question="<image><image><image>?"), "question", "3 <image> tags"),
    ("mantis-eval", 0, change(images=[{"bytes": b"x", "path": None}]), "images", "no picture"),
    ("mantis-eval", 0, lacks("question"), "question", "is missing; the row has columns answer"),
    ("blink", 0, change(answer="(E)"), "answer", "none of A, B, C, D"),
    ("blink", 0, change(answer="hidden"), "answer", "'hidden' is none of"),
    ("blink", 0, change(image_2=None), "image_1", "do not fill the columns"),
    ("blink", 0, change(choices=["only one"]), "choices", "1 options"),
    ("mmiu", 0, change(options="yes or no"), "options", "must list 'A: ..'"),
    ("mmiu", 0, change(output="none"), "output", "is no letter"),
    ("mmiu", 0, change(input_image_path=["./nowhere.png"]), "input_image_path", "'./nowhere.png'"),
    ("muirbench", 0, change(answer="E"), "answer", "'E' is none of A, B, C, D"),
    ("muirbench", 0, lacks("image_list"), "image_list", "is missing; the row has columns"),
    ("mirb", 0, change(questions=""), "questions", "is empty"),
    ("mirb", 0, change(images=["images/nowhere.png"]), "images", "'images/nowhere.png'"),
    ("remi", 0, change(question="<image7>?"), "question", "names image 7 of 2"),
    ("remi", 0, change(question="<image>?"), "question", "a tag <image> that names no image"),
    ("remi", 0, change(label=""), "label", "is empty"),
    ("mv-math", 0, change(answer_type="proof"), "answer_type", "'proof' is not one of choice"),
    ("mv-math", 0, change(answer="12"), "answer", "'12' is no letter"),
    ("mv-math", 3, change(answer="3 and 4"), "answer", "(1) ..; (2) .."),
    ("mv-math", 0, change(input_image="a.png"), "input_image", "must be a list, not text"),
    ("mathvista", 0, change(answer="ten"), "answer", "'ten' is none of the choices"),
    ("mathvista", 0, change(choices=None), "choices", "is empty in a multi_choice question"),
    ("mathvista", 1, change(answer="ten"), "answer", "'ten' is no number"),
    ("mathvista", 2, change(precision=None), "precision", "a number of decimals, not None"),
    ("mathverse", 0, change(problem_version="Long"), "problem_version", "not one of Text Dominant"),
    (
        "mathverse",
        0,
        change(image=None),
        "image",
        "an image (bytes or a path), not nothing",
    ),
    ("mathverse", 0, change(answer="12"), "answer", "'12' is no letter"),
    ("mathvision", 1, change(answer="F"), "answer", "none of A, B, C, D, E"),
    ("mathvision", 0, change(options="A"), "options", "must be a list, not text"),
    ("mathvision", 0, change(question=None), "question", "is missing; the row has"),
]


def first_file(name: str, folder: Path) -> Path:
    data = write_benchmark(name, folder, 28)
    return find_files(data, BENCHMARKS[name].split)[0]


@pytest.mark.parametrize(("name", "place", "broken", "column", "said"), BROKEN)
def test_a_broken_row_is_refused_with_file_row_and_column(
    tmp_path: Path, name: str, place: int, broken: Change, column: str, said: str
) -> None:
    file = first_file(name, tmp_path / "data")
    row = dict(list(read_rows(file))[place].values)
    broken(row)
    with pytest.raises(UserError) as refused:
        BENCHMARKS[name].to_item(Row(file, place + 1, row), Pictures(tmp_path / "images"))
    message = str(refused.value)
    assert message.startswith(f"{file}, row {place + 1}, column '{column}': ")
    assert said in message
    assert "\n" not in message


def test_every_benchmark_has_broken_rows() -> None:
    assert {name for name, *_ in BROKEN} == WRITERS.keys()


def test_the_published_split_is_taken_from_a_folder(tmp_path: Path) -> None:
    blink = write_benchmark("blink", tmp_path / "blink", 28)
    assert {file.name for file in find_files(blink, "val")} == {"val-00000-of-00001.parquet"}
    assert len(find_files(blink, "val")) == 14
    with pytest.raises(
        UserError, match="no files of split 'train', only test, val; name one by --split"
    ):
        find_files(blink, "train")
    remi = write_benchmark("remi", tmp_path / "remi", 28)
    assert [file.name for file in find_files(remi, "test")] == ["test.parquet"]


def test_files_named_after_no_split_are_all_taken(tmp_path: Path) -> None:
    data = write_benchmark("mmiu", tmp_path, 28)
    assert [file.name for file in find_files(data, "test")] == ["all.parquet"]


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_rows_may_be_a_mapping_a_list_or_lines_with_images_as_files(
    tmp_path: Path, suffix: str
) -> None:
    file = first_file("mathvista", tmp_path / "parquet")
    rows = {}
    for row in read_rows(file):
        image = tmp_path / "data" / row.values["image"]
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(row.values.pop("decoded_image")["bytes"])
        rows[row.values["pid"]] = row.values
    other = tmp_path / "data" / f"testmini.{suffix}"
    lines = "\n".join(json.dumps(row) for row in rows.values())
    other.write_text(json.dumps(rows) if suffix == "json" else lines)

    benchmark, kept = BENCHMARKS["mathvista"], Pictures(tmp_path / "images")
    assert load_items(benchmark, other, kept) == load_items(benchmark, file, kept)


def test_images_may_be_bytes_paths_features_or_pictures(tmp_path: Path) -> None:
    drawn = Image.new("RGB", (8, 8), (200, 10, 10))
    data = png_bytes(drawn)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(data)
    row = Row(tmp_path / "test.json", 1, {})
    pictures = Pictures(tmp_path / "images", [tmp_path / "elsewhere"])
    cells = [data, "a.png", {"bytes": data, "path": "b"}, {"bytes": None, "path": "a.png"}, drawn]
    assert len({pictures.keep(cell, row, "image") for cell in cells}) == 1
    for cell in (None, "", 3, {"url": "http://a"}, "b.png", data[:40]):
        with pytest.raises(UserError, match="row 1, column 'image'"):
            pictures.keep(cell, row, "image")


def test_repeated_ids_are_told_apart(tmp_path: Path) -> None:
    rows = [row.values | {"idx": "same"} for row in read_rows(first_file("blink", tmp_path / "a"))]
    parquet(rows, tmp_path / "b" / "val.parquet")
    items = load_items(BENCHMARKS["blink"], tmp_path / "b", Pictures(tmp_path / "images"))
    assert [item.sample.id for item in items] == ["same", "same~2"]


def test_a_file_that_is_no_data_is_named(tmp_path: Path) -> None:
    for name, text, said in (
        ("test.parquet", "x", "after row 0: cannot be read"),
        ("test.json", "{", "line 1: not JSON"),
        ("test.json", "3", "must hold a list of rows"),
        ("test.jsonl", "[1]", "line 1: is a list, not an object"),
    ):
        file = tmp_path / name
        file.write_text(text)
        with pytest.raises(UserError, match=said):
            list(read_rows(file))
    with pytest.raises(UserError, match="no such file or folder"):
        find_files(tmp_path / "none", "test")
    with pytest.raises(UserError, match=r"must end in one of \.parquet"):
        (tmp_path / "a.txt").touch()
        find_files(tmp_path / "a.txt", "test")


def test_mmiu_counts_gold_letters_that_are_not_listed(tmp_path: Path) -> None:
    file = first_file("mmiu", tmp_path / "data")
    rows = pyarrow.parquet.read_table(file).to_pylist()
    rows[0]["output"] = "H"
    parquet(rows, file)
    items = load_items(BENCHMARKS["mmiu"], file, Pictures(tmp_path / "images"))
    assert items[0].groups == {"gold letter": "not among the options"}
    assert items[0].sample.order is None
    assert items[1].groups == {}


def test_a_gold_answer_that_no_response_could_match_is_refused_at_once(tmp_path: Path) -> None:
    file = first_file("remi", tmp_path / "data")
    rows = pyarrow.parquet.read_table(file).to_pylist()
    rows[1]["label"] = "x" * 3000
    parquet(rows, file)
    with pytest.raises(UserError, match="row 2, column 'label': the gold answer"):
        load_items(BENCHMARKS["remi"], file, Pictures(tmp_path / "images"))


def test_text_only_questions_of_mathverse_show_no_image(tmp_path: Path) -> None:
    file = first_file("mathverse", tmp_path / "data")
    row = dict(next(read_rows(file)).values) | {"problem_version": "Text Only", "image": ""}
    item = BENCHMARKS["mathverse"].to_item(Row(file, 1, row), Pictures(tmp_path / "images"))
    assert item.sample.images == ()
    assert "<image>" not in item.sample.question


def verse(folder: Path, **values: Any) -> Item:
    """MathVerse's first question of the test file, with other values."""
    file = first_file("mathverse", folder / "data")
    row = dict(next(read_rows(file)).values) | values
    return BENCHMARKS["mathverse"].to_item(Row(file, 1, row), Pictures(folder / "images"))


TRUE_OR_FALSE = "Is a square a rectangle?\nChoice:\nA. True\nB. False"
FOUR = "Which?\nChoices:\nA:8\nB:10 cm\nC:\\frac{1}{2}\nD:None of the above"


@pytest.mark.parametrize(
    ("question", "answer", "gold", "rule"),
    [
        (TRUE_OR_FALSE, "True", "A", "value"),
        (TRUE_OR_FALSE, "false.", "B", "value"),
        (TRUE_OR_FALSE, "B", "B", "value"),
        (FOUR, "10 cm", "B", "value"),
        (FOUR, "\\frac{1}{2}", "C", "value"),
        (FOUR, "none of the above", "D", "value"),
        (FOUR, "C: \\frac{1}{2}", "C", "value"),
        (FOUR, "A, C", "A, C", "letters"),
        (FOUR, "BD", "B, D", "letters"),
        (FOUR, "D and A", "A, D", "letters"),
        ("Which?\nChoices: (A) 8 (B) 10 (C) 12", "10", "B", "value"),
        ("Which of them?", "AC", "A, C", "letters"),
        ("Which of them?", "B", "B", "kind"),
        ("Which of them?", "True", "True", "kind"),
    ],
)
def test_answers_of_mathverse_may_be_a_choices_text_or_several_letters(
    tmp_path: Path, question: str, answer: str, gold: str, rule: str
) -> None:
    item = verse(tmp_path, question=question, answer=answer, question_for_eval=None)
    assert (item.sample.answer, item.rule) == (gold, rule)


def test_choices_that_only_the_picture_shows_are_taken_from_the_text_for_grading(
    tmp_path: Path,
) -> None:
    shown = {"problem_version": "Vision Only", "question": "", "question_for_eval": TRUE_OR_FALSE}
    item = verse(tmp_path, answer="False", **shown)
    assert (item.sample.answer, item.choices) == ("B", ("True", "False"))
    assert "True" not in item.sample.question


def test_bad_rows_are_left_out_and_named_only_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "testmini.jsonl"
    row = dict(next(read_rows(first_file("mathverse", tmp_path / "data"))).values)
    row |= {"problem_version": "Text Only", "image": "", "question": TRUE_OR_FALSE}
    answers = ("A", "12", "B", "13")
    lines = [json.dumps(row | {"sample_index": str(n), "answer": a}) for n, a in enumerate(answers)]
    file.write_text("\n".join([*lines, "not JSON", "[1]"]))
    benchmark, pictures = BENCHMARKS["mathverse"], Pictures(tmp_path / "images")
    with pytest.raises(UserError, match="line 2, field 'answer': '12' is no letter"):
        load_items(benchmark, file, pictures)
    skipped: list[BadRow] = []
    items = load_items(benchmark, file, pictures, skipped=skipped)
    assert [(item.sample.id, item.sample.answer) for item in items] == [("0", "A"), ("2", "B")]
    messages = by_reason(skipped)
    assert [len(named) for named in messages.values()] == [2, 1, 1]
    assert [row.split(": ")[0] for named in messages.values() for row in named] == [
        f"{file}, line 2, field 'answer'",
        f"{file}, line 4, field 'answer'",
        *(f"{file}, line 5", f"{file}, line 6"),
    ]
    assert skipped_lines(messages)[0] == "rows left out: 4"
    assert skipped_lines({}) == []


def test_a_file_without_a_row_that_fits_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "testmini.jsonl"
    file.write_text("[1]\n[2]")
    with pytest.raises(UserError, match=r"none of its 2 rows fits; the first: .*, line 1: "):
        load_items(BENCHMARKS["mathverse"], file, Pictures(tmp_path / "images"), skipped=[])
