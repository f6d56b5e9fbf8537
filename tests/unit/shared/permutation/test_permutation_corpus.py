"""Questions in the styles of public data sets: names follow their images, or the sample is refused.

A row of ``corpus.jsonl`` marks the names that must follow: «2». ``outcome`` is "moves", or the
reason for refusing. What is not marked must stay as it is under every order.
"""

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.permutation import Permutation, apply_order, read
from shared.sample import IMAGE_TAG, Sample
from tests.unit.shared.permutation.content_world import orders

# Together these many cases take longer than the inner loop has.
pytestmark = pytest.mark.slow

Case = dict[str, Any]

CASES: list[Case] = [
    json.loads(line)
    for line in (Path(__file__).parent / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
]
MOVES = [case for case in CASES if case["outcome"] == "moves"]
REFUSED = [case for case in CASES if case["outcome"] != "moves"]
KINDS = (
    *("answers", "sentence then label", "bare labels", "views", "letters and ranges"),
    *("beside the text", "blank lines", "options without a noun", "answers without a noun"),
    *("blanks inside names", "second names", "sets by number", "Chinese places"),
    *("places with one", "changes"),
)
STYLES = (
    *("mantis", "mmiu", "blink", "remi", "mathverse", "k12 captions", "virl39k", "nlvr2"),
    *("comics", "before/after", "charts", "views", "tables"),
)

_MARK = re.compile("«(.*?)»")
_WORDS = ("first", "second", "third", "fourth")
_NAMES = ("1234", "ABCD", "abcd", "一二三四", "①②③④", "左右", _WORDS, ("left", "right"))


def plain(text: str) -> str:
    return text.replace("«", "").replace("»", "")


def sample(case: Case) -> Sample:
    question = plain(case["text"])
    fields = {
        "id": "s",
        "question": question,
        "images": tuple("abcd"[: question.count(IMAGE_TAG)]),
        "answer": plain(case.get("answer", "12")),
        "kind": case.get("kind", "text"),
        "order": case.get("order", "invariant"),
        "fixed": case.get("fixed", ()),
    }
    return Sample.model_validate(fields)


def followed(text: str, order: Permutation) -> str:
    """`text` without marks, where every marked name follows its image."""
    return _MARK.sub(lambda match: _followed(match[1], order), text)


def _followed(name: str, order: Permutation) -> str:
    for names in _NAMES:
        if name in names:
            return names[order.index(list(names).index(name))]
    raise AssertionError(f"no list of names has {name!r}")


def _title(case: Case) -> str:
    return f"{case['style']}: {plain(case['text'])[-40:]}"


@pytest.mark.parametrize("case", MOVES, ids=_title)
def test_names_follow_their_images_under_every_order(case: Case) -> None:
    asked = sample(case)
    assert read(asked).reason is None, read(asked)
    for order in orders(len(asked.images), asked.fixed):
        rendered = apply_order(asked, order)
        assert rendered.question == followed(case["text"], order)
        answer = case.get("answer", "12")
        options = [image for image in range(len(order)) if image not in asked.fixed]
        if asked.order == "letter":  # letters count the images that move
            order = tuple(options.index(order[slot]) for slot in options)
        assert rendered.answer == followed(answer, order)


@pytest.mark.parametrize("case", MOVES, ids=_title)
def test_the_inverse_order_gives_the_original(case: Case) -> None:
    asked = sample(case)
    for order in itertools.islice(orders(len(asked.images), asked.fixed), 6):
        rendered = apply_order(asked, order)
        moved = {"question": rendered.question, "images": rendered.images}
        there = asked.model_copy(update={**moved, "answer": rendered.answer})
        back = apply_order(there, tuple(order.index(slot) for slot in range(len(order))))
        assert (back.question, back.images, back.answer) == (
            asked.question,
            asked.images,
            asked.answer,
        )


@pytest.mark.parametrize("case", REFUSED, ids=_title)
def test_what_may_turn_untrue_is_refused(case: Case) -> None:
    reading = read(sample(case))
    assert reading.reason == case["outcome"], reading.text


def test_every_kind_and_style_has_cases() -> None:
    counts = Counter(case["style"] for case in CASES)
    assert len(CASES) >= 400
    assert all(counts[kind] >= 5 for kind in (*KINDS, *STYLES)), counts
    texts = [(case["text"], case.get("answer"), case.get("kind")) for case in CASES]
    assert len(set(texts)) == len(texts)
    assert sum(not case["text"].isascii() for case in CASES) >= 30
