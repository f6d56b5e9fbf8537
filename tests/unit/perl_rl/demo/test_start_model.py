"""The start model that ships with the demo: small, built as it says, able but order-biased."""

import pytest
from transformers import AutoProcessor

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import INSTRUCTION, build_processor
from perl_rl.eval.robustness import OrderRobustness
from shared.sample import load_samples
from tests.greedy import evaluate_folder
from tests.paths import START_MODEL


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> OrderRobustness:
    folder = tmp_path_factory.mktemp("questions")
    write_data(folder, seed=1, train=3, held_out=60)
    samples = load_samples(folder / "heldout.jsonl")
    return evaluate_folder(START_MODEL, samples, INSTRUCTION, orders=6, max_tokens=24)


def test_it_is_at_most_eight_megabytes() -> None:
    assert sum(path.stat().st_size for path in START_MODEL.rglob("*")) <= 8_000_000


def test_its_tokenizer_is_the_one_that_is_built_from_nothing() -> None:
    shipped, built = AutoProcessor.from_pretrained(START_MODEL), build_processor()
    assert shipped.tokenizer.get_vocab() == built.tokenizer.get_vocab()
    assert shipped.chat_template == built.chat_template


@pytest.mark.slow
def test_it_knows_the_task_but_depends_on_the_order(before: OrderRobustness) -> None:
    assert 0.45 <= before.accuracy.value <= 0.75
    assert before.flip_rate.value >= 0.35


@pytest.mark.slow
def test_it_does_the_task_where_the_gold_image_comes_first(before: OrderRobustness) -> None:
    assert before.accuracy_by_slot[0] >= 0.95
    assert before.by_source["total"].accuracy >= 0.7
