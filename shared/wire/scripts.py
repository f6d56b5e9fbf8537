"""The Lua scripts in ``scripts/``: each changes several keys in Redis at once.

A script declares its names in comments, and its code uses them as local variables::

    -- keys: ledger counts
    -- args: group_id tasks...

A name that ends in ``...`` is a list of any length. The caller gives every value by name, so that
neither side counts positions: the indices of ``KEYS`` and ``ARGV`` are written here only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import redis.asyncio
from redis.asyncio.client import Pipeline

Value = str | bytes | int | float

PRELUDE = "prelude"
"""File of the functions that all scripts share."""

_DECLARATION = re.compile(r"^-- (keys|args): (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Declaration:
    """The names of a script's keys and arguments, in the order in which Redis gets them."""

    keys: tuple[str, ...]
    scalars: tuple[str, ...]
    lists: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return (*self.keys, *self.scalars, *self.lists)

    def locals(self) -> str:
        """Lua code that gives every name its value."""
        lines = [f"local {name} = KEYS[{at}]" for at, name in enumerate(self.keys, start=1)]
        lines += [f"local {name} = ARGV[{at}]" for at, name in enumerate(self.scalars, start=1)]
        lines += [f"local next_list = {len(self.scalars) + 1}"] if self.lists else []
        lines += [f"local {name}; {name}, next_list = read_list(next_list)" for name in self.lists]
        return "\n".join(lines)


class Script:
    """One script, called with its keys and arguments by name.

    Args:
        name: of its file, without ``.lua``.
    """

    def __init__(self, client: redis.asyncio.Redis, name: str) -> None:
        self.name = name
        self.declaration = declaration(name)
        body = f"{self.declaration.locals()}\n{source(name)}"
        self._run = client.register_script(f"{source(PRELUDE)}\n{body}")

    async def __call__(self, via: Pipeline | None = None, **values: Value | Sequence[Value]) -> Any:
        """What the script returns.

        Args:
            via: a pipeline that sends the call with others; it gives the answer.

        Raises:
            TypeError: when a name is missing, unknown, or a list where a single value is declared
                (or the other way round).
        """
        self._check(values)
        args: list[Any] = [values[name] for name in self.declaration.scalars]
        for name in self.declaration.lists:
            items = values[name]
            assert isinstance(items, Sequence)
            args += [len(items), *items]
        keys = [values[name] for name in self.declaration.keys]
        return await self._run(keys=keys, args=args, client=via)

    def _check(self, values: dict[str, Value | Sequence[Value]]) -> None:
        declared = self.declaration
        wrong = [f"no value for '{name}'" for name in declared.names if name not in values]
        wrong += [f"no key or argument '{name}'" for name in values if name not in declared.names]
        for name in declared.names:
            if name in values and _is_list(values[name]) != (name in declared.lists):
                kind = "a list" if name in declared.lists else "one value"
                wrong.append(f"'{name}' takes {kind}")
        if wrong:
            raise TypeError(f"script {self.name}.lua: {', '.join(wrong)}")


@cache
def source(name: str) -> str:
    """The text of the script `name`."""
    return (files("shared.wire") / "scripts" / f"{name}.lua").read_text(encoding="utf-8")


def declaration(name: str) -> Declaration:
    """The names that the script `name` declares.

    Raises:
        ValueError: when it declares one twice.
    """
    found: dict[str, list[str]] = {"keys": [], "args": []}
    for kind, names in _DECLARATION.findall(source(name)):
        found[kind] += names.split()
    lists = tuple(name.removesuffix("...") for name in found["args"] if name.endswith("..."))
    scalars = tuple(name for name in found["args"] if not name.endswith("..."))
    declared = Declaration(tuple(found["keys"]), scalars, lists)
    if len(set(declared.names)) < len(declared.names):
        raise ValueError(f"script {name}.lua declares a name twice")
    return declared


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
