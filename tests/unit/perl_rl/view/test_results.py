"""Result files of eval, item by item: what changed, what flips, and what must not be compared."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from perl_rl.eval.results import ItemResult
from perl_rl.view.app import create_app
from shared.errors import UserError
from tests.eval_results import ORDERS, item, write


@pytest.fixture
def two(tmp_path: Path) -> list[Path]:
    """B gains q1 and a/2, loses q3; q3 flips in A, q4 is wrong in both."""
    a = {"q1": "--", "a/2": "--", "q3": "+-", "q4": "--", "q5": "++"}
    b = {"q1": "++", "a/2": "++", "q3": "--", "q4": "--", "q5": "++"}
    return [
        write(tmp_path / f"{name}.json", [item(*one) for one in patterns.items()])
        for name, patterns in (("a", a), ("b", b))
    ]


def shown(files: list[Path], address: str) -> str:
    answer = TestClient(create_app(files), base_url="http://localhost").get(address)
    assert answer.status_code == 200, answer.text
    return answer.text


def items_in(page: str) -> list[str]:
    return re.findall(r'<tr><td><a href="[^"]*">([^<]*)</a>', page)


@pytest.mark.parametrize(
    ("show", "items"),
    [
        ("all", ["q1", "a/2", "q3", "q4", "q5"]),
        ("changed", ["q1", "a/2", "q3"]),
        ("gained", ["q1", "a/2"]),
        ("lost", ["q3"]),
        ("flipped", ["q3"]),
        ("wrong", ["q4"]),
    ],
)
def test_filters_find_their_items(two: list[Path], show: str, items: list[str]) -> None:
    page = shown(two, f"/results/0-1?show={show}")
    assert items_in(page) == items
    assert f" {len(items)}</a>" in page


def test_the_figures_are_those_of_eval_compare(two: list[Path]) -> None:
    text = " ".join(re.sub(r"<[^>]*>", " ", shown(two, "/results")).split())
    assert "score, original order 5 0.400 0.600 +0.200" in text
    assert "By place of the gold image" in text


def test_an_item_shows_every_answer_of_both(two: list[Path]) -> None:
    page = shown(two, "/results/0-1/items/a%2F2")
    assert page.count("I say -") == 2 and page.count("I say +") == 2
    assert "&lt;i&gt;a/2&lt;/i&gt;" in page
    assert 'data-key="j"' in page and 'data-key="k"' in page


def test_one_result_is_shown_alone(two: list[Path]) -> None:
    page = shown(two[:1], "/results")
    assert items_in(page) == ["q1", "a/2", "q3", "q4", "q5"]
    assert "Under other orders" in page


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([item("q1", "++")], "5 questions, B 1, and 1 of them"),
        (
            [item(name, "++", ORDERS[::-1]) for name in ("q1", "a/2", "q3", "q4", "q5")],
            "not the same ones",
        ),
    ],
    ids=["questions", "orders"],
)
def test_other_questions_and_orders_are_never_side_by_side(
    two: list[Path], tmp_path: Path, items: list[ItemResult], words: str
) -> None:
    other = write(tmp_path / "other.json", items)
    app = create_app([two[0], other])
    for address in ("/results", "/results/0-1/items/q1"):
        answer = TestClient(app, base_url="http://localhost").get(address)
        assert answer.status_code == 409
        assert words in answer.text
        assert items_in(answer.text) == []


def test_what_is_no_result_is_refused_before_pages_are_served(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.json: cannot read the result"):
        create_app([tmp_path / "none.json"])
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(UserError, match=r"bad\.json: not a result of perl-rl eval"):
        create_app([tmp_path / "bad.json"])


def test_a_result_that_is_spoilt_later_is_named_on_its_page(two: list[Path]) -> None:
    app = create_app(two)
    two[0].write_text("{}")
    answer = TestClient(app, base_url="http://localhost").get("/results/0")
    assert answer.status_code == 409
    assert f"{two[0].name}: not a result of perl-rl eval" in answer.text
