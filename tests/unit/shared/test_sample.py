"""Data files: what they give, and one line with file, line and field for what is wrong in them."""

import json
from pathlib import Path
from typing import Any

import pytest

from shared.errors import UserError
from shared.sample import load_samples, read_samples


def row(**changes: Any) -> dict[str, Any]:
    fields = {
        "id": "1",
        "question": "<image><image> Which?",
        "images": ["a.png", "b.png"],
        "answer": "second",
        "kind": "position",
        "order": "position",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"any bytes")
    return tmp_path / "train.jsonl"


def write(file: Path, *rows: dict[str, Any] | str) -> None:
    lines = (line if isinstance(line, str) else json.dumps(line) for line in rows)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def refused(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_samples(file)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(str(file))
    return message.removeprefix(str(file))


def test_samples_come_in_order_with_their_image_files(file: Path) -> None:
    write(file, row(), "", row(id="2", fixed=[1], source="places"))
    first, second = load_samples(file)
    assert (first.id, second.id) == ("1", "2")
    assert first.images == (str(file.parent / "a.png"), str(file.parent / "b.png"))
    assert (second.fixed, second.source, first.order) == ((1,), "places", "position")
    assert [sample.images for sample in read_samples(file)] == [("a.png", "b.png")] * 2


def test_samples_without_images_or_order_are_read(file: Path) -> None:
    write(file, row(question="2+2?", images=[], answer="4", kind="math", order=None))
    (sample,) = load_samples(file)
    assert sample.order is None and sample.images == ()


def test_unusual_line_separators_stay_in_the_text(file: Path) -> None:
    question = "<image><image> one\u2028two\x0bthree\x85four"
    file.write_text(json.dumps(row(question=question), ensure_ascii=False), encoding="utf-8")
    assert load_samples(file)[0].question == question


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", ", line 2: not JSON ("),
        ("[" * 200_000, ", line 2: not JSON (nested too deeply)"),
        ("[]", ", line 2: is a list, not an object: write one object a line"),
        ("3", ', line 2: must be an object with {"field": value, ...}, not a number'),
        (row(id="2", answer=None), ", line 2, field 'answer': is missing"),
        (row(id="2", kind="essay"), ", line 2, field 'kind': must be 'letter', "),
        (
            row(id="2", order="random"),
            ", line 2, field 'order': must be 'invariant', 'letter', 'position' or 'order' (got "
            "'random')",
        ),
        (row(id="2", colour="red"), ", line 2, field 'colour': is unknown"),
        (row(id="2", answer=3), ", line 2, field 'answer': must be text"),
        (
            row(id="2", images=["a.png", 3]),
            ", line 2, field 'images': its second entry must be text",
        ),
        (
            row(id="2", images=["a.png"]),
            ", line 2: the question has 2 <image> tags but the sample has 1 image",
        ),
        (
            row(id="2", fixed=[2]),
            ", line 2: fixed is [2], but the 2 images are counted from 0",
        ),
        (
            row(id="2", images=["a.png", "c.png"]),
            ", line 2, field 'images': no image file 'c.png' in ",
        ),
        (row(), ", line 2, field 'id': '1' is also the id of line 1; make ids unique"),
    ],
)
def test_a_bad_row_is_named(file: Path, bad: dict[str, Any] | str, message: str) -> None:
    write(file, row(), bad)
    assert refused(file).startswith(message)


def test_a_missing_image_is_named_by_its_path(file: Path) -> None:
    write(file, row(images=["a.png", "folder/c.png"]))
    assert refused(file).endswith(f"no image file 'folder/c.png' in {file.parent}")
    assert len(read_samples(file)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": holds no samples; write one JSON object per line"),
        (b"\n \n", ": holds no samples; write one JSON object per line"),
        (b"ab\xff", ": is not UTF-8 text at byte 2"),
    ],
)
def test_a_file_without_samples(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    assert refused(file) == message


def test_a_file_that_is_not_there(file: Path) -> None:
    assert refused(file) == ": cannot read the data file (No such file or directory)"


@pytest.mark.parametrize(
    ("order", "kind"),
    [
        *(
            ("letter", "number"),
            ("letter", "boolean"),
            ("position", "letter"),
            ("position", "steps"),
        ),
        *(("order", "number"), ("order", "letter")),
    ],
)
def test_an_order_rule_that_cannot_move_the_answer_is_refused(
    file: Path, order: str, kind: str
) -> None:
    write(file, row(order=order, kind=kind))
    assert f"order '{order}' does not go with kind '{kind}'" in refused(file)


@pytest.mark.parametrize("name", ["", " ", "\t"])
def test_an_empty_id_is_refused(file: Path, name: str) -> None:
    write(file, row(), row(id=name))
    assert refused(file) == ", line 2, field 'id': is empty"
