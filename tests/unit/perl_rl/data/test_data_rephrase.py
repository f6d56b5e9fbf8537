"""Rephrasing: what makes a usable answer, and the letter question that comes of it."""

import json
from collections import Counter
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.data.asking import Nonsense, marked
from perl_rl.data.rephrase import Rephrased, as_letter_question, checked
from shared.sample import Sample, load_samples
from tests.format_files import save_digits
from tests.scripted_endpoint import Body, ScriptedEndpoint, text_of

OPEN = Sample(
    id="a",
    question="Look at <image> and <image>. What animal is in both?",
    images=("1.png", "2.png"),
    answer="A cat",
    kind="text",
    order="invariant",
)
GOOD = {
    "question": "[image 1] [image 2] Which animal do both show?",
    "options": ["a dog", "a cat.", "a cow"],
}


def test_marks_stand_for_image_tags() -> None:
    assert marked(OPEN.question) == "Look at [image 1] and [image 2]. What animal is in both?"


@pytest.mark.parametrize("text", [json.dumps(GOOD), f"```json\n{json.dumps(GOOD)}\n```"])
def test_a_good_answer_is_read(text: str) -> None:
    assert checked(text, OPEN) == Rephrased.model_validate(GOOD)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question": "Which animal?"}, "images_not_named_as_before"),
        ({"question": "[image 2] [image 1] Which?"}, "images_not_named_as_before"),
        ({"question": "[image 1] [image 2] [image 2] Which?"}, "images_not_named_as_before"),
        ({"question": "<image> [image 1] [image 2] Which?"}, "images_not_named_as_before"),
        ({"question": "[image 1] [image 2]"}, "empty_question"),
        ({"options": ["a cat", "a dog"]}, "wrong_number_of_options"),
        ({"options": ["a cat", "1", "2", "3", "4", "5"]}, "wrong_number_of_options"),
        ({"options": ["a cat", "a dog", "A dog."]}, "options_repeat"),
        ({"options": ["a cat", "a dog", ""]}, "unusable_option"),
        ({"options": ["a cat", "a dog", "<image>"]}, "unusable_option"),
        ({"options": ["a cat", "a dog", "x\ny"]}, "unusable_option"),
        ({"options": ["a horse", "a dog", "a cow"]}, "gold_answer_not_among_options"),
        ({"options": "a cat"}, "wrong_fields"),
        ({"answer": "A"}, "wrong_fields"),
    ],
)
def test_an_answer_without_sense_has_a_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(Nonsense, match=f"^{reason}$"):
        checked(json.dumps(GOOD | changes), OPEN)


@pytest.mark.parametrize("text", ["", "no", "{", "[1]", f"Sure! {json.dumps(GOOD)}", "[" * 9999])
def test_other_text_is_no_answer(text: str) -> None:
    with pytest.raises(Nonsense, match=r"not_json|wrong_fields"):
        checked(text, OPEN)


def test_the_seed_places_the_gold_option() -> None:
    answer = Rephrased.model_validate(GOOD)
    places = Counter()
    for number in range(300):
        sample = OPEN.model_copy(update={"id": f"s{number}"})
        made = as_letter_question(sample, answer, seed=1)
        assert made == as_letter_question(sample, answer, seed=1)
        asked, *options = made.question.split("\n")
        assert asked == "<image> <image> Which animal do both show?"
        assert options["ABC".index(made.answer)] == f"{made.answer}. A cat"
        assert sorted(option[3:] for option in options) == ["A cat", "a cow", "a dog"]
        assert (made.kind, made.order, made.images) == ("letter", "invariant", OPEN.images)
        places[made.answer] += 1
    # Binomial(300, 1/3): five standard deviations.
    assert all(abs(count - 100) < 41 for count in places.values()), places


def test_an_order_rule_of_the_old_answer_goes() -> None:
    placed = OPEN.model_copy(update={"order": "position"})
    assert as_letter_question(placed, Rephrased.model_validate(GOOD), seed=1).order is None


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Open questions 0 to 5 and one that is objective already."""
    save_digits(tmp_path, 1)
    rows = [
        {"id": str(n), "question": f"<image> {n}?", "images": ["0.png"], "answer": f"so {n}"}
        | {"kind": "text" if n < 6 else "letter"}
        for n in range(7)
    ]
    file = tmp_path / "open.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    return file


def script(body: Body) -> str:
    """Question 1 never gets sense, question 2 at the second try."""
    text = text_of(body)
    tries.update([text])
    if " 1?" in text or (" 2?" in text and tries[text] == 1):
        return "I cannot."
    question, _, gold = text.removeprefix("Question:\n").rpartition("\n\nRight answer: ")
    return json.dumps({"question": question, "options": ["x", "y", gold]})


tries: Counter[str] = Counter()


@pytest.mark.parametrize("failed", ["drop", "keep"])
def test_the_stage_counts_what_it_drops_and_why(
    questions: Path, tmp_path: Path, failed: str
) -> None:
    tries.clear()
    out = tmp_path / "out"
    with ScriptedEndpoint(script).serving() as endpoint:
        words = [f"endpoint.url={endpoint.url}", "endpoint.model=m", f"rephrase.failed={failed}"]
        command = ["data", "rephrase", str(questions), "--out", str(out), "--set", *words]
        assert main(command) == 0
        first = endpoint.requests[0]["messages"]
        assert [part["type"] for part in first[1]["content"]] == ["image_url", "text"]
        assert first[1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    samples = {sample.id: sample for sample in load_samples(out / "samples.jsonl")}
    report = json.loads((out / "report.json").read_text())
    assert report["details"]["unusable answers"] == {"not_json": 4}
    assert report["details"]["samples"]["rephrased"] == 5
    assert report["details"]["samples"]["objective already"] == 1
    assert report["dropped"] == ({"not_rephrased: not_json": 1} if failed == "drop" else {})
    assert list(samples) == [n for n in "0123456" if failed == "keep" or n != "1"]
    assert all(samples[n].kind == "letter" for n in "023456")
    if failed == "keep":
        assert (samples["1"].kind, samples["1"].answer) == ("text", "so 1")
