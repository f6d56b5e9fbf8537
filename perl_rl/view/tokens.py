"""A response's tokens as text, each with its figures and a class for each way to colour it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from perl_rl.view.texts import figure, signed

_TOKENIZER = "tokenizer.json"
_REPLACEMENT = "\ufffd"
_LONGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, so most tokens that one character takes."""

_LOG_P = "log-probability"
_NATS = (0.01, 0.1, 0.5, 1.0, 2.0, 4.0)
_MISMATCH = (0.001, 0.005, 0.02, 0.05, 0.2, 0.5)
_ADVANTAGE = (0.05, 0.25, 0.75, 1.5)


@dataclass(frozen=True)
class Token:
    """One token of a response."""

    text: str
    classes: str
    """Style classes: one for each way to colour it."""
    title: str
    """All that is known of it, in words."""


@dataclass(frozen=True)
class Way:
    """A way to colour the tokens."""

    name: str
    label: str
    recorded: bool
    legend: Sequence[tuple[str, str]]
    """Style class and what it says."""


def response_tokens(run_dir: Path, values: dict[str, Any]) -> list[Token]:
    """The tokens of a response; none when the record has no token ids.

    Args:
        values: the response's columns, without ``response_``.
    """
    ids = values["token_ids"] or []
    texts = _texts(run_dir / _TOKENIZER, ids)
    sampler = values["sampler_logprobs"] or [None] * len(ids)
    trainer = values["trainer_logprobs"] or [None] * len(ids)
    steps = values["token_steps"] or [None] * len(ids)
    newest = max((step for step in steps if step is not None), default=0)
    advantage = _advantage_class(values["advantage"])
    tokens = []
    for place, number in enumerate(ids):
        said, trained, step = sampler[place], trainer[place], steps[place]
        apart = None if said is None or trained is None else abs(said - trained)
        classes = [
            _level("s", _NATS, None if said is None else -said),
            _level("t", _NATS, None if trained is None else -trained),
            _level("m", _MISMATCH, apart),
            advantage,
            "" if step is None else f"v{min(newest - step, 6)}",
        ]
        title = (
            f"token {number}, policy {step if step is not None else '?'}\n"
            f"sampler {figure(said, 4)} nats, trainer {figure(trained, 4)}, "
            f"difference {signed(None if apart is None else trained - said, 4)}"
        )
        tokens.append(Token(texts[place], " ".join(filter(None, classes)), title))
    return tokens


def ways(values: dict[str, Any]) -> list[Way]:
    """The ways to colour this response's tokens."""
    has: Callable[[str], bool] = lambda name: bool(values[name])  # noqa: E731
    both = has("sampler_logprobs") and has("trainer_logprobs")
    return [
        Way(
            "s", "log-probability, sampler", has("sampler_logprobs"), _legend("s", _NATS, "−log p")
        ),
        Way(
            "t", "log-probability, trainer", has("trainer_logprobs"), _legend("t", _NATS, "−log p")
        ),
        Way("m", "mismatch", both, _legend("m", _MISMATCH, "difference")),
        Way("a", "advantage", values["advantage"] is not None, _ADVANTAGE_LEGEND),
        Way("v", "policy version", has("token_steps"), _VERSION_LEGEND),
    ]


_ADVANTAGE_LEGEND = (("an3", "made rarer"), ("a0", "left alone"), ("ap3", "made likelier"))
_VERSION_LEGEND = (("v0", "newest version"), ("v1", "one older"), ("v3", "three older"))


def _legend(prefix: str, bounds: Sequence[float], what: str) -> tuple[tuple[str, str], ...]:
    below = [(f"{prefix}0", f"{what} below {bounds[0]:g}")]
    above = [(f"{prefix}{place}", f"{bound:g}") for place, bound in enumerate(bounds, start=1)]
    return (*below, *above[:-1], (above[-1][0], f"{above[-1][1]} nats and more"))


def _level(prefix: str, bounds: Sequence[float], value: float | None) -> str:
    if value is None:
        return ""
    return f"{prefix}{sum(value >= bound for bound in bounds)}"


def _advantage_class(value: float | None) -> str:
    if value is None:
        return ""
    size = sum(abs(value) >= bound for bound in _ADVANTAGE)
    return "a0" if size == 0 else f"a{'p' if value > 0 else 'n'}{min(size, 3)}"


def _texts(file: Path, ids: Sequence[int]) -> list[str]:
    """The text of each token; a character of several tokens is shown with its last one."""
    tokenizer = _tokenizer(file, file.stat().st_mtime_ns) if file.is_file() else None
    if tokenizer is None:
        return [f"[{number}]" for number in ids]
    texts, waiting = [], []
    for number in ids:
        waiting.append(number)
        text = tokenizer.decode(waiting, skip_special_tokens=False)
        if text.endswith(_REPLACEMENT) and len(waiting) < _LONGEST_CHARACTER:
            texts.append("")
            continue
        texts.append(text)
        waiting = []
    if waiting:
        texts[-1] = tokenizer.decode(waiting, skip_special_tokens=False)
    return texts


@lru_cache(maxsize=8)
def _tokenizer(file: Path, changed_ns: int) -> Tokenizer | None:
    """The run's tokenizer; None when its file is not one that can be read."""
    try:
        return Tokenizer.from_file(str(file))
    except Exception:  # tokenizers raises nothing more precise
        return None
