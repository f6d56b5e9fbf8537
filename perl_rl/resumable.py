"""Work on many items, several at a time, that continues where a killed process left it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from perl_rl.counting import counting
from perl_rl.journal import Journal
from shared.together import together

Item = TypeVar("Item")
Entry = TypeVar("Entry")


async def work_through(
    what: str,
    items: Sequence[Item],
    name: Callable[[Item], str],
    work: Callable[[Item], Awaitable[Entry]],
    journal: Journal[Entry],
    at_once: int,
) -> None:
    """Do the items that the journal lacks, and enter each when it is finished.

    Args:
        what: the label of the progress bar.
        name: an item's name in the journal.
        at_once: how many items are worked on at the same time.

    Raises:
        UserError: the first that any of the work raises; finished items are in the journal.
    """
    missing = [item for item in items if name(item) not in journal.entries]
    waiting = iter(missing)
    with counting(what, len(items), len(items) - len(missing)) as advance:

        async def take_turns() -> None:
            for item in waiting:
                journal.add(name(item), await work(item))
                advance()

        await together(take_turns() for _ in range(min(at_once, len(missing))))
