"""MathVerse: each problem in versions that say more in the text, or more in the picture."""

import re

from perl_rl.eval.choices import letters_of
from perl_rl.eval.items import Benchmark, Item, ScoreRule, padded_left, several_letters
from perl_rl.eval.pictures import Pictures
from perl_rl.eval.rows import Row
from shared.grading.grade import same_answer
from shared.grading.kinds.letter import read_letter
from shared.sample import AnswerKind, Sample

_VERSIONS = (
    "Text Dominant",
    "Text Lite",
    "Text Only",
    "Vision Intensive",
    "Vision Dominant",
    "Vision Only",
)
_TYPES = ("multi-choice", "free-form")
_IN_THE_PICTURE = "Answer the question that the image shows."
_CHOICES = re.compile(r"\b(?:choices?|options?)\s?[:：]", re.IGNORECASE)
_CHOICE = re.compile(r"(?:^|\n|\s)\(?([A-H])\s?[).:：、]\s*(.*?)(?=\s\(?[A-H]\s?[).:：、]|\n|$)")


def to_item(row: Row, pictures: Pictures) -> Item:
    """A row with ``sample_index, problem_version, question, image, answer, question_type``.

    The question's text lists the choices; in version "Vision Only" the picture holds both, and the
    column ``question_for_eval`` the text.
    """
    version = row.one_of("problem_version", _VERSIONS)
    question_type = row.one_of("question_type", _TYPES)
    text = row.text("question", empty=version == "Vision Only") or _IN_THE_PICTURE
    images = () if version == "Text Only" else (pictures.keep(row.cell("image"), row, "image"),)
    choices = _choices(row) if question_type == "multi-choice" else ()
    answer, kind, rule = _gold(row, question_type, choices)
    return Item(
        Sample(
            id=row.text("sample_index"),
            question=padded_left(text, len(images), row),
            images=images,
            answer=answer,
            kind=kind,
            source=version,
        ),
        rule=rule,
        choices=choices,
        groups={"question_type": question_type},
    )


def _choices(row: Row) -> tuple[str, ...]:
    """The choices that the text lists, from A on; empty when it lists none."""
    for column in ("question", "question_for_eval"):
        text = str(row.values.get(column) or "")
        heading = _CHOICES.search(text)
        found = _CHOICE.findall(text, heading.end()) if heading else []
        choices = tuple(choice.strip() for _, choice in found)
        if len(choices) > 1 and "".join(letter for letter, _ in found) == letters_of(choices):
            return choices
    return ()


def _gold(
    row: Row, question_type: str, choices: tuple[str, ...]
) -> tuple[str, AnswerKind, ScoreRule]:
    """The right answer: a letter, also for the text of a choice; several letters; or open."""
    answer = row.text("answer")
    if question_type == "free-form":
        return answer, "math", "kind"
    letter = read_letter(answer)
    if letter is None or (choices and letter not in letters_of(choices)):
        letter = _letter_of(answer, choices)
    if letter is not None:
        return letter, "letter", "value" if choices else "kind"
    letters = several_letters(answer)
    if letters is not None:
        return letters, "list", "letters"
    if choices:
        reason = "is no letter and none of the choices"
        raise row.bad("answer", reason, f"'{answer[:40]}' {reason}")
    return answer, "math", "kind"


def _letter_of(answer: str, choices: tuple[str, ...]) -> str | None:
    for letter, choice in zip(letters_of(choices), choices, strict=True):
        if same_answer(answer, choice, "text"):
            return letter
    return None


BENCHMARK = Benchmark(
    name="mathverse",
    title="MathVerse",
    split="testmini",
    published=3940,
    average="micro",
    compares="letters, else the value of the right choice; of several letters all; expressions by "
    "equivalence",
    to_item=to_item,
)
