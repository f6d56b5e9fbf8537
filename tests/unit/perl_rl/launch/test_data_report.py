"""The report on the data: counts, shares and reasons, in lines of at most 100 columns."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from perl_rl.launch import data_report
from perl_rl.launch.data_check import Checked, Rows
from perl_rl.launch.data_report import COLUMNS, data_lines
from shared.config import Config
from shared.formats import Located, SourceSize
from shared.sample import Sample


def located(number: int, **fields: Any) -> Located:
    values = {
        "id": f"sample-{number}",
        "question": "<image><image>\nWhich image shows a dog?",
        "images": ("a.png", "b.png"),
        "answer": "first",
        "kind": "position",
        "order": "position",
        "source": "places",
    }
    return Located(Sample.model_validate(values | fields), Path("/data/train.jsonl"), number)


def lines(
    train: list[Located], sizes: list[SourceSize] | None = None, **sections: Any
) -> list[str]:
    config = Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m"},
            "data": {"train": "t.jsonl"},
            "trainer": {"steps": 10, "groups_per_step": 4},
            **sections,
        }
    )
    sizes = sizes or [SourceSize("train", 1.0, len(train))]
    checked = Checked(
        Rows(train, [], sizes), pictures=2, lengths=[50 + n for n in range(len(train))]
    )
    found = data_lines(config, checked, lambda what, total: nullcontext(lambda: None))
    assert max(map(len, found)) <= COLUMNS
    return found


NUMBER = {"question": "<image>How many?", "images": ("a.png",), "answer": "3", "kind": "number"}


def test_samples_are_counted_by_source_and_kind() -> None:
    train = [located(1), located(2), located(3, **NUMBER, order=None, source="counts")]
    found = "\n".join(lines(train))
    assert "training data: 3 samples; held out: 0" in found
    assert "places                                 2  position 2" in found
    assert "counts                                 1  number 1" in found
    assert "images of a sample: 1 in 1, 2 in 2" in found
    assert "prompts: 51 tokens in the middle (median), 52 the longest" in found


def test_the_share_that_can_be_permuted_comes_with_reasons_and_examples() -> None:
    train = [located(1), located(2, order=None), located(3, order=None)]
    train += [located(4, answer="the next one", kind="text")]
    found = lines(train)
    assert "can be permuted: 1 of 4 (25%)" in found
    assert "          2  no_order_rule: train.jsonl, row 2, sample 'sample-2'" in found
    assert "          1  answer_names_no_slot: train.jsonl, row 4, sample 'sample-4'" in found


def test_of_many_samples_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_report, "READ_AT_MOST", 3)
    found = lines([located(number) for number in range(1, 9)])
    assert "can be permuted: 3 of 3 samples drawn at random (100%)" in found


def test_a_run_that_permutes_none_says_so() -> None:
    found = lines([located(1)], permutation={"n_s": 0})
    assert "  permutation.n_s is 0: this run permutes none" in found


def test_epochs_of_one_source() -> None:
    found = "\n".join(lines([located(number) for number in range(1, 17)]))
    assert "10 steps of 4 groups ask 40 questions: 2.50 epochs; an epoch is 4.0 steps" in found


def test_epochs_of_a_mixture_follow_the_weights() -> None:
    sizes = [SourceSize("small", 3.0, 10), SourceSize("/a/very/long/path/to/large.jsonl", 1.0, 100)]
    found = "\n".join(lines([located(1)], sizes))
    assert "small                          75% of them, 3.00 epochs of 10" in found
    assert "..." in found and "path/to/large.jsonl   25% of them, 0.10 epochs of 100" in found


def test_long_names_and_many_kinds_and_sources_fit_the_width() -> None:
    kinds = ("letter", "number", "math", "boolean", "text", "exact", "list")
    answers = ("A", "3", "x", "true", "a", "a", "a, b")
    train = [
        located(n, kind=kind, answer=answer, order="invariant" if n % 2 else None, id="i" * 200)
        for n, (kind, answer) in enumerate(zip(kinds, answers, strict=True), start=1)
    ]
    train += [located(100 + n, source=f"source number {n} of a long list") for n in range(30)]
    found = lines(train)
    assert any(line.startswith("11 more sources") for line in found)
