"""A gold answer that names no option or image of its question is found; what is in doubt passes."""

from typing import Any

import pytest

from perl_rl.launch.gold_names import names_nothing
from shared.sample import Sample

TEXT_OPTIONS = "<image>What is it?\nA. a cat\nB. a dog\nC. a cow"
THREE = "<image><image><image>\nWhich one?"


def sample(question: str, answer: str, kind: str, **more: Any) -> Sample:
    images = tuple(f"{place}.png" for place in range(question.count("<image>")))
    fields = {"id": "1", "question": question, "images": images, "answer": answer, "kind": kind}
    return Sample.model_validate(fields | more)


@pytest.mark.parametrize(
    ("question", "answer", "kind", "more", "found"),
    [
        (TEXT_OPTIONS, "E", "letter", {}, "option E, but the question has 3 options (A to C)"),
        (TEXT_OPTIONS, "D", "letter", {"order": "invariant"}, "option D, but"),
        (THREE, "E", "letter", {"order": "letter"}, "option E, but the question has 3 options"),
        (THREE, "C", "letter", {"order": "letter", "fixed": (0,)}, "2 options (A to B)"),
        (THREE, "fourth", "position", {"order": "position"}, "'fourth', but the question has 3 i"),
        (THREE, "4", "position", {}, "image '4', but the question has 3 images"),
        (THREE, "2, 4, 1", "order", {"order": "order"}, "image 4, but the question has 3 images"),
        (THREE, "B, D, A", "order", {"order": "order"}, "option D, but the question has 3 option"),
    ],
)
def test_an_answer_that_names_nothing_is_found(
    question: str, answer: str, kind: str, more: dict[str, Any], found: str
) -> None:
    assert found in (names_nothing(sample(question, answer, kind, **more)) or "")


@pytest.mark.parametrize(
    ("question", "answer", "kind", "more"),
    [
        (TEXT_OPTIONS, "C", "letter", {}),
        (TEXT_OPTIONS, "(b) a dog", "letter", {"order": "invariant"}),
        ("<image>Which one? A. a B. b C c", "C", "letter", {}),
        ("<image>Which point is right?", "E", "letter", {}),
        ("<image>Which of B. or D. is it?", "E", "letter", {}),
        (THREE, "C", "letter", {"order": "letter"}),
        ("D. <image> E. <image>\nWhich one?", "E", "letter", {"order": "letter"}),
        (THREE, "last", "text", {"order": "position"}),
        (THREE, "third", "position", {"order": "position"}),
        ("Image 4: <image> Image 5: <image> Which?", "5", "position", {"order": "position"}),
        ("<image>Which of the four panels?", "4", "position", {}),
        (THREE, "2, 3, 1", "order", {"order": "order"}),
        (THREE, "B, A", "order", {"order": "order"}),
        ("<image>Sort the events.", "4, 2, 3, 1", "order", {}),
        (THREE, "12", "number", {"order": "invariant"}),
    ],
)
def test_an_answer_that_is_there_or_in_doubt_passes(
    question: str, answer: str, kind: str, more: dict[str, Any]
) -> None:
    assert names_nothing(sample(question, answer, kind, **more)) is None
