"""``perl-rl data convert`` writes samples that read back the same, and says what it left out."""

from pathlib import Path

import pytest

from perl_rl.cli.main import main
from shared.sample import load_samples
from tests.format_files import IMAGES, digit, save_digits, write_features, write_json


@pytest.fixture
def geometry(tmp_path: Path) -> Path:
    rows = [
        {"images": [digit(0)], "problem": "<image>Which?", "answer": "\\boxed{0}"},
        {"images": [digit(1)], "problem": "<image><image>?", "answer": "1"},
        {"images": [], "problem": "2+2?", "answer": "4"},
    ]
    return write_features(tmp_path / "geo" / "train-0.parquet", rows, images=IMAGES)


def test_converted_samples_read_back_with_their_images(
    geometry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "train.jsonl"
    arguments = ["data", "convert", "--format", "geometry3k", str(geometry), "--out", str(out)]

    assert main([*arguments, "--skip-bad-rows"]) == 0

    first, second = load_samples(out)
    assert (first.question, first.answer, first.kind) == ("<image>Which?", "0", "number")
    assert (second.question, second.images) == ("2+2?", ())
    assert Path(first.images[0]).parent == tmp_path / "out" / "images"
    assert str(tmp_path) not in out.read_text()
    said, reason = capsys.readouterr().out.splitlines()
    assert said == f"{out}: 2 samples, 1 row skipped"
    assert reason.split("   e.g. ")[0].strip() == "1  problem: tags and images do not match"
    assert f"{geometry}, row 2, column 'problem': has 2 image tags for 1 image" in reason


def test_a_bad_row_ends_the_conversion_and_leaves_no_file(
    geometry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / "train.jsonl"
    arguments = ["data", "convert", "--format", "geometry3k", str(geometry), "--out", str(out)]

    assert main(arguments) == 2

    assert f"{geometry}, row 2, column 'problem'" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == [out.parent / "images"]


def test_an_input_is_not_written_over(geometry: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = geometry.read_bytes()
    options = ["--format", "geometry3k", str(geometry), "--out", str(geometry), "--skip-bad-rows"]
    assert main(["data", "convert", *options]) == 2
    assert f"--out {geometry}: is one of the files to convert" in capsys.readouterr().err
    assert geometry.read_bytes() == before


def test_images_named_by_path_stay_where_they_are(tmp_path: Path) -> None:
    save_digits(tmp_path / "pictures", 1)
    row = {"q": "Which?", "pic": "0.png", "a": "0"}
    file = write_json(tmp_path / "train.json", [row])
    out = tmp_path / "elsewhere" / "train.jsonl"
    keys = ["--prompt-key", "q", "--images-key", "pic", "--answer-key", "a"]
    where = ["--image-dir", str(tmp_path / "pictures"), "--out", str(out)]

    assert main(["data", "convert", "--format", "easyr1", str(file), *keys, *where]) == 0

    (sample,) = load_samples(out)
    assert sample.images == (str(tmp_path / "pictures" / "0.png"),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "essay"], "--format: must be 'samples', 'verl', "),
        (["--format", "verl", "--subset", "nlvr2"], "subsets is only for format mantis, not verl"),
        (
            ["--format", "verl", "--prompt-key", "q"],
            "keys.prompt is only for format easyr1, not verl",
        ),
    ],
)
def test_settings_that_do_not_fit_are_one_line(
    geometry: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "train.jsonl"
    assert main(["data", "convert", str(geometry), "--out", str(out), *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"perl-rl: error: {message}")


def test_gold_answers_that_no_answer_matches_are_reported_with_file_and_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [r"\frac{1}{2}", r"\frac{1}{2", "3", r"\sqrt{3", r"\frac{1}{2"]
    rows = [{"images": [], "problem": f"{place}?", "answer": a} for place, a in enumerate(answers)]
    file = write_features(tmp_path / "geo" / "train-0.parquet", rows, images=IMAGES)
    out = tmp_path / "train.jsonl"

    assert main(["data", "convert", "--format", "geometry3k", str(file), "--out", str(out)]) == 0

    said, *unmatched = capsys.readouterr().out.splitlines()
    assert said == f"{out}: 5 samples, 0 rows skipped"
    assert [line.split(", sample")[0] for line in unmatched] == [f"{file}, row 2", f"{file}, row 4"]
    assert r"no answer matches the gold answer '\\frac{1}{2' of kind 'math'" in unmatched[0]
    assert unmatched[0].endswith("(and 1 more with it)")


def test_lines_do_not_go_into_a_file_named_for_another_format(
    geometry: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "train.parquet"
    assert (
        main(["data", "convert", "--format", "geometry3k", str(geometry), "--out", str(out)]) == 2
    )
    assert f"--out {out}: gets JSON lines; give it a name that ends in .jsonl" in (
        capsys.readouterr().err
    )
    assert not out.exists()


def test_a_name_of_the_hub_is_no_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["--out", str(tmp_path / "train.jsonl")]
    assert main(["data", "convert", "--format", "geometry3k", "hf://nobody", *out]) == 2
    assert "error: hf://nobody: a data set of the Hub is written hf://owner/name" in (
        capsys.readouterr().err
    )
