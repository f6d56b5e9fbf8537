"""Turns every item's answers into the benchmark's own score and the order robustness."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from perl_rl.eval.bootstrap import Bootstrap, Estimate, interval, wilson
from perl_rl.eval.items import Benchmark
from perl_rl.eval.results import Accuracy, AnswerResult, ItemResult, Summary
from perl_rl.eval.robustness import ItemAnswers, OrderAnswer, OrderRobustness, measure_robustness
from shared.sample import Sample


def summarise(
    benchmark: Benchmark, items: Sequence[ItemResult], judge: str | None = None
) -> Summary:
    """The benchmark's score over the answers in the original order."""
    tasks = _accuracies((item.task, item.right) for item in items)
    macro = benchmark.average == "macro"
    right = sum(item.right for item in items)
    groups: dict[str, list[tuple[str, bool]]] = defaultdict(list)
    for item in items:
        for name, value in item.groups.items():
            groups[name].append((value, item.right))
    return Summary(
        items=len(items),
        published_items=benchmark.published,
        right=right,
        no_answer=sum(item.answers[0].extracted is None for item in items),
        average=benchmark.average,
        score=macro_mean(items) if macro else wilson(right, len(items)),
        interval="bootstrap" if macro else "Wilson",
        graded_by="rules" if judge is None else f"rules, then the judge {judge}",
        judged_right=sum(item.answers[0].judged for item in items),
        compares=benchmark.compares,
        tasks=tasks,
        groups={name: _accuracies(groups[name]) for name in sorted(groups)},
        step_accuracy=_step_accuracy(items),
    )


def macro_mean(items: Sequence[ItemResult]) -> Estimate:
    """The mean of the tasks' accuracies; the bootstrap draws items within each task."""
    by_task: dict[str, list[float]] = defaultdict(list)
    for item in items:
        by_task[item.task].append(float(item.right))
    means = [float(np.mean(values)) for values in by_task.values()]
    draws = [
        Bootstrap(len(values), seed=place).means(values)
        for place, values in enumerate(by_task.values())
    ]
    return interval(float(np.mean(means)), np.mean(draws, axis=0))


def _accuracies(verdicts: Iterable[tuple[str, bool]]) -> dict[str, Accuracy]:
    items, right = Counter[str](), Counter[str]()
    for name, one in verdicts:
        items[name] += 1
        right[name] += one
    return {
        name: Accuracy(
            items=items[name], right=right[name], accuracy=wilson(right[name], items[name])
        )
        for name in sorted(items)
    }


def _step_accuracy(items: Sequence[ItemResult]) -> Estimate | None:
    shares = [item.answers[0].steps_right for item in items]
    known = [share for share in shares if share is not None]
    return Bootstrap(len(known)).mean(known) if known else None


def robustness(
    samples: Sequence[Sample], items: Sequence[ItemResult], seed: int
) -> OrderRobustness | None:
    """Order robustness over the items asked in several orders; None when there are none."""
    kept = [
        (sample, item) for sample, item in zip(samples, items, strict=True) if item.excluded is None
    ]
    if not kept:
        return None
    excluded = Counter(item.excluded for item in items if item.excluded is not None)
    several = [_answers(sample, [a for a in item.answers if not a.repeat]) for sample, item in kept]
    same = [_answers(sample, [a for a in item.answers if not a.order]) for sample, item in kept]
    measured = any(answer.repeat for _, item in kept for answer in item.answers)
    return measure_robustness(several, dict(excluded), seed=seed, repeated=same if measured else ())


def _answers(sample: Sample, answers: Sequence[AnswerResult]) -> ItemAnswers:
    return ItemAnswers(
        sample,
        tuple(OrderAnswer(answer.permutation, answer.given, answer.right) for answer in answers),
    )
