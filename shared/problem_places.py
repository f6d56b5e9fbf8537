"""Where a refused value is, in plain words, from the path that pydantic gives.

That path counts from 0 and names the members of unions that were tried: ``data.train.sources.1``
is "data.train, second source" here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth"),
    *("sixth", "seventh", "eighth", "ninth", "tenth"),
)
_KEY = "[key]"


@dataclass(frozen=True)
class _Part:
    """One step into a value: a key, or an entry of a list or mapping in words."""

    word: str
    is_key: bool


@dataclass(frozen=True)
class Place:
    """A place in a model."""

    parts: tuple[_Part, ...]

    @property
    def words(self) -> str:
        """It in words: "data.train, second source, weight"; empty for the model as a whole."""
        text, after_key = "", False
        for part in self.parts:
            between = "" if not text else "." if after_key and part.is_key else ", "
            text, after_key = f"{text}{between}{part.word}", part.is_key
        return text

    @property
    def key(self) -> str:
        """Its keys alone: "data.train.weight"."""
        return ".".join(part.word for part in self.parts if part.is_key)

    @property
    def name(self) -> str:
        """Its last part."""
        return self.parts[-1].word if self.parts else ""

    @property
    def above(self) -> "Place":
        """The place that holds this one."""
        return Place(self.parts[:-1])

    @property
    def in_entry(self) -> bool:
        """Whether it lies in an entry of a list or mapping."""
        return any(not part.is_key for part in self.parts)

    def holds(self, other: "Place") -> bool:
        """Whether `other` lies below this place."""
        size = len(self.parts)
        return len(other.parts) > size and other.parts[:size] == self.parts


def place_of(location: Sequence[int | str], model: type[BaseModel]) -> Place:
    """The place in `model` that pydantic's `location` names."""
    return Place(tuple(_walk(model, list(location))))


def counted(number: int, noun: str) -> str:
    """ "second source" for 2: the entry of a list, counted from 1."""
    if number <= len(_ORDINALS):
        return f"{_ORDINALS[number - 1]} {noun}"
    last = number % 10 if number % 100 not in (11, 12, 13) else 0
    return f"{number}{('th', 'st', 'nd', 'rd')[last] if last < 4 else 'th'} {noun}"


def members(kind: Any) -> list[Any]:
    """The types that a value may have apart from None, with their tags."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) not in (Union, UnionType):
        return [kind]
    inner = [one for one in get_args(kind) if one is not NoneType]
    return members(inner[0]) if len(inner) == 1 else inner


def _walk(kind: Any, location: list[int | str]) -> Iterator[_Part]:
    if not location:
        return
    choices = members(kind)
    if len(choices) > 1:
        # The path names the member that was tried before what is inside it.
        tag, *inside = location
        yield from _walk(_chosen(choices, tag, inside), inside)
        return
    kind = _bare(choices[0])
    part, *rest = location
    if _is_model(kind):
        yield _Part(str(part), True)
        field = kind.model_fields.get(str(part))
        yield from _walk(field.annotation if field else Any, rest)
    elif isinstance(part, int) and get_origin(kind) is not dict:
        items = get_args(kind)
        item = items[0] if items else Any
        yield _Part(counted(part + 1, _noun(item)), False)
        yield from _walk(item, rest)
    elif get_origin(kind) is dict:
        yield _Part(f"{'key' if rest == [_KEY] else 'entry'} {part}", False)
        yield from _walk(get_args(kind)[1], [one for one in rest if one != _KEY])
    else:
        yield _Part(str(part), True)
        yield from _walk(Any, rest)


def _chosen(choices: list[Any], tag: int | str, inside: list[int | str]) -> Any:
    """The member of a union that a path goes into."""
    for one in choices:
        if any(isinstance(mark, Tag) and mark.tag == tag for mark in get_args(one)[1:]):
            return one
    return next((one for one in choices if inside and _takes(_bare(one), inside[0])), choices[0])


def _takes(kind: Any, part: int | str) -> bool:
    if _is_model(kind):
        return isinstance(part, str)
    origin = get_origin(kind)
    return origin is dict or (origin in (list, tuple, set, frozenset) and isinstance(part, int))


def _bare(kind: Any) -> Any:
    return _bare(get_args(kind)[0]) if get_origin(kind) is Annotated else kind


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _noun(item: Any) -> str:
    """What an entry of a list is called: "source" for `SourceConfig`."""
    kind = _bare(item)
    name = kind.__name__ if _is_model(kind) else ""
    if name.endswith("Config"):
        return str(name.removesuffix("Config").lower())
    return "value" if get_origin(kind) is Literal else "entry"
