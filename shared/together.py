"""Concurrent work that ends with its first failure."""

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
    """The first single error in nested groups: the others only follow from it."""
    while isinstance(several, BaseExceptionGroup):
        several = several.exceptions[0]
    return several
