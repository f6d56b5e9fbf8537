"""Tokens of a response as text, with a class for each way to colour them."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from perl_rl.view.tokens import response_tokens, ways
from tests.paths import ROOT

TOKENIZER = ROOT / "perl_rl" / "demo" / "start_model" / "tokenizer.json"


def values(ids: list[int], **other: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("token_steps", "sampler_logprobs", "trainer_logprobs", "advantage"), None
    )
    return {**nothing, "token_ids": ids, **other}


@pytest.mark.parametrize(
    "text", ["<think>3 2</think>\\boxed{A}", "9 \n\n漢字 👩\u200d👩\u200d👧 é", ""]
)
def test_the_tokens_together_are_the_text(tmp_path: Path, text: str) -> None:
    shutil.copy(TOKENIZER, tmp_path / "tokenizer.json")
    ids = Tokenizer.from_file(str(TOKENIZER)).encode(text).ids
    tokens = response_tokens(tmp_path, values(ids))
    assert len(tokens) == len(ids)
    assert "".join(token.text for token in tokens) == text


@pytest.mark.parametrize("content", [None, "{half"])
def test_without_a_tokenizer_the_ids_are_shown(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    tokens = response_tokens(tmp_path, values([3, 70000]))
    assert [token.text for token in tokens] == ["[3]", "[70000]"]


def test_a_token_says_its_figures(tmp_path: Path) -> None:
    given = values(
        [1, 2, 3],
        sampler_logprobs=[-0.001, -0.7, -9.0],
        trainer_logprobs=[-0.001, -0.9, -9.03],
        token_steps=[4, 5, 5],
        advantage=-0.5,
    )
    tokens = response_tokens(tmp_path, given)
    assert tokens[0].classes.split() == ["s0", "t0", "m0", "an2", "v1"]
    assert tokens[1].classes.split() == ["s3", "t3", "m5", "an2", "v0"]
    assert tokens[2].classes.split() == ["s6", "t6", "m3", "an2", "v0"]
    assert tokens[1].title == (
        "token 2, policy 5\nsampler \u22120.7000 nats, trainer \u22120.9000, "
        "difference \u22120.2000"
    )


def test_what_is_not_recorded_cannot_be_chosen() -> None:
    recorded = {way.name: way.recorded for way in ways(values([1], sampler_logprobs=[-1.0]))}
    assert recorded == {"s": True, "t": False, "m": False, "a": False, "v": False}
