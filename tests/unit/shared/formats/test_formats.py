"""Every format is read from files in its published form, with real images."""

import io
from pathlib import Path
from typing import Any, get_args

import datasets
import pytest
from PIL import Image

from shared.config.source import FormatName, SourceConfig
from shared.formats import FORMATS, ImageFolder, RowCounts, stream
from shared.formats.rows import Row
from shared.formats.text import unboxed
from shared.images import digest
from shared.sample import Sample
from tests.format_files import (
    IMAGES,
    digit,
    digit_bytes,
    save_digits,
    write_features,
    write_json,
    write_table,
)


def read(path: Path, format_: str, **settings: Any) -> list[Sample]:
    source = SourceConfig.model_validate({"path": path, "format": format_, **settings})
    folder = ImageFolder(path.parent / "kept", 10_000)
    return [one.sample for one in stream(source, folder, RowCounts())]


def shown(sample: Sample) -> list[bytes]:
    """The pixels of the sample's images."""
    return [Image.open(io.BytesIO(Path(file).read_bytes())).tobytes() for file in sample.images]


def pixels(*indices: int) -> list[bytes]:
    return [digit(index).tobytes() for index in indices]


VERL = {
    "data_source": "hiyouga/geometry3k",
    "prompt": [
        {"role": "system", "content": "Answer well."},
        {"role": "user", "content": "<image>Find x in <image>."},
    ],
    "ability": "math",
    "reward_model": {"style": "rule", "ground_truth": "2\\sqrt{3}"},
    "extra_info": {"split": "train", "index": 0},
}


@pytest.mark.parametrize("shape", ["feature", "bytes", "path", "image", "json"])
def test_verl(tmp_path: Path, shape: str) -> None:
    names = save_digits(tmp_path, 2)
    file = tmp_path / ("train.json" if shape == "json" else "train.parquet")
    if shape == "feature":
        row = VERL | {"images": [digit(0), digit(1)]}
        write_features(file, [row], images=IMAGES)
    elif shape == "json":
        write_json(file, [VERL | {"images": [{"image": f"file://{tmp_path / n}"} for n in names]}])
    else:
        cells: dict[str, list[Any]] = {
            "bytes": [{"bytes": digit_bytes(index)} for index in (0, 1)],
            "path": list(names),
            "image": [{"image": name} for name in names],
        }
        write_table(file, [VERL | {"images": cells[shape]}])

    (sample,) = read(file, "verl")

    assert sample.question == "<image>Find x in <image>."
    assert (sample.answer, sample.kind, sample.order) == ("2\\sqrt{3}", "math", None)
    assert sample.source == "hiyouga/geometry3k"
    assert shown(sample) == pixels(0, 1)


def test_verl_text_only(tmp_path: Path) -> None:
    turn = [{"role": "user", "content": "2+2?"}]
    rows = [
        {**VERL, "prompt": turn, "reward_model": {"ground_truth": 4}},
        {**VERL, "prompt": turn, "reward_model": {"ground_truth": 5}, "images": []},
        {**VERL, "prompt": turn, "reward_model": {"ground_truth": 6}, "images": None},
    ]
    samples = read(write_json(tmp_path / "train.jsonl", rows), "verl")
    assert [(one.images, one.answer, one.kind) for one in samples] == [
        ((), "4", "number"),
        ((), "5", "number"),
        ((), "6", "number"),
    ]


def test_easyr1(tmp_path: Path) -> None:
    save_digits(tmp_path / "pictures", 2)
    rows = [
        {"problem": "<image>Which digit?", "images": ["0.png"], "answer": "0"},
        {"problem": "<image2> minus <image1>?", "images": ["0.png", "1.png"], "answer": "1"},
        {"problem": "2+2?", "images": [], "answer": "4"},
    ]
    file = write_json(tmp_path / "train.jsonl", rows)
    one, two, none = read(file, "easyr1", image_dir=tmp_path / "pictures")
    assert (one.question, shown(one)) == ("<image>Which digit?", pixels(0))
    assert (two.question, shown(two)) == ("<image> minus <image>?", pixels(1, 0))
    assert (none.question, none.images) == ("2+2?", ())

    keys = {"prompt": "q", "images": "pic", "answer": "gold"}
    row = {"q": "Which digit?", "pic": "pictures/1.png", "gold": "1"}
    (renamed,) = read(write_json(tmp_path / "other.json", [row]), "easyr1", keys=keys)
    assert (renamed.question, shown(renamed)) == ("<image>\nWhich digit?", pixels(1))


def test_geometry3k(tmp_path: Path) -> None:
    problem = "<image>Find x.\nChoices:\nA. 3\nB. 4"
    answers = ["3", "\\boxed{\\frac{1}{2}}", "(B)", "-1,200.5", "2 \\sqrt { 221 }"]
    rows = [{"images": [digit(0)], "problem": problem, "answer": answer} for answer in answers]
    file = write_features(tmp_path / "data" / "train-00000-of-00001.parquet", rows, images=IMAGES)
    samples = read(file, "geometry3k")
    assert [(one.answer, one.kind) for one in samples] == [
        ("3", "number"),
        ("\\frac{1}{2}", "math"),
        ("B", "letter"),
        ("-1,200.5", "number"),
        ("2 \\sqrt { 221 }", "math"),
    ]
    assert {one.source for one in samples} == {"geometry3k"}
    assert samples[2].id == "data/train-00000-of-00001:3"


@pytest.mark.parametrize(
    ("answer", "content"),
    [
        (" 3 ", "3"),
        ("\\boxed{1} or \\boxed {\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{\\{1\\}}", "\\{1\\}"),
        ("\\boxed{1", "\\boxed{1"),
        ("\\\\boxed{3}", "3"),  # escaped twice
    ],
)
def test_the_box_is_taken_off_a_gold_answer(answer: str, content: str) -> None:
    assert unboxed(answer) == content


def test_mmk12(tmp_path: Path) -> None:
    row = {"id": "k1", "question": "What digit?", "answer": "0", "subject": "math"}
    rows = [row | {"image": digit(0)}, row | {"id": "k2", "question": "As <image> shows?"}]
    rows[1]["image"] = digit(1)
    file = write_features(tmp_path / "train.parquet", rows, image=datasets.Image())
    first, second = read(file, "mmk12")
    assert (first.question, shown(first)) == ("<image>\nWhat digit?", pixels(0))
    assert (second.question, second.source) == ("As <image> shows?", "mmk12/math")


def test_virl39k(tmp_path: Path) -> None:
    save_digits(tmp_path / "images", 2)
    rows = [
        {
            "question": "<image>\nWhich is it? (A) seven (B) nought",
            "answer": "\\boxed{B}",
            "category": "Math",
            "source": "Processed",
            "qid": f"q{number}",
            "image": ["images/0.png"],
            "PassRate_32BTrained": 0.5,
        }
        for number in range(2)
    ]
    first, second = read(write_table(tmp_path / "39Krelease.parquet", rows), "virl39k")
    assert (first.answer, first.kind, first.order) == ("B", "letter", None)
    assert shown(first) == pixels(0) and first.id != second.id


def mantis_row(source: str, question: str, answer: str, images: list[Any], raw: bool) -> Any:
    said = [("user", "human", question), ("assistant", "gpt", answer)]
    if raw:
        turns = [{"from": role, "value": text} for _, role, text in said]
        return {"id": "m", "images": images, "conversations": turns, "source": source}
    turns = [{"role": role, "content": text} for role, _, text in said]
    return {"id": "m", "images": images, "conversation": turns, "source": source}


NLVR2 = "<image> <image> Is it true that {}?\n(A) True\n(B) False"
DREAMSIM = "Reference <image>. Which is closer?\nImage A: <image>\nImage B: <image>"
ICONQA = "<image> Which picture goes on?\n(A) <image> (B) <image>\n(C) <image>"


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(
    ("source", "question", "answer", "images", "expected"),
    [
        ("nlvr2", NLVR2.format("the left image has a dog"), "(A)", 2, ("letter", "invariant", ())),
        ("nlvr2", NLVR2.format("a dog looks left"), "B", 2, ("letter", None, ())),
        ("nlvr2", "<image><image>Both show a 3.", "True", 2, ("boolean", "invariant", ())),
        ("dreamsim", DREAMSIM, "B", 3, ("letter", "letter", (0,))),
        ("dreamsim", "<image><image><image> A or B?", "A", 3, ("letter", "letter", (0,))),
        ("iconqa", ICONQA, "C", 4, ("letter", "letter", (0,))),
        ("iconqa", "<image> What? (A) a cat (B) a dog", "A. a cat", 1, ("letter", None, ())),
        ("spot-the-diff", "<image><image>What changed?", "a car left", 2, ("text", None, ())),
    ],
)
def test_mantis(
    tmp_path: Path, raw: bool, source: str, question: str, answer: str, images: int, expected: Any
) -> None:
    names = save_digits(tmp_path, images)
    file = tmp_path / source / ("train.json" if raw else "train-0.parquet")
    if raw:
        row = mantis_row(source, question, answer, [f"../{name}" for name in names], raw)
        write_json(file, [row])
    else:
        row = mantis_row(source, question, answer, [digit(index) for index in range(images)], raw)
        write_features(file, [row], images=IMAGES)

    (sample,) = read(file, "mantis")

    assert (sample.kind, sample.order, sample.fixed) == expected
    assert sample.source == source
    assert shown(sample) == pixels(*range(images))


def test_mantis_subsets_are_chosen_by_source(tmp_path: Path) -> None:
    rows = [mantis_row(name, "Hm?", "7", [], raw=True) for name in ("nlvr2", "iconqa", "nlvr2")]
    file = write_json(tmp_path / "all.json", rows)
    assert [one.source for one in read(file, "mantis", subsets=["nlvr2"])] == ["nlvr2"] * 2
    assert len(read(file, "mantis")) == 3


def test_mantis_rounds_are_questions_of_their_own_while_the_images_are_the_first_ones(
    tmp_path: Path,
) -> None:
    names = save_digits(tmp_path, 2)

    def rounds(*texts: str) -> dict[str, Any]:
        roles = ["human", "gpt"] * (len(texts) // 2)
        turns = [{"from": r, "value": t} for r, t in zip(roles, texts, strict=True)]
        return {"id": "m", "images": names, "conversations": turns, "source": "multi"}

    rows = [
        rounds("<image><image> Sum?", "1", "Larger?", "1"),
        rounds("<image> Digit?", "0", "<image> And this?", "1"),
    ]
    samples = read(write_json(tmp_path / "train.json", rows), "mantis")
    assert [(one.question, one.answer) for one in samples] == [
        ("<image><image> Sum?", "1"),
        ("<image><image>\nLarger?", "1"),
        ("<image> Digit?", "0"),
    ]
    assert shown(samples[1]) == pixels(0, 1) and shown(samples[2]) == pixels(0)
    assert len({one.id for one in samples}) == 3


def test_turns_stored_as_a_struct_of_lists(tmp_path: Path) -> None:
    turns = {"role": ["user", "assistant"], "content": ["2+2?", "4"]}
    row = {"id": "m", "images": None, "conversation": turns, "source": "text"}
    (sample,) = read(write_table(tmp_path / "train.parquet", [row]), "mantis")
    assert (sample.question, sample.answer, sample.images) == ("2+2?", "4", ())


def test_a_pillow_picture_in_memory_is_kept(tmp_path: Path) -> None:
    row = Row(tmp_path / "memory", 1, {})
    folder = ImageFolder(tmp_path / "kept", 10_000)
    (file,) = folder.files(digit(3), row, "image", tmp_path)
    assert Image.open(file).tobytes() == digit(3).tobytes()


def test_equal_pictures_are_kept_once_under_their_hash(tmp_path: Path) -> None:
    rows = [{"images": [digit_bytes(0)], "problem": "<image>?", "answer": "0"}] * 3
    samples = read(write_table(tmp_path / "train.parquet", rows), "geometry3k")
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.name == f"{digest(digit_bytes(0))}.png"
    assert {one.images for one in samples} == {(str(kept),)}


def test_shards_splits_and_patterns(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        rows = [{"images": [], "problem": name, "answer": "1"}]
        write_json(tmp_path / "geo" / f"{name}.json", rows)
    folder = tmp_path / "geo"
    assert len(read(folder, "geometry3k")) == 3
    assert [one.question for one in read(folder, "geometry3k", split="test")] == [
        "test-00000-of-00001"
    ]
    both = read(folder / "train-*.json", "geometry3k")
    assert [one.id for one in both] == [
        "geo/train-00000-of-00002:1",
        "geo/train-00001-of-00002:1",
    ]


def test_every_format_of_the_configuration_is_read() -> None:
    assert set(FORMATS) == set(get_args(FormatName))
