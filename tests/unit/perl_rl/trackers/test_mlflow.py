"""The real MLflow with a database in the run folder: its client reads each step once."""

from pathlib import Path

import pytest

pytest.importorskip("mlflow", reason="no mlflow here: pip install -r requirements/mlflow.txt")

from mlflow import MlflowClient

from perl_rl.trackers.mlflow import Adapter
from tests.killed_tracker import follow_a_killed_run
from tests.tracked_run import tracked

pytestmark = pytest.mark.slow


def client(run_dir: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{run_dir / 'trackers' / 'mlflow' / 'mlflow.db'}")


def test_each_step_is_in_the_database_once_with_evaluations_and_pictures(tmp_path: Path) -> None:
    follow_a_killed_run(tmp_path, "mlflow")
    store = client(tmp_path)
    experiment = store.get_experiment_by_name("perl-rl")
    (run,) = store.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "digits")
    assert run.data.params["permutation.n_s"] == "1"
    history = store.get_metric_history(run.info.run_id, "train/reward")
    assert [(one.step, one.value) for one in sorted(history, key=lambda one: one.step)] == [
        (step, 1 + step / 100) for step in range(1, 9)
    ]
    heldout = store.get_metric_history(run.info.run_id, "heldout/accuracy")
    assert sorted((one.step, one.value) for one in heldout) == [(0, 0.25), (8, 0.75)]
    pages = [one.path for one in store.list_artifacts(run.info.run_id, "groups")]
    assert pages == ["groups/step-000004.html", "groups/step-000008.html"]
    folder = tmp_path / "trackers" / "mlflow" / "artifacts" / run.info.run_id / "artifacts"
    page = (folder / pages[0]).read_text()
    assert page.count("data:image/png;base64,") == 2 * 3
    assert "<script>" not in page
    assert len(list((folder / "images").glob("*.png"))) == 2 * 2 * 3


def test_the_database_says_which_steps_it_holds(tmp_path: Path) -> None:
    adapter = Adapter()
    assert adapter.start(tracked(tmp_path, "mlflow")) == 0
    for step in range(1, 5):
        adapter.log_step(step, float(step), {"train/reward": 0.5})
    # Killed before the last two were noted.
    assert Adapter().start(tracked(tmp_path, "mlflow", sent=2)) == 4
    assert Adapter().start(tracked(tmp_path, "mlflow", run_id="another-1", sent=2)) == 0
