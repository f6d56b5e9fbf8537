"""What a tracker has sent, and what of it still counts."""

import pytest

from perl_rl.trackers.cursor import Cursor, read_cursor, save_cursor
from shared.errors import UserError


def rows(*spans: tuple[int, int, int]) -> list[dict[str, int]]:
    """Lines of ``metrics.jsonl``, from incarnation, first and last step."""
    return [
        {"step": step, "incarnation": incarnation}
        for incarnation, first, last in spans
        for step in range(first, last + 1)
    ]


def sent(*spans: tuple[int, int, int]) -> Cursor:
    cursor = Cursor()
    for row in rows(*spans):
        cursor.add(row["incarnation"], row["step"])
    return cursor


@pytest.mark.parametrize(
    ("before", "now", "kept"),
    [
        ([], [], 0),
        ([(1, 1, 8)], [(1, 1, 8)], 8),
        ([(1, 1, 8)], [(1, 1, 12)], 8),
        ([(1, 1, 8)], [(1, 1, 5)], 5),
        ([(1, 1, 8)], [(1, 1, 5), (2, 6, 12)], 5),
        ([(1, 1, 5), (2, 6, 8)], [(1, 1, 5), (2, 6, 12)], 8),
        ([(1, 1, 5), (2, 6, 8)], [(1, 1, 3), (3, 4, 9)], 3),
        ([(1, 1, 8)], [(2, 1, 9)], 0),
        ([(1, 1, 8)], [], 0),
    ],
)
def test_what_counts_is_what_is_still_there_as_it_was_sent(before, now, kept) -> None:
    assert sent(*before).surviving(rows(*now)) == kept


def test_cutting_forgets_what_is_of_later_steps() -> None:
    cursor = sent((1, 1, 5), (2, 6, 8))
    cursor.evaluations, cursor.groups_step = [0, 4, 8], 8
    cursor.cut(5)
    assert (cursor.spans, cursor.evaluations, cursor.groups_step) == ([(1, 5)], [0, 4], 5)
    cursor.cut(3)
    assert (cursor.spans, cursor.sent) == ([(1, 3)], 3)
    cursor.cut(0)
    assert (cursor.spans, cursor.evaluations, cursor.groups_step) == ([], [], 0)


def test_it_is_read_back_and_a_damaged_one_is_refused(tmp_path) -> None:
    file = tmp_path / "wandb.json"
    cursor = sent((1, 1, 5))
    save_cursor(cursor, file)
    assert read_cursor(file) == cursor
    file.write_text("{")
    with pytest.raises(UserError, match=r"wandb\.json: not a tracker's state; delete it"):
        read_cursor(file)
