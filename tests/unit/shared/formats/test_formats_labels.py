"""Rows of verl and EasyR1 may say the kind of the answer and what moving the images does to it."""

from pathlib import Path
from typing import Any

import pytest

from shared.config.source import SourceConfig
from shared.formats import BadRow, ImageFolder, RowCounts, stream
from shared.sample import Sample
from tests.format_files import save_digits, write_json, write_table


def read(
    folder: Path, format: str, row: dict[str, Any], table: bool = False, **keys: str
) -> Sample:
    save_digits(folder, 3)
    write = write_table if table else write_json
    file = write(folder / ("train.parquet" if table else "train.jsonl"), [row])
    source = SourceConfig.model_validate({"path": file, "format": format, "keys": keys})
    [one] = stream(source, ImageFolder(folder / "images", 10**6), RowCounts())
    return one.sample


def verl(answer: str, question: str = "<image><image><image>\nWhich one?", **more: Any) -> Any:
    return {
        "prompt": [{"role": "user", "content": question}],
        "images": [f"{place}.png" for place in range(question.count("<image>"))],
        "reward_model": {"ground_truth": answer},
        **more,
    }


def easyr1(answer: str, **more: Any) -> dict[str, Any]:
    return {
        "problem": "<image><image><image>\nWhich one?",
        "images": ["0.png", "1.png", "2.png"],
        "answer": answer,
        **more,
    }


@pytest.mark.parametrize("table", [False, True])
def test_extra_info_says_kind_order_and_fixed(tmp_path: Path, table: bool) -> None:
    extra = {"kind": "letter", "order": "letter", "fixed": [0], "split": "train"}
    sample = read(tmp_path, "verl", verl("B", extra_info=extra), table)
    assert (sample.kind, sample.order, sample.fixed) == ("letter", "letter", (0,))


@pytest.mark.parametrize(
    ("answer", "order", "kind"),
    [("second", "position", "position"), ("B, C, A", "order", "order"), ("b", "letter", "letter")],
)
def test_the_kind_follows_from_the_order_rule(
    tmp_path: Path, answer: str, order: str, kind: str
) -> None:
    sample = read(tmp_path, "easyr1", easyr1(answer, extra_info={"order": order}))
    assert (sample.kind, sample.order, sample.answer) == (kind, order, answer)


def test_invariant_leaves_the_kind_to_the_form_of_the_answer(tmp_path: Path) -> None:
    sample = read(tmp_path, "easyr1", easyr1("12", extra_info={"order": "invariant"}))
    assert (sample.kind, sample.order) == ("number", "invariant")


def test_columns_that_keys_name_count_before_extra_info(tmp_path: Path) -> None:
    row = easyr1("second", what="text", moves="position", extra_info={"kind": "?", "order": "?"})
    sample = read(tmp_path, "easyr1", row, kind="what", order="moves")
    assert (sample.kind, sample.order) == ("text", "position")
    row = verl("second", moves="position")
    assert read(tmp_path, "verl", row, order="moves").order == "position"


def test_none_takes_away_the_rule_that_the_question_suggests(tmp_path: Path) -> None:
    question = "Which is it? A. <image> B. <image>"
    assert read(tmp_path, "verl", verl("A", question)).order == "letter"
    assert read(tmp_path, "verl", verl("A", question, extra_info={"order": "none"})).order is None


def test_a_kind_that_is_no_letter_keeps_the_whole_answer(tmp_path: Path) -> None:
    question = "<image>What is it? A. a cat B. a dog"
    sample = read(tmp_path, "verl", verl("B. a dog", question, extra_info={"kind": "exact"}))
    assert (sample.kind, sample.answer) == ("exact", "B. a dog")


@pytest.mark.parametrize("extra", [None, "train", {}, {"kind": None, "order": ""}, {"index": 3}])
def test_without_a_word_the_form_decides(tmp_path: Path, extra: Any) -> None:
    sample = read(tmp_path, "verl", verl("12", extra_info=extra))
    assert (sample.kind, sample.order) == ("number", None)


@pytest.mark.parametrize(
    ("more", "keys", "message"),
    [
        (
            {"extra_info": {"kind": "choice"}},
            {},
            "field 'extra_info.kind': 'choice' is not one of letter, position,",
        ),
        (
            {"extra_info": {"order": "shuffle"}},
            {},
            "field 'extra_info.order': 'shuffle' is not one of invariant, letter, position, "
            "order, none; rename it, or name the right column in keys.order",
        ),
        ({}, {"kind": "what"}, "field 'what': is missing; the line has fields"),
        ({"what": "choice"}, {"kind": "what"}, "field 'what': 'choice' is not one of letter,"),
        ({"extra_info": {"fixed": "0"}}, {}, "'extra_info.fixed': must list indices of images"),
        (
            {"extra_info": {"fixed": [3]}},
            {},
            "field 'extra_info': fixed is [3], but the 3 images are counted from 0",
        ),
        (
            {"extra_info": {"kind": "number", "order": "letter"}},
            {},
            "field 'extra_info': order 'letter' does not go with kind 'number'",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_column(
    tmp_path: Path, more: dict[str, Any], keys: dict[str, str], message: str
) -> None:
    with pytest.raises(BadRow) as caught:
        read(tmp_path, "easyr1", easyr1("12", **more), **keys)
    assert f"{tmp_path / 'train.jsonl'}, line 1, " in str(caught.value)
    assert message in str(caught.value)


def test_names_of_labels_are_for_verl_and_easyr1_only() -> None:
    with pytest.raises(ValueError, match=r"keys\.kind is only for format easyr1, not mantis"):
        SourceConfig.model_validate({"path": "a", "format": "mantis", "keys": {"kind": "k"}})
    with pytest.raises(ValueError, match=r"keys\.prompt is only for format easyr1, not verl"):
        SourceConfig.model_validate({"path": "a", "format": "verl", "keys": {"prompt": "k"}})
