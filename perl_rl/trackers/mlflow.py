"""MLflow: a tracking server, or a database in ``RUN/trackers/mlflow`` (``mlflow ui`` shows it).

A run is found again by its tag ``perl.id``, and the history of one metric says which step it holds.
"""

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from io import BytesIO

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from perl_rl.trackers.base import TABLE_COLUMNS, ShownGroup, TrackedRun, flat

_KEPT = "progress/step"
"""The metric that tells which steps are there; written with each step's figures, in one go."""
_PARAM_CHARS = 6_000
_PARAMS = 100
"""MLflow's limits: the length of a parameter, and how many one call takes."""


class Adapter:
    """Logs to one MLflow run; see `Tracker`."""

    def start(self, run: TrackedRun) -> int:
        """Begin, or go on with the run that has this id."""
        address, artifacts = run.url, None
        if not run.online:
            address = f"sqlite:///{run.folder / 'mlflow.db'}"
            artifacts = (run.folder / "artifacts").as_uri()
        self._client = MlflowClient(tracking_uri=address)
        found = self._client.get_experiment_by_name(run.project)
        experiment = (
            self._client.create_experiment(run.project, artifact_location=artifacts)
            if found is None
            else found.experiment_id
        )
        runs = self._client.search_runs([experiment], f"tags.`perl.id` = '{run.id}'")
        if not runs:
            return self._begin(experiment, run)
        self._id = runs[0].info.run_id
        self._client.update_run(self._id, status="RUNNING")
        steps = [one.step for one in self._client.get_metric_history(self._id, _KEPT)]
        return max([run.sent, *steps])

    def _begin(self, experiment: str, run: TrackedRun) -> int:
        tags = {"perl.id": run.id, "perl.page": run.page, "mlflow.note.content": run.page}
        self._id = self._client.create_run(experiment, run_name=run.name, tags=tags).info.run_id
        values = flat(run.config)
        params = [Param(key, value[:_PARAM_CHARS]) for key, value in values.items()]
        for first in range(0, len(params), _PARAMS):
            self._client.log_batch(self._id, params=params[first : first + _PARAMS])
        self._client.log_dict(self._id, run.config, "config.yaml")
        return 0

    def log_step(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log all figures of the step in one call."""
        self._log(step, time_s, {**figures, _KEPT: float(step)})

    def log_evaluation(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        """Log its figures at its step."""
        self._log(step, time_s, figures)

    def _log(self, step: int, time_s: float, figures: Mapping[str, float]) -> None:
        at_ms = round(time_s * 1000)
        metrics = [Metric(_allowed(name), value, at_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def log_groups(self, step: int, groups: Sequence[ShownGroup]) -> None:
        """Log a page with the pictures in it, and the pictures by step too."""
        self._client.log_text(self._id, _page(groups), f"groups/step-{step:06d}.html")
        for place, group in enumerate(groups):
            for number, picture in enumerate(group.pictures):
                key = f"group {place} picture {number + 1}"
                self._client.log_image(self._id, picture, key=key, step=step)
        tag = RunTag("perl.groups", f"groups/step-{step:06d}.html")
        self._client.log_batch(self._id, tags=[tag])

    def flush(self) -> None:
        """Nothing: each call returns when the store has it."""

    def finish(self) -> None:
        """Say that the run is over."""
        self._client.set_terminated(self._id)


def _allowed(name: str) -> str:
    """A metric's name with the characters that MLflow allows."""
    return "".join(one if one.isalnum() or one in "_-./ :" else "_" for one in name)


def _page(groups: Sequence[ShownGroup]) -> str:
    header = "".join(f"<th>{name}</th>" for name in ("pictures", *TABLE_COLUMNS, "page"))
    rows = "".join(f"<tr>{_row(group)}</tr>\n" for group in groups)
    style = "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:4px}"
    head = f"<!doctype html><meta charset=utf-8><style>{style}</style>\n"
    return f"{head}<table><tr>{header}</tr>\n{rows}</table>\n"


def _row(group: ShownGroup) -> str:
    pictures = "".join(f'<img src="{_embedded(group, one)}">' for one in range(len(group.pictures)))
    texts = ["" if one is None else str(one) for one in (*group.cells, group.page)]
    return "".join(f"<td>{cell}</td>" for cell in (pictures, *map(html.escape, texts)))


def _embedded(group: ShownGroup, number: int) -> str:
    stream = BytesIO()
    group.pictures[number].save(stream, "PNG")
    return f"data:image/png;base64,{b64encode(stream.getvalue()).decode()}"
