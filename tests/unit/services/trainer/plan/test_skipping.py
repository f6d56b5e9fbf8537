"""Which groups are skipped follows from the verdicts on earlier groups, in the order of issue."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from services.trainer.plan.groups import GroupPlan
from services.trainer.plan.skipping import Skipping
from shared.config import Config
from shared.sample import Sample
from shared.wire.verdicts import KEPT, Verdict

SIGNAL = Verdict(KEPT, 0.5)
EASY, HARD = Verdict("uniform_reward", 1.0), Verdict("uniform_reward", 0.0)
UNSCORED = Verdict("dead_letter")
PER_STEP, LAG = 4, 12
"""With `max_staleness` 0, decisions lag three steps behind."""


class Walk:
    """Skipping over a few questions, with what was issued so far."""

    def __init__(self, questions: int = 6, steps: int = 1000, **settings: float | None) -> None:
        config = Config.model_validate(
            {
                "run": "test",
                "seed": 1,
                "model": {"path": "model"},
                "data": {"train": "train.jsonl", "skipping": settings},
                "trainer": {"steps": steps, "groups_per_step": PER_STEP, "max_staleness": 0},
            }
        )
        samples = [
            Sample(id=f"s{number}", question="How many?", answer="1", kind="number")
            for number in range(questions)
        ]
        self.plan = GroupPlan(config, samples)
        self.skipping = Skipping(config, self.plan)
        self.issued: list[int] = []
        self.progress: list[float] = []

    def sample(self, index: int) -> str:
        return self.plan.sample(index)[0].id

    def go(self, groups: int, verdict: Callable[[str, int], Verdict]) -> list[int]:
        """Issue so many groups; `verdict` says what comes of the sample's group number i."""
        for _ in range(groups):
            awaited = self.skipping.awaited()
            if awaited is not None:
                self.skipping.learn(verdict(self.sample(awaited), awaited))
            turn = self.skipping.next()
            self.issued.append(turn.index)
            self.progress.append(turn.progress)
        return self.issued


def solved(*names: str) -> Callable[[str, int], Verdict]:
    """All answers to these questions are right, the others carry a signal."""
    return lambda sample, index: EASY if sample in names else SIGNAL


def test_questions_that_carry_a_signal_are_never_skipped() -> None:
    assert Walk().go(100, solved()) == list(range(100))


def test_a_run_within_its_first_epoch_skips_nothing() -> None:
    assert Walk(questions=200).go(200, lambda sample, index: EASY) == list(range(200))


def test_an_empty_target_skips_nothing() -> None:
    assert Walk(target=None).go(100, lambda sample, index: EASY) == list(range(100))


def test_solved_questions_become_rare_and_count_as_skipped() -> None:
    walk = Walk()
    issued = walk.go(600, solved("s0", "s1", "s2"))

    asked = Counter(walk.sample(index) for index in issued[200:])
    left_out = set(range(issued[-1])) - set(issued)
    assert {walk.sample(index) for index in left_out} == {"s0", "s1", "s2"}
    assert asked["s0"] < 0.25 * asked["s3"]
    assert walk.skipping.skipped == {"easy": len(left_out)}


def test_the_probability_falls_with_each_group_in_a_row_and_is_back_at_once() -> None:
    walk = Walk(questions=1, explore=0.01)
    seen = []
    for verdict in (SIGNAL, HARD, HARD, EASY, UNSCORED, SIGNAL):
        walk.skipping.next()
        while walk.skipping.awaited() is None:
            walk.skipping.next()
        walk.skipping.learn(verdict)
        seen.append(walk.skipping.probability("s0"))
    hard = 0.5 - (1 - 0.25 * 2 / 3) / LAG
    easy = 0.5 + 2 * (0.25 / 3) / LAG - (1 - 0.25 / 3) / LAG
    further = hard - (1 - 0.25 * 2 / 3) / LAG
    assert seen == pytest.approx([1.0, hard, further**2, easy**3, easy**3, 1.0])


def test_each_side_is_sampled_up_to_its_part_of_the_target() -> None:
    def verdict(sample: str, index: int) -> Verdict:
        return (EASY, HARD, SIGNAL)[int(sample[1:]) % 3]

    walk = Walk(questions=60)
    issued = walk.go(4000, verdict)
    late = Counter(verdict(walk.sample(index), index) for index in issued[2000:])
    assert late[EASY] / 2000 == pytest.approx(0.25 / 3, abs=0.03)
    assert late[HARD] / 2000 == pytest.approx(0.25 * 2 / 3, abs=0.03)


def test_a_question_with_a_single_wrong_answer_is_nearly_solved() -> None:
    walk = Walk(questions=1)
    for verdict, probability in (
        (Verdict(KEPT, 11 / 12), 0.5),
        (Verdict(KEPT, 10 / 12), 1.0),
        # A single right answer is what a hard question can learn from.
        (Verdict(KEPT, 1 / 12), 1.0),
    ):
        while walk.skipping.awaited() is None:
            walk.skipping.next()
        walk.skipping.learn(verdict)
        assert walk.skipping.probability("s0") == probability


def test_every_question_is_sampled_again_after_a_bounded_wait() -> None:
    walk = Walk(questions=20, explore=0.1)
    issued = walk.go(2000, lambda sample, index: EASY)

    waits = []
    last: dict[str, int] = {}
    for index in issued:
        epoch = index // 20
        if walk.sample(index) in last:
            waits.append(epoch - last[walk.sample(index)])
        last[walk.sample(index)] = epoch
    assert len(last) == 20
    # In the long run each visit is sampled with the probability `explore`.
    assert sum(waits[-1000:]) / 1000 == pytest.approx(10, rel=0.15)
    assert max(waits) < 120


def test_a_hard_question_that_begins_to_carry_a_signal_is_sampled_again_always() -> None:
    walk = Walk()
    walk.go(300, lambda sample, index: HARD if sample == "s0" else SIGNAL)
    turned = walk.issued[-1]
    walk.go(1000, solved())

    late = [index for index in walk.issued if index > turned + 600]
    assert late == list(range(late[0], late[-1] + 1))


def test_a_decision_sees_the_verdicts_of_all_but_the_last_groups() -> None:
    walk = Walk(questions=1, explore=1e-9)
    issued = walk.go(LAG + 1, lambda sample, index: EASY)
    assert issued == list(range(LAG + 1))
    # The verdict on group 0 is needed before the next decision, no other.
    assert walk.skipping.awaited() == 0


def test_the_same_verdicts_give_the_same_groups() -> None:
    def verdict(sample: str, index: int) -> Verdict:
        return (EASY, HARD, SIGNAL, UNSCORED)[(int(sample[1:]) + index // 60) % 4]

    one, other = Walk(), Walk()
    one.go(500, verdict)
    other.go(200, verdict)
    other.go(300, verdict)
    assert one.issued == other.issued
    assert one.skipping.skipped == other.skipping.skipped
    assert len(one.issued) < one.issued[-1]


def test_a_filter_of_any_kind_counts_by_the_accuracy_of_its_groups() -> None:
    walk = Walk()
    narrow = Verdict("accuracy_out_of_bounds", 0.9)
    walk.go(200, lambda sample, index: narrow if sample == "s0" else SIGNAL)
    assert set(walk.skipping.skipped) == {"easy"}


def test_progress_is_that_of_the_step_that_will_train_the_group() -> None:
    walk = Walk(steps=10)
    walk.go(44, solved())
    assert walk.progress == [min(1.0, number // PER_STEP / 10) for number in range(44)]


def test_groups_that_are_dropped_or_skipped_do_not_count_as_progress() -> None:
    walk = Walk(steps=50)
    walk.go(200, solved("s0", "s1", "s2"))
    kept = 0
    for number, index in enumerate(walk.issued):
        # The first verdicts come late, and until then every group is taken to be kept.
        if number > 2 * LAG:
            assert walk.progress[number] == pytest.approx(kept / PER_STEP / 50, abs=0.06)
        kept += walk.sample(index) not in ("s0", "s1", "s2")


def test_simulated_questions_are_sampled_where_they_carry_a_signal() -> None:
    """Questions of fixed accuracies, 12 answers a group; drawn, not asked of a model."""

    def verdict(sample: str, index: int) -> Verdict:
        rng = random.Random(f"{sample} {index}")
        accuracy = (int(sample[1:]) % 10 + 0.5) / 10
        accuracy = accuracy if int(sample[1:]) % 3 == 0 else 0.995
        right = sum(rng.random() < accuracy for _ in range(12))
        return Verdict(KEPT if 0 < right < 12 else "uniform_reward", right / 12)

    def dropped(walk: Walk) -> float:
        issued = walk.go(1500, verdict)
        return sum(verdict(walk.sample(i), i).reason != KEPT for i in issued) / len(issued)

    without, with_skipping = dropped(Walk(120, target=None)), dropped(Walk(120))
    assert without == pytest.approx(0.66, abs=0.03)
    assert with_skipping < 0.3
