"""A line of ``metrics.jsonl``: what was trained on is told from what was sampled."""

import pytest

from services.trainer.compute.loss import LossSums
from services.trainer.compute.selection import select
from services.trainer.rank.metrics import StepTimes, step_metrics
from shared.config import ObjectiveConfig
from shared.wire.messages import PolicyVersion, ScoredGroup
from tests.builders import group

TRAINED_AT = PolicyVersion(incarnation=2, step=5)


def sums_of(*groups: ScoredGroup) -> LossSums:
    """What the loss counts of groups that were trained on as they are."""
    return LossSums(
        responses=sum(len(one.rewards()) for one in groups),
        tokens=sum(one.response_tokens() for one in groups),
    )


def report_on(groups: list[ScoredGroup], sums: LossSums) -> dict:
    times = StepTimes()
    times.waited()
    return step_metrics(6, groups, sums, None, times, TRAINED_AT, ObjectiveConfig())


def test_only_responses_that_selection_kept_count_as_trained() -> None:
    # Each group: two orders with answers of 3 and 5 tokens, of which two answers are kept.
    groups = [group(), group()]
    kept = [select(one, keep=2) for one in groups]
    tokens = sum(one.response_tokens() for one in kept)
    assert [len(one.rewards()) for one in kept] == [2, 2]

    report = report_on(groups, sums_of(*kept))

    assert (report["samples"], report["samples_generated"]) == (4, 8)
    assert (report["trained_tokens"], report["generated_tokens"]) == (tokens, 32)
    assert tokens < 32
    assert report["mean_response_tokens"] == pytest.approx(4.0), "of all that were sampled"


def test_without_selection_all_that_was_sampled_is_trained() -> None:
    report = report_on([group()], sums_of(group()))
    assert report["samples"] == report["samples_generated"] == 4
    assert report["trained_tokens"] == report["generated_tokens"] == 16


def test_orders_sampled_from_distorted_images_are_counted() -> None:
    clean = group()
    first, second = clean.orders
    task = second.batch.task
    shown = {"images": ("01" * 32, "23" * 32), "clean_images": task.images}
    batch = second.batch.model_copy(update={"task": task.model_copy(update=shown)})
    noisy = clean.model_copy(update={"orders": (first, second.model_copy(update={"batch": batch}))})

    assert report_on([clean], sums_of(clean))["noisy_orders"] == 0
    assert report_on([clean, noisy], sums_of(clean, noisy))["noisy_orders"] == 1
