"""Filters of a list of groups: read from an address, applied to the index, written back."""

import pyarrow as pa
import pytest

from perl_rl.view.filters import Filters, apply, choices, counts, from_query
from perl_rl.view.index import GroupIndex
from tests.group_records import write_run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    run = tmp_path_factory.mktemp("run")
    write_run(run, steps=6)
    return GroupIndex(run).read().table


def shown(table: pa.Table, **filters: object) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = apply(Filters(**filters), table).to_pylist()  # type: ignore[arg-type]
    return rows


def test_each_kind_shows_its_groups_and_counts_them(table: pa.Table) -> None:
    every = table.to_pylist()
    expected = {
        "flipped": [row for row in every if row["flipped"]],
        "dropped": [row for row in every if row["status"] == "dropped"],
        "right": [row for row in every if row["accuracy"] == 1],
        "wrong": [row for row in every if row["accuracy"] == 0],
        "truncated": [row for row in every if row["truncated"]],
        "mismatch": [row for row in every if (row["mismatch"] or 0) > 0.05],
    }
    for name, rows in expected.items():
        found = shown(table, only=(name,))
        assert {row["group_id"] for row in found} == {row["group_id"] for row in rows}
        assert counts(table)[name] == len(rows)
    assert expected["flipped"] and expected["dropped"] and expected["truncated"]


def test_several_filters_hold_together(table: pa.Table) -> None:
    found = shown(table, only=("flipped", "trained"), first=2, last=3)
    assert found
    assert all(
        row["flipped"] and row["status"] == "trained" and row["step"] in (2, 3) for row in found
    )


def test_text_is_searched_in_questions_answers_and_ids(table: pa.Table) -> None:
    assert len(shown(table, text="LARGEST digit")) == table.num_rows
    assert [row["group_id"] for row in shown(table, text="g00000007")] == ["g00000007"]
    assert shown(table, text="no such words") == []


def test_a_list_is_sorted_and_what_is_null_comes_last(table: pa.Table) -> None:
    down = [row["mismatch"] for row in shown(table, sort="mismatch")]
    up = [row["mismatch"] for row in shown(table, sort="mismatch", up=True)]
    known = [one for one in down if one is not None]
    assert known == sorted(known, reverse=True) and down[len(known) :] == up[len(known) :]
    assert up[: len(known)] == sorted(known)
    newest = shown(table)[0]
    assert newest["step"] == 6


def test_choices_are_the_values_that_there_are(table: pa.Table) -> None:
    assert choices(table, "kind") == [("letter", table.num_rows)]
    assert choices(table, "reason") == [("uniform_reward", counts(table)["dropped"])]


def test_an_address_says_the_filters_and_back() -> None:
    filters = Filters(only=("flipped",), text="a b", first=3, sort="reward", up=True, page=2)
    query = {name: str(value) for name, value in filters.query().items()}
    assert from_query(query) == filters
    assert from_query({}) == Filters() and Filters().query() == {}
    assert filters.toggled("flipped") == {"text": "a b", "first": 3, "sort": "reward", "up": 1}
    assert filters.sorted_by("reward")["sort"] == "reward" and "up" not in filters.sorted_by(
        "reward"
    )


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"only": "flipped,pretty"}, "only: no such kind of groups: pretty"),
        ({"sort": "colour"}, "sort: no such column: colour"),
        ({"first": "1e3"}, "first: not a whole number: 1e3"),
        ({"page": "x" * 500}, "page: not a whole number"),
    ],
)
def test_what_cannot_be_read_is_named(query: dict[str, str], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        from_query(query)
