r"""The final answer of a response, and the check of its form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reward.extract import final_answer, well_formed
from services.reward.limits import MAX_ANSWER_CHARS, MAX_RESPONSE_CHARS


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
