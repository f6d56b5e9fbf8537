"""MV-MATH: school mathematics over interleaved images; answers have one step or several."""

import re
import string

from perl_rl.eval.items import (
    Benchmark,
    Item,
    ScoreRule,
    any_letter,
    interleaved,
    several_letters,
)
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.kinds.steps import split_steps
from shared.sample import IMAGE_TAG, AnswerKind, OrderRule, Sample

_TYPES = ("choice", "single-step", "multi-step")
_OPTION_IMAGE = re.compile(rf"(?<![A-Za-z])([A-H])\s?[.:)．、]\s*{IMAGE_TAG}", re.ASCII)
# Captions that would be wrong after images move.
_CAPTION = re.compile(r"\b(?:fig(?:ure)?|picture|image|diagram|graph)\b\.?\s*\(?\d", re.IGNORECASE)


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``problem_id, question, input_image, answer, answer_type, subject``.

    ``input_image`` lists file names, which the text names ``<image_1>`` and so on.
    """
    names = row.texts("input_image")
    files = [pictures.keep(name, row, "input_image") for name in names]
    text, shown = interleaved(row, len(files))
    answer_type = row.one_of("answer_type", _TYPES)
    answer, kind, rule = _gold(row, answer_type)
    order, fixed = _order(text, len(files)) if kind == "letter" else (None, ())
    if rule == "steps":
        text += "\nNumber the parts of the final answer: (1) ...; (2) ..."
    return Item(
        Sample(
            id=row.text("problem_id"),
            question=text,
            images=tuple(files[index] for index in shown),
            answer=answer,
            kind=kind,
            order=order,
            fixed=fixed,
            source=row.text("subject", empty=True) or "all",
        ),
        rule=rule,
        groups={"answer_type": answer_type},
    )


def _gold(row: Row, answer_type: str) -> tuple[str, AnswerKind, ScoreRule]:
    answer = row.text("answer")
    if answer_type == "single-step":
        return answer, "math", "kind"
    if answer_type == "multi-step":
        if not split_steps(answer):
            raise row.bad("answer", "a multi-step answer must read '(1) ..; (2) ..'")
        return answer, "steps", "steps"
    letters = several_letters(answer)
    if letters is not None:
        return letters, "list", "letters"
    return any_letter(row, "answer"), "letter", "kind"


def _order(text: str, images: int) -> tuple[OrderRule | None, tuple[int, ...]]:
    """Where each option is an image, the letter follows it, and other images stay."""
    options = list(_OPTION_IMAGE.finditer(text))
    labels = "".join(option[1] for option in options)
    expected = string.ascii_uppercase[: len(labels)]
    if len(options) < 2 or labels != expected or _CAPTION.search(text):
        return None, ()
    slots = {text.count(IMAGE_TAG, 0, option.start()) for option in options}
    return "letter", tuple(slot for slot in range(images) if slot not in slots)


BENCHMARK = Benchmark(
    name="mv-math",
    title="MV-MATH",
    split="test",
    published=2009,
    average="micro",
    compares="letters, of several all; expressions by equivalence; of several steps, all",
    to_item=to_item,
)
