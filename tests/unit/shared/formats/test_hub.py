"""Data sets of the Hub: the real library downloads from a scripted server."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from shared.errors import UserError
from shared.formats.hub import hub_files, is_hub, pinned, read_name
from shared.formats.rows import find_files, read_rows
from tests.scripted_hub import ScriptedHub

CARD = b"""---
configs:
- config_name: easy
  data_files:
  - split: train
    path: easy/train-*.parquet
  - split: test
    path: [easy/first.jsonl, easy/second.jsonl]
- config_name: hard
  data_files: hard/*.parquet
---
# Pairs
"""


def parquet(*questions: str) -> bytes:
    out = io.BytesIO()
    rows = [{"problem": question, "answer": "1"} for question in questions]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), out)
    return out.getvalue()


FILES = {
    "easy/train-00000-of-00002.parquet": parquet("one", "two"),
    "easy/train-00001-of-00002.parquet": parquet("three"),
    "easy/first.jsonl": b'{"problem": "four"}\n',
    "easy/second.jsonl": b'{"problem": "five"}\n',
    "hard/all.parquet": parquet("six"),
    "pictures.zip": b"PK",
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, empty."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedHub]:
    found = ScriptedHub({"README.md": CARD, **FILES})
    with found.serving() as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr(
            "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
            address + "/{repo_id}/resolve/{revision}/{filename}",
        )
        yield found


def questions(name: str) -> list[str]:
    return [row.text("problem") for file in find_files(Path(name), None) for row in read_rows(file)]


def test_the_pages_configurations_say_which_files_a_split_has(hub: ScriptedHub) -> None:
    assert questions("hf://digits/pairs:easy/train") == ["one", "two", "three"]
    assert questions("hf://digits/pairs:easy/test") == ["four", "five"]
    assert questions("hf://digits/pairs:hard/train") == ["six"]
    assert not any("pictures.zip" in request for request in hub.requests)


def test_without_a_page_names_say_which_files_a_split_has(hub: ScriptedHub) -> None:
    del hub.files["README.md"]
    assert questions("hf://digits/pairs/train") == ["one", "two", "three"]
    assert questions("hf://digits/pairs:easy/train") == ["one", "two", "three"]


def test_a_commit_that_is_there_needs_no_network(hub: ScriptedHub) -> None:
    name = pinned(Path("hf://digits/pairs:easy/train"))
    assert str(name) == f"hf:/digits/pairs@{hub.commit}:easy/train"
    before = questions(str(name))
    hub.requests.clear()
    assert questions(str(name)) == before
    assert hub.requests == []
    assert pinned(name) == name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("hf://digits/train", r"hf://digits/train: a data set of the Hub is written hf://owner/"),
        ("hf://digits/other/train", "the Hub has no such data set, or it is private"),
        ("hf://digits/pairs@nowhere:easy/train", "the data set has no revision 'nowhere'"),
        ("hf://digits/pairs/train", "the data set's configurations are easy, hard; name one"),
        ("hf://digits/pairs:easy/dev", "files of split 'dev'; its splits are train, test"),
        ("hf://digits/pairs:odd/train", "the data set's configurations are easy, hard"),
    ],
)
def test_what_the_hub_does_not_have_is_said(name: str, said: str, hub: ScriptedHub) -> None:
    with pytest.raises(UserError, match=said):
        hub_files(Path(name))


def test_without_a_network_one_line_says_what_to_do(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"cannot be had from the Hub .*hf download digits/pairs"):
        hub_files(Path("hf://digits/pairs/train"))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hf://a/b/train", ("a/b", None, None, "train")),
        ("hf://a/b@v1.0:c-d/test", ("a/b", "v1.0", "c-d", "test")),
    ],
)
def test_names_are_read_with_their_parts(text: str, parts: tuple) -> None:
    assert is_hub(Path(text))
    name = read_name(Path(text))
    assert (name.repository, name.revision, name.config, name.split) == parts
    assert str(name) == text


def test_the_list_of_files_is_kept_beside_the_cache(hub: ScriptedHub, cache: Path) -> None:
    hub_files(Path("hf://digits/pairs:hard/train"))
    kept = json.loads((cache / "perl-rl" / f"digits/pairs@{hub.commit}.json").read_text())
    assert "hard/all.parquet" in kept["files"] and "pictures.zip" not in kept["files"]
