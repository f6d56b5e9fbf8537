"""Rewrites a sample for another order of its images by rules, or says why it cannot.

Images move; tags and the labels beside them stay. Every other name of an image (in the text, the
options and the answer) follows its image to the new slot and keeps its style.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from shared.permutation.answers import answer_atoms
from shared.permutation.bare import bare_atoms
from shared.permutation.change import refuse_change
from shared.permutation.chinese import chinese_atoms
from shared.permutation.doubts import refuse_doubtful, refuse_implied_order
from shared.permutation.invariant import names_an_image
from shared.permutation.mentions import english_atoms
from shared.permutation.names import Atom, Names, Refused, spell
from shared.permutation.options import (
    blank_labels,
    name_their_slots,
    option_atoms,
    refuse_bare_letters,
    text_options,
)
from shared.permutation.orders import Permutation, identity
from shared.permutation.slots import read_slots
from shared.permutation.wraps import join_lines, plain_blanks
from shared.sample import AnswerKind, OrderRule, Sample

# A group reads the same sample several times in a row.
_REMEMBERED = 1024

_slots = lru_cache(maxsize=_REMEMBERED)(read_slots)


class RenderedOrder(BaseModel):
    """A sample in one order of its images: the question as asked, and its right answer."""

    model_config = ConfigDict(frozen=True)

    question: str
    images: tuple[str, ...]
    answer: str
    permutation: Permutation


@dataclass(frozen=True)
class Reading:
    """What the engine found in a sample: the names in its text, or why the sample is refused."""

    names: Names | None
    atoms: tuple[Atom, ...] = ()
    reason: str | None = None
    text: str = ""
    """The words that are the reason for a refusal; empty when no words are."""


@lru_cache(maxsize=_REMEMBERED)
def read(sample: Sample) -> Reading:
    """Read the sample once, for all its orders."""
    try:
        return _read(sample)
    except Refused as refused:
        return Reading(None, reason=refused.reason, text=refused.text)


def refusal(sample: Sample) -> str | None:
    """Why `sample` cannot be permuted (``docs/permutation.md``); None when it can."""
    return read(sample).reason


def count_refusals(samples: Iterable[Sample]) -> dict[str, int]:
    """How many samples cannot be permuted, by reason, the most frequent first."""
    reasons = Counter(refusal(sample) for sample in samples)
    return {reason: count for reason, count in reasons.most_common() if reason is not None}


def apply_order(sample: Sample, permutation: Permutation) -> RenderedOrder:
    """The sample as it is asked in the order `permutation`.

    Raises:
        ValueError: when images would move but the sample cannot be permuted.
    """
    reading, question, answer = read(sample), sample.question, sample.answer
    if permutation != identity(len(sample.images)):
        if reading.names is None:
            raise ValueError(f"sample '{sample.id}' cannot be permuted: {reading.reason}")
        question = _rewrite(question, reading.atoms, reading.names, permutation.index)
        answer = answer_under(answer, sample, permutation)
    return RenderedOrder(
        question=question,
        images=tuple(sample.images[index] for index in permutation),
        answer=answer,
        permutation=permutation,
    )


def answer_under(answer: str, sample: Sample, permutation: Permutation) -> str:
    """Map an answer in the original order to `permutation` (the paper's Lambda(answer, sigma))."""
    return _renamed(answer, sample, permutation.index)


def answer_in_original(answer: str, sample: Sample, permutation: Permutation) -> str:
    """Map an answer under `permutation` back to the original order."""
    return _renamed(answer, sample, permutation.__getitem__)


def gold_slot(sample: Sample, permutation: Permutation) -> int | None:
    """The slot that shows the gold image under `permutation`; None when the answer is not one
    image."""
    names = _names(sample)
    if names is None or sample.order not in ("letter", "position"):
        return None
    atoms = answer_atoms(sample.answer, names, sample.order)
    return permutation.index(atoms[0].slot) if atoms else None


def _read(sample: Sample) -> Reading:
    if sample.order is None:
        raise Refused("no_order_rule")
    if len(sample.images) - len(set(sample.fixed)) < 2:
        raise Refused("fewer_than_two_movable_images")
    return _read_text(sample.question, sample.answer, sample.kind, sample.fixed, sample.order)


@lru_cache(maxsize=_REMEMBERED)
def _read_text(
    question: str, answer: str, kind: AnswerKind, fixed: tuple[int, ...], rule: OrderRule
) -> Reading:
    """The names in a sample's text; orders that differ in their images only share it."""
    slots = _slots(question, fixed, rule)
    if rule != "invariant" and not answer_atoms(answer, slots.names, rule):
        raise Refused("answer_names_no_slot", answer)
    options, whole = text_options(slots.text, bool(slots.bare & {"letter"})), slots.text
    if rule == "letter" and name_their_slots(options, slots):
        # "A. the first image": the letter follows the image, the options stay as they are.
        blank = "\n" * (options[-1].end - options[0].label)
        whole, options = whole[: options[0].label] + blank + whole[options[-1].end :], []
    text = blank_labels(whole, options)
    ordering = rule == "order"
    atoms = [*english_atoms(text, slots, ordering), *chinese_atoms(text, slots, ordering)]
    listed = option_atoms(whole, options, slots, rule)
    starts = {atom.start for atom in atoms}
    atoms += [atom for atom in listed if atom.start not in starts]
    atoms += bare_atoms(text, options, slots, atoms)
    atoms.sort(key=lambda atom: atom.start)
    refuse_bare_letters(text, slots, atoms)
    refuse_doubtful(text, slots, atoms)
    if rule == "invariant":
        refuse_implied_order(text, slots, atoms)
        if names_an_image(join_lines(plain_blanks(answer)), kind, options, slots, atoms):
            raise Refused("answer_names_an_image", answer)
        refuse_change(text, slots, atoms)
    return Reading(slots.names, tuple(atoms))


def _names(sample: Sample) -> Names | None:
    """The names of the slots, for answers; they are known even when the text is refused."""
    if sample.order is None:
        return None
    try:
        return _slots(sample.question, sample.fixed, sample.order).names
    except Refused:
        return None


def _renamed(answer: str, sample: Sample, moved: Callable[[int], int]) -> str:
    names = _names(sample)
    if names is None or sample.order is None:
        return answer
    return _rewrite(answer, answer_atoms(answer, names, sample.order), names, moved)


def _rewrite(text: str, atoms: Iterable[Atom], names: Names, moved: Callable[[int], int]) -> str:
    """`text` with the name in every atom replaced by that of the slot `moved(atom.slot)`."""
    pieces, done = [], 0
    for atom in atoms:
        token = text[atom.start : atom.end]
        value = names.value(moved(atom.slot), atom.name.family)
        pieces += [text[done : atom.start], spell(value, atom.name, token)]
        done = atom.end
    return "".join([*pieces, text[done:]])
