"""Says whether a gold answer names an option or an image that its question does not have."""

from shared.formats.text import options_without
from shared.grading.grade import canonical
from shared.permutation import gold_slot, identity, refusal
from shared.sample import Sample
from shared.words import amount

_SLOTLESS = "answer_names_no_slot"


def names_nothing(sample: Sample) -> str | None:
    """What the gold answer names in vain, and what there is; None when it is there or in doubt."""
    if sample.kind not in ("letter", "position", "order"):
        return None
    form = canonical(sample.answer, sample.kind)
    nothing = None if form is None else _beyond(form, sample)
    # Labels in the question may name images otherwise than by their number.
    return None if nothing is None or _is_a_slot(sample) else nothing


def _beyond(form: str, sample: Sample) -> str | None:
    """What is beyond the number of images or options."""
    images, options = len(sample.images), len(sample.images) - len(set(sample.fixed))
    if sample.kind == "letter" and sample.order == "letter":
        return _beyond_options(form, options) if _index(form) >= options else None
    if sample.kind == "letter":
        labels = options_without(form, sample.question)
        return _beyond_options(form, len(labels)) if labels else None
    # A picture alone may hold several parts, which the answer counts.
    if sample.kind == "position" and (images > 1 or sample.order == "position"):
        return _beyond_images(sample, images) if int(form) > images else None
    if sample.kind == "order" and sample.order == "order":
        return _elements_beyond(form.split(","), images, options)
    return None


def _is_a_slot(sample: Sample) -> bool:
    """Whether the answer names slots, by the labels of the question or by their number."""
    if sample.order in ("letter", "position"):
        return gold_slot(sample, identity(len(sample.images))) is not None
    return sample.order == "order" and refusal(sample) != _SLOTLESS


def _elements_beyond(elements: list[str], images: int, options: int) -> str | None:
    for one in elements:
        if one.isdigit() and int(one) > images:
            return (
                f"the gold answer names image {one}, but the question has {amount(images, 'image')}"
            )
        if one.isalpha() and _index(one) >= options:
            return _beyond_options(one, options)
    return None


def _beyond_options(letter: str, options: int) -> str:
    last = chr(ord("A") + options - 1)
    return (
        f"the gold answer names option {letter}, but the question has {options} options "
        f"(A to {last})"
    )


def _beyond_images(sample: Sample, images: int) -> str:
    there = amount(images, "image")
    return f"the gold answer names image {sample.answer!r}, but the question has {there}"


def _index(letter: str) -> int:
    return ord(letter) - ord("A")
