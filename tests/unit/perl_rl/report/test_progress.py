"""What the progress line says of a step."""

from perl_rl.report.progress import step_line


def test_a_step_is_one_line_that_says_which_groups_its_figures_count() -> None:
    row = {"step": 2, "accuracy_all": 0.81, "accuracy": 0.536, "tokens_per_s": 1709.4}
    times = {"wait_s": 0.1, "train_s": 1.2, "sync_s": 0.0}
    assert step_line(row | times, 60) == (
        "step 2/60  accuracy 0.810  of kept groups 0.536  tokens/s 1,709 (kept groups)  "
        "wait 0.1 s, train 1.2 s, sync 0.0 s"
    )
