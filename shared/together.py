"""Work done at the same time, of which one failure ends all."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order; when one fails, the others are cancelled and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as several:
        raise first_error(several) from None
    return [task.result() for task in tasks]


def first_error(several: BaseException) -> BaseException:
    """The error that made the others: of concurrent work only one is worth a report."""
    while isinstance(several, BaseExceptionGroup):
        several = several.exceptions[0]
    return several
