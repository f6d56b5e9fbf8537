"""Order-robustness metrics on cases worked out by hand."""

import pytest

from perl_rl.eval.robustness import (
    ItemAnswers,
    item_answers,
    measure_robustness,
    orders_to_ask,
    permutable,
)
from shared.permutation import Permutation, all_orders, answer_under
from shared.sample import Sample


def letter_sample(images: int = 3, answer: str = "A") -> Sample:
    tags = "".join(f"\n{letter}. <image>" for letter in "ABCDEF"[:images])
    return Sample(
        id="one",
        question=f"Which option?{tags}",
        images=tuple(f"{index}.png" for index in range(images)),
        answer=answer,
        kind="letter",
        order="letter",
        source="option",
    )


def two_images(question: str, **fields: str) -> Sample:
    return Sample.model_validate({"question": question, "images": ("0.png", "1.png")} | fields)


def place_sample() -> Sample:
    rule = {"kind": "position", "order": "position", "source": "place"}
    question = "First <image> second <image>: which is larger?"
    return two_images(question, id="two", answer="second", **rule)


def sum_sample() -> Sample:
    rule = {"kind": "number", "order": "invariant", "source": "total"}
    return two_images("<image><image> sum?", id="three", answer="12", **rule)


def right_everywhere(sample: Sample) -> ItemAnswers:
    orders = all_orders(len(sample.images))
    return item_answers(
        sample, orders, [f"\\boxed{{{answer_under(sample.answer, sample, p)}}}" for p in orders]
    )


def always_says(sample: Sample, word: str) -> ItemAnswers:
    orders = all_orders(len(sample.images))
    return item_answers(sample, orders, [f"\\boxed{{{word}}}"] * len(orders))


def test_a_model_right_everywhere_never_flips() -> None:
    items = [right_everywhere(one) for one in (letter_sample(), place_sample(), sum_sample())]
    result = measure_robustness(items, {})
    assert (result.accuracy.value, result.worst_case.value, result.flip_rate.value) == (1, 1, 0)
    assert result.accuracy_by_slot == {0: 1.0, 1: 1.0, 2: 1.0}
    assert (result.items, result.answers) == (3, 6 + 2 + 2)


def test_a_model_that_follows_the_place_always_flips() -> None:
    result = measure_robustness(
        [always_says(letter_sample(), "A"), always_says(place_sample(), "first")], {}
    )
    assert result.accuracy.value == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert result.worst_case.value == 0
    assert result.flip_rate.value == 1
    assert result.accuracy_by_slot == {0: 1.0, 1: 0.0, 2: 0.0}
    assert result.by_source["place"].accuracy == 0.5


def test_a_model_that_is_wrong_in_the_same_way_does_not_flip() -> None:
    result = measure_robustness([always_says(sum_sample(), "11")], {})
    assert (result.accuracy.value, result.flip_rate.value) == (0, 0)


def test_a_model_wrong_about_one_image_in_every_order_does_not_flip() -> None:
    sample = letter_sample(answer="A")
    orders = all_orders(3)
    wrong = [f"\\boxed{{{answer_under('C', sample, order)}}}" for order in orders]
    item = item_answers(sample, orders, wrong)
    assert (item.accuracy, item.flips) == (0, False)


def test_no_answer_under_one_order_is_a_flip_and_wrong() -> None:
    sample = sum_sample()
    item = item_answers(sample, all_orders(2), ["\\boxed{12}", "twelve"])
    assert (item.accuracy, item.flips, item.always_right) == (0.5, True, False)
    assert item.answers[1].given is None


def test_answers_are_compared_whatever_their_case() -> None:
    item = item_answers(place_sample(), [(0, 1), (1, 0)], ["\\boxed{ Second }", "\\boxed{first}"])
    assert item.always_right
    assert not item.flips


def test_numbers_are_compared_as_in_training_within_the_samples_tolerance() -> None:
    orders = all_orders(2)
    exact = item_answers(sum_sample(), orders, ["\\boxed{12 cm}", "\\boxed{12.1}"])
    assert [answer.right for answer in exact.answers] == [True, False]
    roomy = sum_sample().model_copy(update={"tolerance": 0.01})
    assert item_answers(roomy, orders, ["\\boxed{12.1}"] * 2).always_right


def test_few_orders_are_all_asked_and_many_are_drawn_with_the_original_among_them() -> None:
    assert orders_to_ask(letter_sample(3), 6, seed=0) == all_orders(3)
    drawn = orders_to_ask(letter_sample(4), 6, seed=0)
    assert drawn[0] == (0, 1, 2, 3)
    assert len(set(drawn)) == 6
    assert orders_to_ask(letter_sample(4), 6, seed=0) == drawn
    assert orders_to_ask(letter_sample(4), 6, seed=1) != drawn


def test_samples_that_must_not_be_permuted_are_counted_by_reason() -> None:
    unlabelled = sum_sample().model_copy(update={"order": None})
    kept, excluded = permutable([letter_sample(), unlabelled])
    assert [sample.id for sample in kept] == ["one"]
    assert excluded == {"no_order_rule": 1}


def test_confidence_interval_holds_the_mean_and_narrows_with_more_items() -> None:
    def width(copies: int) -> float:
        pairs = [(right_everywhere(sum_sample()), always_says(sum_sample(), "1"))] * copies
        accuracy = measure_robustness([item for pair in pairs for item in pair], {}).accuracy
        assert accuracy.low < accuracy.value < accuracy.high
        return accuracy.high - accuracy.low

    # Half right of n: the standard error is 0.5 / sqrt(n), the interval about 3.92 of them.
    assert width(50) == pytest.approx(3.92 * 0.05, rel=0.15)
    assert width(200) == pytest.approx(width(50) / 2, rel=0.2)


def test_measuring_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no items"):
        measure_robustness([], {})


def test_orders_and_responses_must_match_in_number() -> None:
    orders: list[Permutation] = [(0, 1), (1, 0)]
    with pytest.raises(ValueError):
        item_answers(sum_sample(), orders, ["\\boxed{12}"])
