"""Answers in words: every response of the table gets its verdict, and no text takes long."""

import time

import pytest

from shared.grading.extract import extract_answer
from shared.grading.grade import grade
from shared.grading.limits import MAX_RESPONSE_CHARS
from shared.grading.options import option_at
from shared.grading.plain import plain
from shared.grading.pool import GraderPool
from shared.sample import AnswerKind
from tests.unit.shared.grading.extraction_table import RESPONSES

# Together these many cases take longer than the inner loop has.
pytestmark = pytest.mark.slow

CASES = [
    pytest.param(kind, gold, right, response, id=f"{name}-{response[:60]!r}-{gold}")
    for name, rows in RESPONSES.items()
    for kind, gold, right, responses in rows
    for response in responses
]


@pytest.mark.parametrize(("kind", "gold", "right", "response"), CASES)
async def test_responses_get_the_verdict_of_the_table(
    pool: GraderPool, kind: AnswerKind, gold: str, right: bool, response: str
) -> None:
    answer = extract_answer(response, kind, strict=False)
    assert await grade(answer, gold, kind, pool) is right, answer


@pytest.mark.parametrize("name", ["modal forms", "choosing", "corrected", "latex", "several"])
def test_reasons_before_a_statement_do_not_hide_it(name: str) -> None:
    reasons = "The first picture is a garden with trees, and the sky over it looks grey. " * 50
    for kind, _, _, responses in RESPONSES[name]:
        for response in responses:
            alone = extract_answer(response, kind, strict=False)
            assert extract_answer(f"{reasons}\n\n{response}", kind, strict=False) == alone


HOSTILE = """
answer of |the answer is not |correct option |B is correct |is correct|A, |(A)|A and |option |
the best choice |it is |choose |→|Note: |wait, no |选|答案|正确的|符合|B正确|选项A是|
不是|but it is actually |no, |i mean |B it is. |no doubt |not right; C |42 is the answer|
is in the |42人|说法|没有|x is 42, which |\\text{|\\boxed{|
\\boxed{1}|\\left|<answer>|</answer>|*|_| |\t|1|=|$|\\(|\\|，|.
"""


@pytest.mark.parametrize("piece", ["\n", " \n", *HOSTILE.replace("\n", "").split("|")])
@pytest.mark.parametrize("kind", ["letter", "number", "math"])
def test_hostile_texts_take_bounded_time(piece: str, kind: AnswerKind) -> None:
    longest = (piece * MAX_RESPONSE_CHARS)[:MAX_RESPONSE_CHARS]
    started = time.process_time()
    extract_answer(longest, kind, strict=False)
    assert time.process_time() - started < 3.0


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        *(("B", "B"), ("b", "B"), ("(B)", "B"), ("B. a cat", "B"), ("option B", "B"), ("图B", "B")),
        *(("B项", "B"), ("B, because A is a dog", "B"), ("B (A is a dog)", "B"), ("B, B", "B")),
        *(("(B) a cat, not (A)", "B"), ("the correct answer: (B)", "B"), ("B rather than A", "B")),
        *(("A or B", None), ("A, B", None), ("(A) (B)", None), ("A和B", None), ("A、B", None)),
        *(("A. a cat and B. a dog", None), ("(A) a cat, (B) a dog", None), ("A / B", None)),
    ],
)
def test_an_option_is_one_or_several(text: str, letter: str | None) -> None:
    option = option_at(text)
    assert option is not None
    assert option.letter == letter


@pytest.mark.parametrize(
    "text", ["A cat", "I think", "Bob", "B's", "B-", "B1", "AB", "a.m.", "A.B", "", "=B", "B = 3"]
)
def test_words_and_names_are_no_options(text: str) -> None:
    assert option_at(text) is None


@pytest.mark.parametrize(
    ("marked", "bare"),
    [
        (r"$\mathrm{B}$", "B"),
        (r"\(\textbf{(B)}\)", "(B)"),
        (r"\text{\textbf{B}}", "B"),
        ("**B**. `x`", "B. x"),
        ("（Ｂ）：猫。", "(B):猫。"),
        (r"\left(B\right)\ ", "(B) "),
        ("a  b\n\nc", "a b\n\nc"),
    ],
)
def test_plain_text_has_no_markup(marked: str, bare: str) -> None:
    assert plain(marked) == bare
