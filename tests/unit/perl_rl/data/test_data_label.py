"""Labels: those that rules give, what a verdict means, and the report of both."""

import json
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.data.asking import Nonsense
from perl_rl.data.label import Verdict, checked, label_from
from perl_rl.data.label_rules import Label, label_by_rules
from shared.permutation import apply_order, refusal
from shared.sample import Sample, load_samples
from tests.format_files import save_digits
from tests.scripted_endpoint import Body, ScriptedEndpoint, text_of


def sample(question: str, answer: str, kind: str) -> Sample:
    images = [f"{index}.png" for index in range(question.count("<image>"))]
    row = {"id": "s", "question": question, "images": images, "answer": answer, "kind": kind}
    return Sample.model_validate(row)


OPTIONS = "Which is largest?\nA. <image>\nB. <image>\nC. <image>"


@pytest.mark.parametrize(
    ("question", "answer", "kind", "label"),
    [
        (OPTIONS, "B", "letter", Label("letter")),
        ("(A) <image> (B) <image> Which?", "b", "letter", Label("letter")),
        ("A: <image>\nB: <image>\nWhich?", "A", "letter", Label("letter")),
        ("<image> Which is like it? A. <image> B. <image>", "B", "letter", Label("letter", (0,))),
        ("A. <image> B. <image>\nReference: <image>", "A", "letter", Label("letter", (2,))),
        ("<image><image> Which comes first?", "2", "position", Label("position")),
        ("<image><image> Put them in order.", "2, 1", "order", Label("order")),
        # All options have to be images, lettered from A, and the answer one of them.
        (OPTIONS, "D", "letter", None),
        ("Image A: <image> Image B: <image> Which?\nA. Image B\nB. Image A", "A", "letter", None),
        ("<image><image> Which?\nA. cat\nB. dog", "A", "letter", None),
        ("B. <image> A. <image> Which?", "A", "letter", None),
        ("A. <image> and <image> Which?", "A", "letter", None),
        ("Take A<image> and XB. <image>", "A", "letter", None),
        ("<image><image> How many dogs in all?", "3", "number", None),
        ("<image><image> Is the first image darker?", "yes", "text", None),
    ],
)
def test_rules_label_what_leaves_no_doubt(
    question: str, answer: str, kind: str, label: Label | None
) -> None:
    assert label_by_rules(sample(question, answer, kind)) == label


def test_a_labelled_reference_stays_and_the_options_move() -> None:
    found = label_by_rules(
        asked := sample("<image> Like which? A. <image> B. <image>", "B", "letter")
    )
    assert found is not None
    labelled = asked.model_copy(update={"order": found.order, "fixed": found.fixed})
    assert refusal(labelled) is None
    rendered = apply_order(labelled, (0, 2, 1))
    assert (rendered.images, rendered.answer) == (("0.png", "2.png", "1.png"), "A")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("yes", "not_json"),
        ('{"should_change": true}', "wrong_fields"),
        ('{"should_change": "true", "is_multichoice_images": false}', "wrong_fields"),
        ('{"should_change": 1, "is_multichoice_images": 0}', "wrong_fields"),
        ('{"should_change": false, "is_multichoice_images": true}', "contradicts_itself"),
    ],
)
def test_a_verdict_without_sense_has_a_reason(text: str, reason: str) -> None:
    with pytest.raises(Nonsense, match=f"^{reason}$"):
        checked(text)


@pytest.mark.parametrize(
    ("question", "kind", "verdict", "label"),
    [
        ("<image><image> Sum?", "number", (False, False), Label("invariant")),
        (
            "<image><image> What comes next?",
            "text",
            (True, False),
            "order_matters_by_no_known_rule",
        ),
        (OPTIONS, "letter", (True, True), Label("letter")),
        (OPTIONS, "text", (True, True), "options_are_images_but_the_answer_is_no_letter"),
        (
            "<image><image> A or B?",
            "letter",
            (True, True),
            "options_are_images_but_have_no_letters",
        ),
    ],
)
def test_what_a_verdict_means(
    question: str, kind: str, verdict: tuple[bool, bool], label: Label | str
) -> None:
    given = Verdict(should_change=verdict[0], is_multichoice_images=verdict[1])
    assert label_from(given, sample(question, "A", kind)) == label


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Two that rules label, three for the endpoint, one image, and one labelled already."""
    save_digits(tmp_path, 1)
    rows = [
        ("rule-letter", OPTIONS, "B", "letter", None),
        ("rule-place", "<image><image> Which is largest?", "first", "position", None),
        ("sum", "<image><image> Sum?", "3", "number", None),
        ("next", "<image><image> Next?", "3", "number", None),
        ("mumble", "<image><image> Mumble?", "3", "number", None),
        ("single", "<image> Which?", "3", "number", None),
        ("labelled", "<image><image> Which?", "3", "number", "invariant"),
    ]
    lines = []
    for name, question, answer, kind, order in rows:
        row = sample(question, answer, kind).model_dump() | {"id": name, "order": order}
        row["images"] = ["0.png"] * len(row["images"])
        lines.append(json.dumps(row))
    file = tmp_path / "q.jsonl"
    file.write_text("\n".join(lines))
    return file


def script(body: Body) -> str:
    """Right about sums and what comes next, wrong about places."""
    text = text_of(body)
    if "Mumble" in text:
        return "hm"
    return json.dumps(
        {
            "should_change": "Next" in text or "A. [image" in text,
            "is_multichoice_images": "A. [image" in text,
        }
    )


@pytest.mark.parametrize("failed", ["keep", "drop"])
def test_rules_first_then_the_endpoint_and_their_agreement(
    questions: Path, tmp_path: Path, failed: str
) -> None:
    out = tmp_path / "out"
    with ScriptedEndpoint(script).serving() as endpoint:
        words = [f"endpoint.url={endpoint.url}", "endpoint.model=m", f"label.failed={failed}"]
        command = ["data", "label", str(questions), "--out", str(out), "--set", *words]
        assert main(command) == 0
    orders = {s.id: s.order for s in load_samples(out / "samples.jsonl")}
    unlabelled = {} if failed == "drop" else {"next": None, "mumble": None}
    assert orders == unlabelled | {
        "rule-letter": "letter",
        "rule-place": "position",
        "sum": "invariant",
        "single": None,
        "labelled": "invariant",
    }
    report = json.loads((out / "report.json").read_text())
    reasons = {"no_verdict: not_json": 1, "order_matters_by_no_known_rule": 1}
    assert report["dropped"] == (reasons if failed == "drop" else {})
    details = report["details"]
    assert details["unlabelled"] == (reasons if failed == "keep" else {})
    assert details["labelled by"] == {"rule": 2, "endpoint": 1}
    assert details["agreement"] == {
        "judged by both": 2,
        "on should_change": 0.5,
        "on is_multichoice_images": 1.0,
    }
    assert details["unusable answers"] == {"not_json": 3}
    assert details["permutation"]["can be permuted"] == 4
    assert details["permutation"].get("no_order_rule", 0) == len(unlabelled)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        [
            "--set",
            "endpoint.url=http://127.0.0.1:9/v1",
            "endpoint.model=m",
            "label.rules_only=true",
        ],
    ],
    ids=["no endpoint", "rules_only"],
)
def test_rules_alone_ask_nobody(questions: Path, tmp_path: Path, settings: list[str]) -> None:
    out = tmp_path / "out"
    assert main(["data", "label", str(questions), "--out", str(out), *settings]) == 0
    details = json.loads((out / "report.json").read_text())["details"]
    assert details["unlabelled"] == {"no_rule_for_it": 3}
    assert details["agreement"]["judged by both"] == 0
    assert details["labels come from"] == "rules alone"
