"""A run's held-out questions: which are asked, and what the answers show."""

import asyncio
from pathlib import Path

import pytest

from perl_rl.demo.digits import write_data
from perl_rl.eval.heldout import HeldOut, refuse_unlike
from perl_rl.eval.models import Decoding, Prompt
from perl_rl.eval.robustness import OrderRobustness
from shared.errors import UserError
from shared.permutation import answer_under, apply_order
from shared.sample import Sample, load_samples


class Oracle:
    """Answers from a table, and remembers what it was asked."""

    def __init__(self, answers: dict[tuple[str, tuple[str, ...]], str], concurrency: int) -> None:
        self.concurrency = concurrency
        self.asked: list[Prompt] = []
        self._answers = answers

    async def ask(self, prompt: Prompt) -> str:
        self.asked.append(prompt)
        # Later prompts are answered first.
        await asyncio.sleep(0.02 / len(self.asked))
        return f"\\boxed{{{self._answers[prompt.question, prompt.images]}}}"


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder: Path = tmp_path_factory.mktemp("digits")
    write_data(folder, seed=1, train=3, held_out=12)
    return load_samples(folder / "heldout.jsonl")


def golds(samples: list[Sample], orders: int) -> dict[tuple[str, tuple[str, ...]], str]:
    from perl_rl.eval.robustness import orders_to_ask

    found = {}
    for sample in samples:
        for permutation in orders_to_ask(sample, orders, seed=0):
            rendered = apply_order(sample, permutation)
            gold = answer_under(sample.answer, sample, permutation)
            found[rendered.question, rendered.images] = gold
    return found


def ask(held_out: HeldOut, model: Oracle, told=lambda done, total: None) -> OrderRobustness:
    return asyncio.run(held_out.ask(model, told))


def test_every_question_is_asked_in_its_orders_and_each_answer_stays_with_its_own(samples):
    model, told = Oracle(golds(samples, 6), concurrency=7), []
    found = ask(HeldOut(samples, orders=6), model, lambda *counts: told.append(counts))
    assert found.accuracy.value == found.worst_case.value == 1.0
    assert found.flip_rate.value == 0.0
    assert (found.items, found.answers) == (len(samples), len(model.asked))
    assert told == [(done, len(model.asked)) for done in range(len(model.asked) + 1)]
    assert {one.seed for one in model.asked} == {0}


def test_a_part_of_the_questions_is_the_same_part_each_time(samples):
    chosen = []
    for _ in range(2):
        held_out = HeldOut(samples, orders=2, most=5)
        chosen.append(held_out.prompts())
        found = ask(held_out, Oracle(golds(samples, 2), concurrency=100))
        assert found.items == 5
    assert chosen[0] == chosen[1]
    whole = HeldOut(samples, orders=2).prompts()
    places = [whole.index(one) for one in chosen[0]]
    assert places == sorted(places) and places[-1] > 2 * 5
    assert HeldOut(samples, orders=2, most=100).prompts() == whole


def test_what_was_asked_is_the_same_only_for_the_same_prompts(samples):
    decoding = Decoding("Answer.", max_tokens=9)
    asked = HeldOut(samples, orders=2).asked(decoding)
    assert (asked.questions, asked.prompts, asked.orders, asked.max_tokens) == (12, 24, 2, 9)
    assert asked == HeldOut(list(samples), orders=2).asked(decoding)
    elsewhere = [samples[0].model_copy(update={"source": "elsewhere"}), *samples[1:]]
    assert asked == HeldOut(elsewhere, orders=2).asked(decoding), "a source is no question"
    others = [
        HeldOut(samples, orders=3).asked(decoding),
        HeldOut(samples, orders=2, most=5).asked(decoding),
        HeldOut(samples[::-1], orders=2).asked(decoding),
        HeldOut(samples, orders=2).asked(Decoding("Answer!", max_tokens=9)),
        HeldOut(samples, orders=2).asked(Decoding("Answer.", max_tokens=10)),
    ]
    assert all(one != asked for one in others)
    refuse_unlike(asked, asked, ("a", "b"))
    with pytest.raises(UserError, match=r"a and b asked different things.*: not recorded; 12 q"):
        refuse_unlike(None, asked, ("a", "b"))


def test_without_a_question_that_may_be_permuted_there_is_nothing_to_measure(samples):
    fixed = [one.model_copy(update={"order": None}) for one in samples]
    with pytest.raises(UserError, match=r"data\.heldout: none of its 12 questions may be permuted"):
        HeldOut(fixed, orders=2)
