"""Bad rows are refused with file, row and column, or skipped and counted."""

import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from shared.config import DataConfig
from shared.config.source import SourceConfig
from shared.errors import UserError
from shared.formats import ImageFolder, RowCounts, load, stream
from tests.format_files import digit_bytes, save_digits, write_json, write_table

TURNS = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "1"}]
GOOD: dict[str, dict[str, Any]] = {
    "samples": {"id": "s", "question": "<image>?", "images": ["0.png"], "answer": "1"}
    | {"kind": "number"},
    "verl": {
        "data_source": "d",
        "prompt": TURNS[:1],
        "images": ["0.png"],
        "reward_model": {"ground_truth": "1"},
    },
    "easyr1": {"problem": "<image>?", "images": ["0.png"], "answer": "1"},
    "mantis": {"id": "m", "images": ["0.png"], "conversation": TURNS, "source": "nlvr2"},
    "geometry3k": {"images": ["0.png"], "problem": "<image>?", "answer": "1"},
    "mmk12": {"id": "k", "question": "?", "answer": "1", "subject": "math", "image": "0.png"},
    "virl39k": {"question": "?", "answer": "\\boxed{1}", "image": ["0.png"], "qid": "q"},
}

BROKEN: list[tuple[str, dict[str, Any], str, str]] = [
    ("samples", {"colour": "red"}, "colour", "is unknown"),
    ("samples", {"images": []}, "", "question has 1 <image> tag but the sample has 0"),
    ("samples", {"images": ["gone.png"]}, "images", "no image file"),
    ("verl", {"prompt": None}, "prompt", "is missing; the row has columns data_source"),
    ("verl", {"prompt": "text"}, "prompt", "is not a list of turns"),
    ("verl", {"prompt": []}, "prompt", "is not a list of turns"),
    (
        "verl",
        {"prompt": TURNS},
        "prompt",
        "must have one user turn; its roles are: user, assistant",
    ),
    ("verl", {"prompt": [{"role": "user"}]}, "prompt", "has a turn without text"),
    ("verl", {"prompt": [{"content": "?"}]}, "prompt", "has a turn without a role"),
    ("verl", {"reward_model": "1"}, "reward_model", "must be an object"),
    ("verl", {"reward_model": {}}, "reward_model.ground_truth", "is missing"),
    ("verl", {"reward_model": {"answer": "1"}}, "reward_model.ground_truth", "has answer"),
    ("verl", {"reward_model": {"ground_truth": None}}, "reward_model.ground_truth", "is empty"),
    ("verl", {"reward_model": {"ground_truth": [1]}}, "reward_model.ground_truth", "be text"),
    ("verl", {"images": ["0.png", "1.png"]}, "prompt", "has 1 image tag for 2 images"),
    (
        "verl",
        {"images": [{"url": "http://x"}]},
        "images",
        "has none of the keys bytes, image, path",
    ),
    ("verl", {"images": [7]}, "images", "must be bytes, a path or an image, not a number"),
    ("verl", {"images": [""]}, "images", "must be bytes, a path or an image, not nothing"),
    ("verl", {"images": ["notes.txt"]}, "images", "has an unknown image format"),
    ("verl", {"images": ["large.png"]}, "images", "120x120 pixels, more than data.max_image"),
    ("easyr1", {"problem": None}, "problem", "is missing"),
    ("easyr1", {"problem": " "}, "problem", "is empty"),
    (
        "easyr1",
        {"problem": [{"role": "user", "content": "x"}]},
        "problem",
        "must be text, not a list of 1; these are turns of a conversation: give the question as",
    ),
    ("easyr1", {"problem": ["x"]}, "problem", "must be text, not a list of 1; keep one"),
    ("easyr1", {"answer": None}, "answer", "is missing"),
    ("easyr1", {"answer": True}, "answer", "must be text, not true"),
    ("easyr1", {"answer": "\\boxed{}"}, "answer", "has an empty box"),
    ("easyr1", {"problem": "<image1> <image1>"}, "problem", "tags numbered 1, 1 for 1 image"),
    ("easyr1", {"problem": "<image> <image1>"}, "problem", "tags numbered 1 for 1 image"),
    ("easyr1", {"problem": "<image2>"}, "problem", "tags numbered 2 for 1 image"),
    ("easyr1", {"problem": "<video>"}, "problem", "has a <video> tag; only images are supported"),
    ("mantis", {"conversation": None}, "conversations", "is missing"),
    ("mantis", {"conversation": TURNS[:1]}, "conversation", "must alternate"),
    ("mantis", {"conversation": TURNS[::-1]}, "conversation", "roles are: assistant, user"),
    ("geometry3k", {"problem": "?<image><image>"}, "problem", "has 2 image tags for 1 image"),
    ("geometry3k", {"images": ["gone.png"]}, "images", "no image file"),
    ("mmk12", {"image": ["0.png", "1.png"], "question": "<image>"}, "question", "for 2 images"),
    ("mmk12", {"question": None}, "question", "is missing"),
    ("virl39k", {"answer": None}, "answer", "is missing"),
    ("virl39k", {"image": ["images/0.png"]}, "image", "no image file"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_digits(tmp_path, 2)
    Image.new("RGB", (120, 120)).save(tmp_path / "large.png")
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def source(file: Path, format_: str, **settings: Any) -> SourceConfig:
    return SourceConfig.model_validate({"path": file, "format": format_, **settings})


def read(one: SourceConfig) -> tuple[list[Any], RowCounts]:
    report = RowCounts()
    pictures = ImageFolder(one.path.parent / "kept", 10_000)
    return list(stream(one, pictures, report)), report


def refused(one: SourceConfig) -> str:
    with pytest.raises(UserError) as caught:
        read(one)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("format_", "changes", "column", "problem"), BROKEN)
def test_a_broken_row_is_named_or_skipped(
    folder: Path, format_: str, changes: dict[str, Any], column: str, problem: str
) -> None:
    good = GOOD[format_]
    broken = good | changes | ({"id": "other"} if "id" in good else {})
    file = write_json(folder / "train.json", [good, broken])

    message = refused(source(file, format_))
    located, report = read(source(file, format_, skip_bad_rows=True))

    where = f"{file}, row 2, column '{column}'" if column else f"{file}, row 2"
    assert message.startswith(f"{where}: ")
    assert problem in message
    assert [one.row for one in located] == [1]
    assert report.samples == report.skipped.total() == 1
    assert list(report.examples.values()) == [message]


def test_a_picture_inside_the_data_that_is_too_large_is_not_kept(folder: Path) -> None:
    data = (folder / "large.png").read_bytes()
    rows = [{"images": [{"bytes": data}], "problem": "<image>", "answer": "1"}]
    file = write_table(folder / "train.parquet", rows)
    assert "120x120 pixels, more than data.max_image_pixels" in refused(source(file, "geometry3k"))
    assert not (folder / "kept").exists()


def test_a_damaged_picture_inside_parquet_is_named_and_not_kept(folder: Path) -> None:
    pictures = [digit_bytes(0), digit_bytes(1)[:150], b"nothing"]
    rows = [{"images": [{"bytes": data}], "problem": "<image>", "answer": "1"} for data in pictures]
    file = write_table(folder / "train.parquet", rows)
    assert refused(source(file, "geometry3k")).startswith(f"{file}, row 2, column 'images': ")

    located, report = read(source(file, "geometry3k", skip_bad_rows=True))

    assert [one.row for one in located] == [1]
    assert dict(report.skipped) == {
        "images: cannot be decoded": 1,
        "images: has an unknown image format": 1,
    }
    assert len(list((folder / "kept").iterdir())) == 1


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"{", "is not JSON ("),
        (b"[" * 100_000, "is not JSON (nested too deeply)"),
        (b'{"a": %s}' % (b"9" * 5000), "is not JSON (has a whole number"),
        (b'{"a": "\\ud83d"}', "is not JSON (has \\ud83d, half"),
        (b"[1]", "is a list, not an object: write one object a line"),
        (b'"\xff"', "is not UTF-8 text"),
    ],
)
def test_a_line_that_is_no_row(folder: Path, line: bytes, problem: str) -> None:
    file = folder / "train.jsonl"
    write_json(file, [GOOD["easyr1"]])
    file.write_bytes(file.read_bytes() + b"\n\n" + line + b"\n")
    assert refused(source(file, "easyr1")).startswith(f"{file}, line 3: {problem}")
    located, report = read(source(file, "easyr1", skip_bad_rows=True))
    assert (len(located), report.skipped.total()) == (1, 1)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.json", b"[1, ", ", line 1: not JSON ("),
        ("a.json", b"3", ": must be a list of rows, or have one row per line"),
        ("a.json", b"[\xff]", ": is not UTF-8 text at byte 1"),
        ("a.parquet", b"PAR1 junk", ", after row 0: cannot be read (Parquet magic bytes"),
        ("a.csv", b"a,b", ": must end in one of .parquet, .jsonl, .json"),
        ("gone.json", None, ": no such data file or folder"),
        ("gone-*.json", None, ": found no .parquet, .jsonl, .json files"),
    ],
)
def test_a_file_that_is_no_data(
    tmp_path: Path, name: str, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    message = refused(source(tmp_path / name, "easyr1", skip_bad_rows=True))
    assert message.startswith(f"{tmp_path / name}{problem}")


def test_a_split_that_is_not_there(folder: Path) -> None:
    write_json(folder / "geo" / "train.json", [GOOD["easyr1"]])
    message = refused(source(folder / "geo", "easyr1", split="test"))
    found = "found no .parquet, .jsonl, .json files of split 'test'; there are those of train"
    assert message == f"{folder / 'geo'}: {found}"


def test_repeated_ids_are_refused_within_and_between_sources(folder: Path) -> None:
    file = write_json(folder / "train.jsonl", [GOOD["samples"]] * 2)
    assert f"field 'id': 's' is also the id of {file}, line 1" in refused(source(file, "samples"))

    write_json(file, [GOOD["samples"]])
    other = write_json(folder / "other.jsonl", [GOOD["samples"]])
    data = DataConfig(train=(source(file, "samples"), source(other, "samples")))
    with pytest.raises(UserError, match="give each source its own name"):
        load(data, data.train_sources(), folder / "kept")
    named = (source(file, "samples", name="a"), source(other, "samples", name="b"))
    loaded = load(data, named, folder / "kept")
    assert [one.id for one in loaded.samples] == ["a/s", "b/s"]


def test_skipped_rows_are_in_the_log(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [GOOD["easyr1"], GOOD["easyr1"] | {"answer": ""}, GOOD["easyr1"] | {"images": ["no"]}]
    file = write_json(folder / "train.json", rows)
    data = DataConfig(train=source(file, "easyr1", skip_bad_rows=True))
    with caplog.at_level(logging.INFO):
        load(data, data.train_sources(), folder / "kept")
    (record,) = caplog.messages
    assert record == (
        f"{file}: 1 sample, 2 rows skipped: answer: is empty (1), images: has no image file (1)"
    )


def test_a_source_of_nothing_but_bad_rows_is_refused(folder: Path) -> None:
    file = write_json(folder / "train.json", [GOOD["easyr1"] | {"answer": ""}])
    data = DataConfig(train=source(file, "easyr1", skip_bad_rows=True))
    with pytest.raises(UserError, match=r"no samples found \(0 samples, 1 row skipped: answer"):
        load(data, data.train_sources(), folder / "kept")
