"""What the pages of groups, responses, samples and images say."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from perl_rl.view.app import create_app
from perl_rl.view.links import part
from services.trainer.control.record_rows import group_row
from shared.config import ObjectiveConfig
from shared.records.groups import (
    as_table,
    file_name,
    group_files,
    groups_folder,
    images_folder,
    write_table,
)
from shared.records.settled import SettledGroup
from tests.builders import batch, task
from tests.group_records import write_run
from tests.hostile_records import GROUP, SAMPLE, write_hostile_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, steps=3)
    return tmp_path


def get(run: Path, path: str) -> Response:
    return TestClient(create_app([run]), base_url="http://localhost").get(path)


class Tags(HTMLParser):
    """The elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.seen = ""
        """All text, and all attributes but what a form sends."""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.seen += "".join(text or "" for name, text in attrs if name != "value")

    def handle_data(self, data: str) -> None:
        self.seen += data


def test_the_list_shows_every_group_and_its_state(run: Path) -> None:
    text = get(run, "/runs/0/groups").text
    assert all(f"g{number:08d}" in text for number in range(14))
    assert "dropped: uniform reward" in text and "flips" in text
    only = get(run, "/runs/0/groups?only=dropped").text
    assert "g00000004" in only and "g00000003" not in only
    assert "No group is like that" in get(run, "/runs/0/groups?text=nothing+like+it").text


def test_a_step_shows_its_groups_and_leads_to_its_neighbours(run: Path) -> None:
    text = get(run, "/runs/0/steps/2").text
    assert "g00000006" in text and "g00000000" not in text
    assert "steps/1" in text and "steps/3" in text
    assert "No group of step 77 is recorded" in get(run, "/runs/0/steps/77").text


def test_a_group_is_a_matrix_of_orders_and_responses(run: Path) -> None:
    answer = get(run, "/runs/0/groups/g00000002")
    assert answer.status_code == 200
    tags = Tags(answer.text).found
    tiles = [attrs for tag, attrs in tags if "tile" in (attrs.get("class") or "").split()]
    assert len(tiles) == 6
    assert answer.text.count("4 × 4") == 6, "the patches of each image in each order"
    assert "images moved" in answer.text and "Gold here" in answer.text
    assert "said <bdi>C</bdi>" in answer.text, "an answer that is mapped back"


def test_the_groups_before_and_after_are_those_of_the_list(run: Path) -> None:
    text = get(run, "/runs/0/groups/g00000009?only=dropped").text
    assert "groups/g00000004?only=dropped" in text
    assert "1 of 2" in text, "groups 4 and 9 are dropped, the newest is the first"


def test_a_response_says_what_is_not_recorded(run: Path) -> None:
    assert "policy version" in get(run, "/runs/0/groups/g00000000/responses/0").text
    scored = SettledGroup(
        group_id="g00000090",
        step=8,
        state="dropped:dead_letter",
        detail="order 1: not a message",
        incarnation=1,
        settled_ms=0,
        tasks=(task(), task(order_index=1)),
        unscored=(batch(),),
    )
    row = group_row(scored, "r", ObjectiveConfig(), tokens=False)
    write_table(as_table([row]), groups_folder(run) / file_name(8, 0))
    group = get(run, "/runs/0/groups/g00000090").text
    assert "order 1: not a message" in group and "not sampled before the group" in group
    assert "not kept" in group, "its pictures"
    assert "tokens are not recorded" in get(run, "/runs/0/groups/g00000090/responses/0").text


def test_a_sample_lists_every_group_that_asked_it(run: Path) -> None:
    rows = write_run(run, steps=3)
    sample = rows[0]["sample_id"]
    same = [row["group_id"] for row in rows if row["sample_id"] == sample]
    text = get(run, f"/runs/0/samples/{part(sample)}").text
    assert len(same) > 1 and all(name in text for name in same)
    assert get(run, "/runs/0/samples/none").status_code == 404


def test_images_are_served_by_their_hash_only(run: Path) -> None:
    (file, *_) = sorted(images_folder(run).iterdir())
    answer = get(run, f"/runs/0/images/{file.stem}")
    assert answer.content == file.read_bytes() and answer.headers["content-type"] == "image/png"
    assert get(run, f"/runs/0/small/{file.stem}.webp").headers["content-type"] == "image/webp"
    wrong = (
        *(file.name, file.stem.upper(), "0" * 64, "..%2f..%2fmetrics.jsonl", "%2e%2e%2fx"),
        *(f"{file.stem}%00", f"{file.stem}%0a"),
    )
    for name in wrong:
        assert get(run, f"/runs/0/images/{name}").status_code == 404, name


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/runs/3/groups", "There is no run 3: this page shows 1."),
        ("/runs/0/groups/g9", "There is no record of group g9"),
        ("/runs/0/groups/g00000000/responses/6", "has no response 6; it has 6"),
        ("/runs/0/groups?first=x", "first: not a whole number: x"),
        ("/runs/0/steps/soon", "step: must be a whole number"),
    ],
)
def test_a_wrong_address_gets_one_line(run: Path, path: str, line: str) -> None:
    answer = get(run, path)
    assert answer.status_code in (400, 404) and line in answer.text


def test_a_run_with_damaged_or_old_files_is_shown_with_a_line(run: Path) -> None:
    (groups_folder(run) / file_name(7, 0)).write_bytes(b"PAR1 half")
    text = get(run, "/runs/0/groups").text
    assert "not a whole Parquet file" in text and "g00000000" in text
    newest = group_files(groups_folder(run))[0]
    pages = TestClient(create_app([run]), base_url="http://localhost")
    pages.get("/runs/0/groups")
    newest.unlink()
    assert pages.get("/runs/0/groups/g00000000").status_code == 404


def test_all_text_from_models_and_data_is_escaped(tmp_path: Path) -> None:
    write_hostile_run(tmp_path)
    paths = (
        *("/runs/0/groups", "/runs/0/steps/9", f"/runs/0/groups/{GROUP}"),
        *(f"/runs/0/groups/{GROUP}/responses/0", f"/runs/0/samples/{part(SAMPLE)}"),
        "/runs/0/groups?text=%3Cscript%3Ealert(1)%3C/script%3E",
    )
    for path in paths:
        answer = get(tmp_path, path)
        assert answer.status_code == 200, path
        page = Tags(answer.text)
        tags = page.found
        scripts = [attrs for tag, attrs in tags if tag == "script"]
        assert [attrs["src"].rpartition("/")[2] for attrs in scripts] == ["keys.js"], path  # type: ignore[union-attr]
        assert not [name for _, attrs in tags for name in attrs if name.startswith("on")], path
        assert not [tag for tag, attrs in tags if "style" in attrs], path
        assert not set("\u202e\u2067\u200b\U000e0041\x00\ufeff") & set(page.seen), path
    shown = get(tmp_path, f"/runs/0/groups/{GROUP}/responses/0").text
    assert "漢字 👩\u200d👩\u200d👧" in shown and r"right \u{202e}to left\u{202c}" in shown
