"""Which stages count as stalled: those with work and without progress, and for how long."""

from services.trainer.control.watchdog import Stage, Stalls


def test_a_stage_with_work_and_no_progress_is_named_with_its_work() -> None:
    stalls = Stalls()
    for now in (0.0, 100.0, 299.0, 300.0):
        stalls.see({"rollout": Stage("3 prompts queued", 7), "reward": Stage("", 0)}, now)
    assert stalls.describe(299.0, 300.0) == ""
    assert stalls.describe(300.0, 300.0) == (
        "rollout stalled: 3 prompts queued, nothing done for 300 s"
    )


def test_progress_or_the_end_of_the_work_begins_anew() -> None:
    stalls = Stalls()
    stalls.see({"reward": Stage("1 queued", 1)}, 0.0)
    stalls.see({"reward": Stage("1 queued", 2)}, 50.0)
    assert stalls.seconds(60.0) == {"reward": 10.0}
    stalls.see({"reward": Stage("", 2)}, 400.0)
    assert stalls.describe(400.0, 300.0) == ""
