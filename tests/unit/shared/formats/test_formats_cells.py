"""What a column may hold: pictures as text, absent and empty columns, golds as data sets wrap them.

Also parquet of 32-bit floats, shards without rows, and JSON that goes over several lines.
"""

import base64
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.formats import ImageFolder, RowCounts, stream
from shared.formats.text import gold
from shared.sample import Sample, load_samples
from tests.format_files import digit_bytes, save_digits, write_json, write_table

PNG = base64.b64encode(digit_bytes(0)).decode()
NOISE = base64.b64encode(np.random.default_rng(0).bytes(225_000)).decode()
ROW = {"problem": "Which digit?", "images": None, "answer": "0"}


def read(path: Path, format_: str = "easyr1", **settings: Any) -> list[Sample]:
    source = SourceConfig.model_validate({"path": path, "format": format_, **settings})
    folder = path if path.is_dir() else path.parent
    counts = RowCounts()
    return [one.sample for one in stream(source, ImageFolder(folder / "kept", 10_000), counts)]


def refused(path: Path, format_: str = "easyr1", **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, format_, **settings)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(
    "cell",
    [
        PNG,
        [PNG],
        f"data:image/png;base64,{PNG}",
        f"DATA:;base64,{PNG}",
        f"data:image/png;name=a.png;base64,{PNG[:50]}%0A{PNG[50:]}",
        PNG.rstrip("="),
        base64.urlsafe_b64encode(digit_bytes(0)).decode(),
        base64.encodebytes(digit_bytes(0)).decode(),
        [{"bytes": PNG, "path": None}],
        {"image": {"bytes": PNG}},
    ],
)
def test_a_picture_in_base64_is_decoded(tmp_path: Path, cell: Any) -> None:
    [sample] = read(write_json(tmp_path / "train.jsonl", [ROW | {"images": cell}]))
    assert [Path(file).read_bytes() for file in sample.images] == [digit_bytes(0)]


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (NOISE, "holds 300000 characters that are neither a file's path nor a picture in base64"),
        (f"data:image/png;base64,{NOISE}", "holds 300000 characters that are neither"),
        (f"data:image/png;base64,{'*' * 9000}", "holds 9000 characters that are neither"),
        ([PNG[:200]], "image in the row: cannot be decoded"),
        ("<svg>" * 200, "holds 1000 characters that are neither"),
        ("data:image/svg+xml;utf8,<svg></svg>", "image in the row has an unknown image format"),
        (f"data:image/png,{PNG}", "image in the row has an unknown image format"),
        ("https://example.com/a.png", "is a https address; nothing is fetched"),
        ("s3://bucket/a.png", "is a s3 address; nothing is fetched"),
        ("a/" * 3000 + "b.png", "holds 6005 characters that are neither"),
    ],
)
def test_other_text_is_refused_without_being_quoted(
    tmp_path: Path, cell: Any, problem: str
) -> None:
    file = write_json(tmp_path / "train.jsonl", [ROW | {"images": cell}])
    text = refused(file)
    assert text.startswith(f"{file}, line 1, field 'images': ") and problem in text
    assert PNG[:30] not in text and NOISE[:30] not in text


def test_a_file_whose_name_looks_like_base64_is_a_file(tmp_path: Path) -> None:
    name = "a" * 64
    (tmp_path / name).write_bytes(digit_bytes(0))
    [sample] = read(write_json(tmp_path / "train.jsonl", [ROW | {"images": name}]))
    assert sample.images == (str(tmp_path / name),)


def test_base64_where_a_sample_file_names_images_is_refused_without_being_quoted(tmp_path):
    row = {"id": "a", "question": "<image>?", "images": [NOISE], "answer": "1", "kind": "number"}
    with pytest.raises(UserError, match="line 1, field 'images': must be paths of files") as error:
        load_samples(write_json(tmp_path / "train.jsonl", [row]))
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("cell", [None, "", [], {}, {"bytes": None, "path": None}, math.nan])
def test_a_null_or_empty_cell_means_text_only(tmp_path: Path, cell: Any) -> None:
    [sample] = read(write_json(tmp_path / "train.jsonl", [ROW | {"images": cell}]))
    assert (sample.images, sample.question) == ((), "Which digit?")


TURN = [{"role": "user", "content": "Which digit?"}]
VERL = {"data_source": "d", "prompt": TURN, "reward_model": {"ground_truth": "0"}}
NO_IMAGES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("easyr1", {"problem": "?", "image": "0.png", "answer": "0"}, {}, "images"),
    ("easyr1", {"problem": "?", "answer": "0"}, {}, "images"),
    ("easyr1", ROW, {"keys": {"images": "picture"}}, "picture"),
    ("easyr1", ROW, {"keys": {"prompt": "question"}}, "question"),
    ("easyr1", ROW, {"keys": {"answer": "gold"}}, "gold"),
    ("geometry3k", {"problem": "?", "image": "0.png", "answer": "0"}, {}, "images"),
    ("mmk12", {"question": "?", "images": ["0.png"], "answer": "0"}, {}, "image"),
    ("virl39k", {"question": "?", "images": ["0.png"], "answer": "0"}, {}, "image"),
    ("mantis", {"conversation": TURN * 2, "source": "s", "image": "0.png"}, {}, "images"),
    ("verl", VERL | {"image": "0.png"}, {}, "images"),
    ("verl", VERL | {"Pictures": ["0.png"]}, {}, "images"),
]


@pytest.mark.parametrize(("format_", "row", "settings", "column"), NO_IMAGES)
def test_an_absent_column_is_refused_with_those_that_there_are(
    tmp_path: Path, format_: str, row: dict[str, Any], settings: dict[str, Any], column: str
) -> None:
    save_digits(tmp_path, 1)
    text = refused(write_json(tmp_path / "train.jsonl", [row]), format_, **settings)
    known = ", ".join(sorted(row))
    assert f"line 1, field '{column}': is missing; the line has fields {known}" in text


def test_data_without_pictures_says_so_or_has_no_column_for_them(tmp_path: Path) -> None:
    file = write_json(tmp_path / "train.jsonl", [{"problem": "2+2?", "answer": "4"}])
    assert [one.answer for one in read(file, keys={"images": None})] == ["4"]
    assert [one.images for one in read(write_json(tmp_path / "v.jsonl", [VERL]), "verl")] == [()]


@pytest.mark.parametrize("images", [{}, {"images": None}, {"images": []}, {"images": ""}])
def test_a_sample_without_images_is_text_only(tmp_path: Path, images: dict[str, Any]) -> None:
    row = {"id": "a", "question": "2+2?", "answer": "4", "kind": "number"} | images
    assert [one.images for one in read(write_json(tmp_path / "a.jsonl", [row]), "samples")] == [()]


OPTIONS = "Pick.\nA. x\nB. y"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<answer> 3 </answer>", ("3", "number")),
        ("<think>1+1</think><answer>B</answer>", ("B", "letter")),
        ("<answer>2</answer> no, <ANSWER>\n3\n</ANSWER>", ("3", "number")),
        ("<answer>\\boxed{\\text{B}}</answer>", ("B", "letter")),
        ("<answer>true", ("true", "boolean")),
        ("\\boxed{\\text{B}}", ("B", "letter")),
        ("\\boxed{\\textbf{(B)}}", ("B", "letter")),
        ("\\boxed{\\mathrm{B}.}", ("B", "letter")),
        ("$\\text{B}$", ("B", "letter")),
        ("\\text{Yes}", ("Yes", "boolean")),
        ("\\boxed{\\text{12}}", ("12", "number")),
        ("\\text{a grey cat}", ("a grey cat", "math")),
        ("3+4=7, so\n#### 7", ("7", "number")),
        ("It is x. #### -1,200.5", ("-1,200.5", "number")),
        ("#### B", ("B", "letter")),
        ("#### First step\nthen \\boxed{9}", ("9", "number")),
        ("$\\frac{1}{2}$", ("\\frac{1}{2}", "math")),
        ("3 \\text{ cm}", ("3 \\text{ cm}", "math")),
        ("$1 < x$ or $x < 0$", ("$1 < x$ or $x < 0$", "math")),
        ("##### 7", ("##### 7", "math")),
        ("７", ("7", "number")),
        ("－１，２００．５", ("-1,200.5", "number")),
        ("\\boxed{１２}", ("12", "number")),
        ("#### ４２", ("42", "number")),
        ("Ｂ", ("B", "letter")),
        ("（Ｂ）", ("B", "letter")),
        ("Ｙｅｓ", ("Yes", "boolean")),
        ("x #### y\nz", ("x #### y\nz", "math")),
    ],
)
def test_a_gold_answer_is_unwrapped(answer: str, expected: tuple[str, str]) -> None:
    assert gold(answer, OPTIONS, "math") == expected


@pytest.mark.parametrize(
    "answer",
    [
        "<answer> </answer>",
        "\\boxed{\\text{}}",
        "<answer>\\boxed{}",
        "#### ",
        "so\n####",
        "<answer>####",
    ],
)
def test_a_wrapped_answer_of_nothing_is_refused(tmp_path: Path, answer: str) -> None:
    text = refused(write_json(tmp_path / "train.jsonl", [ROW | {"answer": answer}]))
    assert "field 'answer': has an empty box or answer tag" in text


def float32(file: Path, *answers: float | None) -> Path:
    answer = pa.array(answers, pa.float32())
    table = {"problem": ["?"] * len(answers), "images": [None] * len(answers), "answer": answer}
    pq.write_table(pa.table(table), file)
    return file


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (2 / 3, "0.6666667"),
        (3.0, "3.0"),
        (-1200.55, "-1200.55"),
        (1e-6, "0.000001"),
        (1e20, "100000000000000000000"),
    ],
)
def test_a_float32_answer_keeps_its_shortest_decimal_form(
    tmp_path: Path, value: float, text: str
) -> None:
    [sample] = read(float32(tmp_path / "train.parquet", value))
    assert (sample.answer, sample.kind) == (text, "number")


def test_a_float32_inside_a_struct_keeps_its_shortest_decimal_form(tmp_path: Path) -> None:
    model = pa.array([{"ground_truth": 0.1}], pa.struct([("ground_truth", pa.float32())]))
    turns = [[{"role": "user", "content": "?"}]]
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"prompt": turns, "reward_model": model}), file)
    assert [one.answer for one in read(file, "verl")] == ["0.1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_no_answer(tmp_path: Path, value: float) -> None:
    assert "'answer': is not a number" in refused(float32(tmp_path / "a.parquet", value))
    row = ROW | {"answer": value}
    assert "'answer': is not a number" in refused(write_json(tmp_path / "a.jsonl", [row]))
    file = float32(tmp_path / "b.parquet", 0.5, value, None)
    assert len(read(file, skip_bad_rows=True)) == 1


def test_decimal_answers_are_read(tmp_path: Path) -> None:
    answer = pa.array([12], pa.decimal128(10, 2))
    pq.write_table(
        pa.table({"problem": ["?"], "images": [None], "answer": answer}), tmp_path / "t.parquet"
    )
    assert [one.answer for one in read(tmp_path / "t.parquet")] == ["12.00"]


def test_shards_without_rows_are_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    whole = write_table(folder / "train-1.parquet", [ROW | {"images": [digit_bytes(0)]}])
    pq.write_table(pq.read_table(whole).slice(0, 0), folder / "train-0.parquet")
    pq.write_table(pa.table({}), folder / "train-2.parquet")
    (folder / "train-3.jsonl").write_text("\n")
    (folder / "train-4.json").write_text("[]")
    assert [one.id for one in read(folder)] == ["shards/train-1:1"]


def test_a_shard_that_is_no_parquet_is_still_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "train-1.parquet", [ROW])
    (tmp_path / "train-0.parquet").touch()
    assert f"{tmp_path / 'train-0.parquet'}, after row 0: cannot be read" in refused(tmp_path)


ROWS = [ROW, ROW | {"answer": "1"}]


@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
@pytest.mark.parametrize(
    ("text", "answers"),
    [
        (json.dumps(ROWS[0], indent=2), ["0"]),
        ("\n".join(json.dumps(row, indent=2) for row in ROWS), ["0", "1"]),
        (json.dumps(ROWS, indent=2), ["0", "1"]),
        ("\ufeff" + "\n".join(map(json.dumps, ROWS)), ["0", "1"]),
        ("\r\n".join(map(json.dumps, ROWS)), ["0", "1"]),
        ("\n\n" + json.dumps(ROWS[0], indent=1) + "\n\n", ["0"]),
    ],
)
def test_json_over_several_lines_is_read(
    tmp_path: Path, name: str, text: str, answers: list[str]
) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert [one.answer for one in read(tmp_path / name)] == answers


def test_a_pretty_printed_row_is_named_by_the_line_it_starts_on(tmp_path: Path) -> None:
    rows = [ROW, ROW | {"answer": None}]
    file = tmp_path / "train.jsonl"
    file.write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    assert refused(file).startswith(f"{file}, row 6, column 'answer': is missing")


@pytest.mark.parametrize("text", ['{\n"problem": "?",\n', '{\n}\n{"a": 1} x', "{\n\xff"])
def test_broken_json_over_several_lines_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "train.jsonl").write_bytes(text.encode("latin-1"))
    assert "line 1: is not JSON" in refused(tmp_path / "train.jsonl")


@pytest.mark.parametrize(
    "answer", ["NaN", "nan", "-inf", "Infinity", "+INF", "\\boxed{NaN}", "#### inf"]
)
def test_an_answer_in_text_that_is_no_number_is_refused(tmp_path: Path, answer: str) -> None:
    file = write_json(
        tmp_path / "train.jsonl", [{"problem": "x?", "images": None, "answer": answer}]
    )
    with pytest.raises(UserError, match=r"line 1, field 'answer': is not a number \("):
        read(file)


@pytest.mark.parametrize("answer", ["\\infty", "banana", "infinite", "nano", "inf x"])
def test_words_like_nan_are_answers(tmp_path: Path, answer: str) -> None:
    file = write_json(
        tmp_path / "train.jsonl", [{"problem": "x?", "images": None, "answer": answer}]
    )
    assert [one.answer for one in read(file)] == [answer]


def test_rows_on_one_line_are_counted(tmp_path: Path) -> None:
    row = json.dumps({"problem": "x?", "images": None, "answer": "3"})
    file = tmp_path / "train.jsonl"
    file.write_text(f"{row}{row}\n{row}")
    assert [one.id for one in read(file)] == [f"{tmp_path.name}/train:{n}" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    "extra",
    [
        {"multi_modal_data": {"image": ["a.png"]}},
        {"videos": ["a.mp4"]},
        {"video": "a.mp4"},
        {"audios": [{"path": "a.wav"}]},
        {"images": [], "multimodal_data": {"image": None, "video": ["a.mp4"]}},
    ],
)
def test_verl_media_that_are_not_read_are_refused(tmp_path: Path, extra: dict[str, Any]) -> None:
    file = write_json(tmp_path / "train.jsonl", [VERL | extra])
    with pytest.raises(UserError, match=f"line 1, field '{list(extra)[-1]}': is not read"):
        read(file, "verl")


@pytest.mark.parametrize(
    "extra", [{"videos": None}, {"videos": []}, {"multi_modal_data": {"image": []}}, {"audio": ""}]
)
def test_verl_media_of_nothing_are_text_only(tmp_path: Path, extra: dict[str, Any]) -> None:
    file = write_json(tmp_path / "train.jsonl", [VERL | extra])
    assert [one.images for one in read(file, "verl")] == [()]


@pytest.mark.parametrize("cell", [None, "", {"bytes": None, "path": None}, {}, math.nan])
def test_a_picture_of_nothing_in_a_list_says_so(tmp_path: Path, cell: Any) -> None:
    file = write_json(tmp_path / "train.jsonl", [ROW | {"images": [cell]}])
    with pytest.raises(UserError, match=r"not nothing \(it is null or empty\)"):
        read(file)
