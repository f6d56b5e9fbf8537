"""The held-out questions of two evaluations of a run, one by one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perl_rl.eval.heldout import HeldOutResult
    from perl_rl.eval.robustness import ItemOutcome

PER_PAGE = 100


@dataclass(frozen=True)
class Question:
    """One question, as both evaluations answered it."""

    id: str
    a: "ItemOutcome"
    b: "ItemOutcome"

    @property
    def both(self) -> tuple["ItemOutcome", "ItemOutcome"]:
        """The outcomes of the two evaluations."""
        return self.a, self.b

    @property
    def gained(self) -> bool:
        """Whether more orders are right in the second one."""
        return sum(self.b.right) > sum(self.a.right)

    @property
    def lost(self) -> bool:
        """Whether fewer orders are right in the second one."""
        return sum(self.b.right) < sum(self.a.right)


FILTERS: dict[str, tuple[str, Callable[[Question], bool]]] = {
    "lost": ("worse", lambda one: one.lost),
    "gained": ("better", lambda one: one.gained),
    "flips": ("change with the order", lambda one: one.b.flips),
    "wrong": ("wrong in every order", lambda one: not any(one.b.right)),
    "all": ("all questions", lambda one: True),
}
"""By name: what the questions are called, and which ones they are; all but the first two go by the
second evaluation."""


def questions(a: "HeldOutResult", b: "HeldOutResult") -> list[Question]:
    """The questions of two evaluations that asked the same; none of an older version of this
    software, which kept no single questions."""
    shared = [name for name in a.by_item if name in b.by_item]
    return [Question(name, a.by_item[name], b.by_item[name]) for name in shared]
