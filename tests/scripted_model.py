"""Scripted models in place of an engine: they answer at random, by content, or by position.

They see what a model sees, text and pictures, and never the gold answer. They recognise a picture
by its bytes: `tests/benchmark_files.py` remembers which digits each one shows.
"""

import base64
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from perl_rl.eval.models import Prompt
from shared.images import digest
from shared.permutation import ORDINALS
from tests.benchmark_files import SHOWN
from tests.scripted_endpoint import Body, ScriptedEndpoint

Answerer = Callable[[str, list[tuple[int, ...]], random.Random], str]
"""From the question, the digits in each picture and a generator to the final answer."""

_OPTION = re.compile(r"^([A-H])[.:] (.*)$", re.MULTILINE)
_IN_PICTURE = re.compile(r"^Options: (.*)$", re.MULTILINE)


def options(question: str) -> dict[str, str]:
    """The lettered options of a question."""
    found = dict(_OPTION.findall(question))
    listed = _IN_PICTURE.search(question)
    return found or {letter: letter for letter in (listed[1].split(", ") if listed else ())}


def candidates(question: str) -> list[str]:
    """Every answer that the text of a question allows, all as likely by chance."""
    letters = list(options(question))
    if letters:
        return letters
    if "yes or no" in question:
        return ["yes", "no"]
    if "(1)" in question:
        return [f"(1) {one}; (2) {two}" for one in range(10) for two in range(10)]
    if "List the digits" in question:
        return [f"[{one}, {two}]" for one in range(10) for two in range(10)]
    if "divided by ten" in question:
        return [f"0.{digit}" for digit in range(10)]
    return [str(digit) for digit in range(10)]


def at_random(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """Any of the answers that the text allows."""
    return rng.choice(candidates(question))


def by_content(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """The right answer, read off the pictures."""
    digits = [digit for picture in pictures for digit in picture]
    if "largest digit" in question:
        return _letter_of_slot(question, digits.index(max(digits)))
    if "same digit as the first" in question:
        return _letter_of_slot(question, digits.index(digits[0], 1))
    if "yes or no" in question:
        return "yes" if digits[0] > digits[1] else "no"
    if "(1)" in question:
        return f"(1) {digits[0]}; (2) {digits[1]}"
    if "List the digits" in question:
        return str(digits)
    if "divided by ten" in question:
        return f"{digits[0] / 10:.1f}"
    for letter, text in options(question).items():
        if text == str(digits[0]):
            return letter
    return str(digits[0])


def _letter_of_slot(question: str, slot: int) -> str:
    listed = options(question)
    if all(text == "<image>" for text in listed.values()):
        return list(listed)[slot - (question.count("<image>") - len(listed))]
    return next(letter for letter, text in listed.items() if ORDINALS[slot] in text)


def by_position(question: str, pictures: list[tuple[int, ...]], rng: random.Random) -> str:
    """The first answer that the text allows, whatever the pictures show."""
    return candidates(question)[0]


class ScriptedModel:
    """The interface of `perl_rl.eval.models.Model` over an answerer."""

    concurrency = 8

    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self.asked: list[Prompt] = []

    async def __aenter__(self) -> "ScriptedModel":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def ask(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        pictures = [SHOWN[Path(file).stem] for file in prompt.images]
        answer = self._answerer(prompt.question, pictures, random.Random(prompt.seed))
        return f"<think>a script</think>\\boxed{{{answer}}}"


def answering(
    answerer: Answerer,
    form: str = "\\boxed{{{}}}",
    fail_first: int = 0,
    hold_after: int | None = None,
) -> ScriptedEndpoint:
    """An OpenAI-compatible server over an answerer.

    Args:
        form: of a response, with ``{}`` for the answer.
        fail_first: how many requests get the status of a busy server.
        hold_after: see `ScriptedEndpoint`.
    """
    failures = iter(range(fail_first))

    def script(body: Body) -> str | int:
        if next(failures, None) is not None:
            return 503
        question, pictures = _seen(body["messages"][0]["content"])
        return form.format(answerer(question, pictures, random.Random(body.get("seed"))))

    return ScriptedEndpoint(script, hold_after=hold_after)


def _seen(parts: Sequence[dict[str, Any]]) -> tuple[str, list[tuple[int, ...]]]:
    text, pictures = "", []
    for part in parts:
        if part["type"] == "text":
            text += part["text"]
        else:
            data = base64.b64decode(part["image_url"]["url"].partition(",")[2])
            pictures.append(SHOWN[digest(data)])
            text += "<image>"
    return text, pictures
