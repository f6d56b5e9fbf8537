"""Result files of ``perl-rl eval``, made up: for tests of what reads them."""

from collections.abc import Sequence
from pathlib import Path

from perl_rl.eval.items import Benchmark
from perl_rl.eval.results import AnswerResult, ItemResult, Result, write_result
from perl_rl.eval.robustness import OrderRobustness
from perl_rl.eval.summarise import summarise

ORDERS = ((0, 1), (1, 0))
_BENCHMARK = Benchmark("b", "b", "test", 4, "micro", "letters", lambda row, pictures: None)


def item(name: str, pattern: str, orders: Sequence[tuple[int, ...]] = ORDERS) -> ItemResult:
    """An item; `pattern` has a + for each order that is answered rightly."""
    answers = tuple(
        AnswerResult(
            order=number,
            repeat=0,
            permutation=orders[number],
            prompt=f"<i>{name}</i>",
            images=("x", "y"),
            gold="A",
            response=f"I say {sign}",
            extracted="A" if sign == "+" else "B",
            given="A" if sign == "+" else "B",
            in_original="A" if sign == "+" else "B",
            right=sign == "+",
        )
        for number, sign in enumerate(pattern)
    )
    return ItemResult(id=name, task="t", kind="letter", groups={}, excluded=None, answers=answers)


def write(file: Path, items: list[ItemResult]) -> Path:
    """Write the result that has these items; returns the file."""

    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value, "high": value}

    robustness = {
        "items": len(items),
        "answers": 2 * len(items),
        "most_orders": 2,
        **{name: estimate(0.5) for name in ("accuracy", "worst_case", "flip_rate")},
        "accuracy_by_slot": {0: 0.9, 1: 0.2},
        "interval_by_slot": {0: (0.8, 1.0), 1: (0.1, 0.3)},
        "by_source": {},
        "excluded": {},
    }
    result = Result(
        benchmark="b",
        model=file.stem,
        settings={},
        summary=summarise(_BENCHMARK, items),
        robustness=OrderRobustness.model_validate(robustness),
        items=tuple(items),
    )
    write_result(result, file)
    return file
