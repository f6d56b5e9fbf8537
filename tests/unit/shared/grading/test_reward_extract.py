r"""The final answer of a response, and the check of its form."""

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.grading.extract import extract_answer, final_answer, well_formed
from shared.grading.limits import MAX_ANSWER_CHARS, MAX_RESPONSE_CHARS
from shared.sample import AnswerKind


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"\boxed{B}", "B"),
        (r"<think>\boxed{A}</think> so \boxed{ B }.", "B"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed{a\}b}", r"a\}b"),
        (r"\boxed{x = \boxed{3}}", "3"),
        (r"\boxed {B}", "B"),
        (r"} { \boxed{B} {", "B"),
        (r"\boxed{A} and then \boxed{B", "A"),
        (r"\boxed{}", ""),
        (r"\boxed{B", None),
        (r"\boxed B", None),
        ("The answer is (B).", None),
        ("", None),
        (r"\\boxed{B}", None),
    ],
)
def test_final_answer_is_the_last_balanced_box(response: str, answer: str | None) -> None:
    assert final_answer(response) == answer


@given(
    st.recursive(
        st.sampled_from(["", "a", r"\{", r"\}", " 1"]),
        lambda inner: st.tuples(inner, inner).map(lambda pair: pair[0] + "{" + pair[1] + "}"),
        max_leaves=20,
    ),
    st.text(st.characters(exclude_characters="\\{}"), max_size=20),
)
def test_any_balanced_content_comes_back_whole(content: str, around: str) -> None:
    assert final_answer(f"{around}\\boxed{{{content}}}{around}") == content.strip()


@given(
    st.text(st.sampled_from("{}\\ bx"), max_size=60).map(
        lambda text: text.replace("bx", "\\boxed{")
    )
)
def test_never_crashes_on_stray_braces(response: str) -> None:
    answer = final_answer(response)
    assert answer is None or answer in response


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "\\boxed{}", "\\", "<think>", "</think>"])
def test_a_response_of_the_greatest_length_is_read_and_a_longer_one_is_not(piece: str) -> None:
    longest = (piece * MAX_RESPONSE_CHARS)[: MAX_RESPONSE_CHARS - 20]
    assert final_answer(f"{longest} {{}} \\boxed{{B}}") == "B"
    assert final_answer(piece * MAX_RESPONSE_CHARS + "\\boxed{B}" * (piece != "")) is None
    assert not well_formed("<think></think>" + piece * MAX_RESPONSE_CHARS + "\\boxed{B}")


def test_an_answer_that_is_too_long_is_none() -> None:
    assert final_answer("\\boxed{" + "9" * MAX_ANSWER_CHARS + "}") is not None
    assert final_answer("\\boxed{" + "9" * (MAX_ANSWER_CHARS + 1) + "}") is None


@pytest.mark.parametrize(
    "response",
    [
        r"<think>because</think>\boxed{B}",
        "<think>\nbecause\n</think>\n\nThe answer is \\boxed{B}.\n",
        r"  <think></think> \boxed{\frac{1}{2}}  ",
        r"<think>\boxed{A}</think>\boxed{B}",
    ],
)
def test_well_formed(response: str) -> None:
    assert well_formed(response)


@pytest.mark.parametrize(
    "response",
    [
        "",
        r"\boxed{B}",
        r"<think>because</think> B",
        r"<think>because \boxed{B}",
        r"<think>because \boxed{B}</think>",
        r"Well, <think>because</think>\boxed{B}",
        r"because</think>\boxed{B}",
        r"<think>a</think><think>b</think>\boxed{B}",
        r"<think>a<think>b</think>\boxed{B}",
        r"<think>a</think>\boxed{B}</think>",
        r"<think>a</think>\boxed{B",
        r"<THINK>a</THINK>\boxed{B}",
    ],
)
def test_malformed(response: str) -> None:
    assert not well_formed(response)


@pytest.mark.parametrize(
    ("response", "kind", "strict", "lenient"),
    [
        (r"\boxed{A}. The answer is B.", "letter", "A", "A"),
        ("The answer is (B).", "letter", None, "(B)."),
        ("**Answer:** 12", "number", None, "12"),
        ("答案是B。", "letter", None, "B。"),
        (r"<think>\boxed{A}</think>The answer is B", "letter", "A", "B"),
        ("Look.\n(B)", "letter", None, "(B)"),
        ("A cat is on the left.", "letter", None, None),
        ("The answer is isosceles.", "letter", None, "isosceles."),
        ("A dog", "text", None, "A dog"),
        ("word " * 40, "text", None, None),
        ("I am not sure about that", "math", None, None),
        ("", "text", None, None),
    ],
)
def test_answers_in_words_are_found_only_when_asked_for(
    response: str, kind: AnswerKind, strict: str | None, lenient: str | None
) -> None:
    assert extract_answer(response, kind) == strict
    assert extract_answer(response, kind, strict=False) == lenient


@given(st.text(max_size=80), st.sampled_from(get_args(AnswerKind)))
def test_a_box_behind_the_reasoning_always_counts(text: str, kind: AnswerKind) -> None:
    text = text.replace("\\", "").replace("{", "").replace("}", "")
    response = f"<think>{text}</think>{text}\\boxed{{B}}{text}"
    assert extract_answer(response, kind, strict=False) == "B"


@pytest.mark.parametrize(
    "piece", ["answer is ", "answer of ", "答案", "(1) ", "\n", "**", "$", "a, "]
)
@pytest.mark.parametrize("kind", get_args(AnswerKind))
def test_words_are_searched_in_bounded_time(piece: str, kind: AnswerKind) -> None:
    longest = (piece * MAX_RESPONSE_CHARS)[: MAX_RESPONSE_CHARS - 20]
    started = time.process_time()
    answer = extract_answer(f"{longest}\nanswer is B", kind, strict=False)
    assert time.process_time() - started < 5.0
    assert answer is None or len(answer) <= MAX_ANSWER_CHARS
    assert extract_answer(piece * MAX_RESPONSE_CHARS, kind, strict=False) is None
