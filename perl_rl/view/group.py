"""One group as its page shows it: the orders, and what each response says of the original order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perl_rl.view.texts import Part, question_parts

ANSWER_COLOURS = 6
"""Answers beyond these share the last colour."""


@dataclass(frozen=True)
class ResponseShown:
    """One response."""

    number: int
    """Its place among the group's responses, from 0: the end of its address."""
    order: int
    index: int
    """Among its order's responses, from 0."""
    values: Mapping[str, Any]
    """Its columns, without ``response_``; None where the record has none."""
    colour: int
    """Of its answer, from 1; 0 without an answer. Equal answers have the same."""

    @property
    def verdict(self) -> str:
        """``right``, ``wrong``, ``part`` (partly right) or ``unscored``."""
        accuracy = self.values["accuracy"]
        if accuracy is None:
            return "unscored"
        return "right" if accuracy >= 1 else "wrong" if accuracy <= 0 else "part"

    @property
    def said(self) -> str | None:
        """Its answer in the original order; as it was given where that is not known."""
        mapped: str | None = self.values["original_answer"]
        return mapped if mapped is not None else self.values["answer"]

    @property
    def mapped(self) -> bool:
        """Whether the answer reads otherwise in the original order."""
        return self.values["original_answer"] not in (None, self.values["answer"])

    @property
    def cut_off(self) -> bool:
        """Whether it ended at `sampling.max_tokens`."""
        return bool(self.values["finish"] == "length")


@dataclass(frozen=True)
class OrderShown:
    """One order of the images."""

    number: int
    values: Mapping[str, Any]
    """Its columns, without ``order_``."""
    parts: Sequence[Part]
    """The rewritten question."""
    responses: Sequence[ResponseShown]
    colour: int
    """Of its most frequent answer."""

    @property
    def moved(self) -> bool:
        """Whether an image is at another place than in the original order."""
        places = self.values["permutation"] or []
        return list(places) != sorted(places)


@dataclass(frozen=True)
class GroupShown:
    """One group."""

    row: Mapping[str, Any]
    """The group's own columns."""
    parts: Sequence[Part]
    """The question in the original order."""
    orders: Sequence[OrderShown]
    answers: Sequence[tuple[str, int, int]]
    """Each answer in the original order, its colour, and how many responses gave it."""

    @property
    def responses(self) -> list[ResponseShown]:
        """All responses, order by order."""
        return [one for order in self.orders for one in order.responses]


def group_shown(row: Mapping[str, Any]) -> GroupShown:
    """The group of a row of the record."""
    per_order = _columns(row, "order_")
    per_response = _columns(row, "response_")
    colours = _colours(row)
    orders = []
    of_order = row["response_order"] or []
    for number in range(row["orders"] or 0):
        values = _at(per_order, number)
        orders.append(
            OrderShown(
                number=number,
                values=values,
                parts=question_parts(row["question"] or "", values["question"] or ""),
                responses=[
                    _response(place, _at(per_response, place), colours)
                    for place, order in enumerate(of_order)
                    if order == number
                ],
                colour=colours.get(values["majority"], 0),
            )
        )
    return GroupShown(
        row=row,
        parts=question_parts(row["question"] or "", row["question"] or ""),
        orders=orders,
        answers=[(text, colours[text], times) for text, times in _answers(row)],
    )


def _columns(row: Mapping[str, Any], prefix: str) -> dict[str, Sequence[Any] | None]:
    return {name[len(prefix) :]: row[name] for name in row if name.startswith(prefix)}


def _at(columns: Mapping[str, Sequence[Any] | None], place: int) -> dict[str, Any]:
    # A column may be null as a whole: a group that was not scored completely has no advantages.
    return {
        name: values[place] if values is not None and place < len(values) else None
        for name, values in columns.items()
    }


def _response(number: int, values: dict[str, Any], colours: Mapping[str, int]) -> ResponseShown:
    mapped, given = values["original_answer"], values["answer"]
    colour = colours.get(given if mapped is None else mapped, 0)
    return ResponseShown(number, values["order"], values["index"] or 0, values, colour)


def _answers(row: Mapping[str, Any]) -> list[tuple[str, int]]:
    mapped, given = row["response_original_answer"] or [], row["response_answer"] or []
    found = Counter(
        one if one is not None else said
        for one, said in zip(mapped, given, strict=True)
        if said is not None
    )
    return found.most_common()


def _colours(row: Mapping[str, Any]) -> dict[str, int]:
    return {
        text: min(place, ANSWER_COLOURS) for place, (text, _) in enumerate(_answers(row), start=1)
    }
