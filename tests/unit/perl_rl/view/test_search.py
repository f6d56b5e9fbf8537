"""Words in responses: searched from the newest file to the oldest, for a limited time."""

from pathlib import Path
from typing import Any

import pytest

from perl_rl.view.index import GroupIndex
from perl_rl.view.search import with_response
from tests.group_records import MARKUP, write_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    run = tmp_path_factory.mktemp("run")
    return run, write_run(run, steps=4)


def test_every_group_with_the_words_is_found(made: tuple[Path, list[dict[str, Any]]]) -> None:
    run, rows = made
    table = GroupIndex(run).read().table
    for text in (MARKUP, MARKUP.upper(), "boxed{b}", "the second picture"):
        expected = {
            row["group_id"]
            for row in rows
            if any(text.lower() in one.lower() for one in row["response_text"])
        }
        found = with_response(run, table, text)
        assert set(found.groups["group_id"].to_pylist()) == expected != set()
        assert found.down_to is None
    assert with_response(run, table, "zebra").groups.num_rows == 0


def test_only_the_groups_that_are_given_are_searched(
    made: tuple[Path, list[dict[str, Any]]],
) -> None:
    run, _ = made
    table = GroupIndex(run).read().table.slice(3, 5)
    found = with_response(run, table, "picture").groups["group_id"].to_pylist()
    assert found and set(found) <= set(table["group_id"].to_pylist())


def test_a_search_that_takes_too_long_says_how_far_it_came(
    made: tuple[Path, list[dict[str, Any]]],
) -> None:
    run, _ = made
    table = GroupIndex(run).read().table
    assert with_response(run, table, "picture", budget_s=-1).down_to == 5, "nothing is searched"
