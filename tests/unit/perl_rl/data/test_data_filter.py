"""The filter's rules one by one."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from perl_rl.cli.main import main
from shared.sample import load_samples
from tests.format_files import save_digits


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_digits(tmp_path, 3)
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (600, 2)).save(tmp_path / "thin.png")
    return tmp_path


def row(name: str, *images: str, **changes: Any) -> dict[str, Any]:
    images = images or ("0.png",)
    question = "<image>" * len(images) + "Which?"
    fields = {"id": name, "question": question, "images": images, "answer": "B", "kind": "letter"}
    return fields | {"source": "s"} | changes


def filtered(folder: Path, rows: list[dict[str, Any]], *words: str) -> tuple[list[str], Any]:
    file = folder / "in.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    overrides = ["--set", *words] if words else []
    status = main(["data", "filter", str(file), "--out", str(folder / "out"), *overrides])
    report = json.loads((folder / "out" / "report.json").read_text())
    output = folder / "out" / "samples.jsonl"
    names = [s.id for s in load_samples(output)] if output.stat().st_size else []
    assert status == (0 if names else 2)
    return names, report["dropped"]


@pytest.mark.parametrize(
    ("changed", "words", "reason"),
    [
        (row("x", "1.png"), [], None),
        (row("x", "1.png"), ["filter.kinds=[number, letter]"], None),
        (row("x", "1.png"), ["filter.kinds=[number]"], "kind_not_wanted"),
        (row("x", "1.png"), ["filter.sources=[t]"], "source_not_wanted"),
        (row("x", "1.png"), ["filter.exclude_sources=[s]"], "source_excluded"),
        (row("x", "1.png"), ["filter.min_images=2"], "too_few_images"),
        (row("x", "1.png", "2.png"), ["filter.max_images=1"], "too_many_images"),
        (row("x", "1.png"), ["filter.min_question_chars=9"], "question_too_short"),
        (row("x", "1.png"), ["filter.max_question_chars=5"], "question_too_long"),
        (row("x", "1.png", answer=" "), [], "no_answer"),
        (row("x", "1.png", answer="17"), [], "answer_not_of_its_kind"),
        (row("x", "broken.png"), [], "image_not_decodable"),
        (row("x", "text.png"), [], "image_not_decodable"),
        (row("x", "1.png"), ["filter.max_image_pixels=99"], "image_too_large"),
        (row("x", "thin.png"), [], "image_too_long_and_thin"),
    ],
)
def test_a_broken_rule_is_the_reason(
    folder: Path, changed: dict[str, Any], words: list[str], reason: str | None
) -> None:
    names, dropped = filtered(folder, [changed], *words)
    assert (names, dropped) == (["x"], {}) if reason is None else ([], {reason: 1})


def test_the_first_of_duplicates_stays(folder: Path) -> None:
    (folder / "copy.png").write_bytes((folder / "0.png").read_bytes())
    rows = [
        row("dropped", "0.png", answer=""),
        row("first", "0.png"),
        row("same image", "copy.png"),
        row("other image", "1.png"),
        row("other text", "0.png", question="<image> Why?"),
        row("other order", "0.png", "1.png"),
        row("reversed", "1.png", "0.png"),
    ]
    names, dropped = filtered(folder, rows)
    assert dropped == {"duplicate": 1, "no_answer": 1}
    assert names == ["first", "other image", "other text", "other order", "reversed"]
    names, _ = filtered(folder, rows, "filter.duplicates=true")
    assert "same image" in names
