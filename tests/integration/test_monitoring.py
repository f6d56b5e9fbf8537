"""Boards and alert rules against a real Prometheus that has scraped a real run, with its token."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.integration.signals_run import STEPS, SignalsRun
from tests.prometheus import MISSING, MONITORING, Prometheus

pytestmark = pytest.mark.timeout(600)

BOARDS = sorted((MONITORING / "grafana" / "boards").glob("*.json"))

RIGHTLY_EMPTY = {
    "judge": "the run has no reward.judge",
    "expressions": "its questions are not of kind math",
    "skipped:": "it has no data.skipping",
}
"""Part of a query, and why this run has no data for it."""


@pytest.fixture(scope="module")
def prometheus(signals_run: SignalsRun) -> Prometheus:
    """The Prometheus that scraped the run."""
    if signals_run.prometheus is None:
        pytest.skip(MISSING)
    return signals_run.prometheus


@pytest.fixture(scope="module")
def at(prometheus: Prometheus, signals_run: SignalsRun) -> float:
    """A moment of the run, in seconds since 1970, at which all services were up: the last step."""
    ends = [row["time"] for row in signals_run.metrics]
    (last,) = prometheus.ask(f"max(max_over_time(timestamp(perl_trainer_step == {STEPS})[1h:1s]))")
    assert ends[-1] - 5 < float(last["value"][1]), "scraped after the last step"
    return float(last["value"][1])


def queries() -> Iterator[tuple[str, str]]:
    for board in BOARDS:
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{board.stem}: {panel['title']}", target["expr"]


def test_every_query_of_a_board_has_data(prometheus: Prometheus, at: float) -> None:
    asked, empty = list(queries()), {}
    for panel, query in asked:
        if not prometheus.ask(query.replace("$__rate_interval", "60s"), at):
            empty[panel] = query
    expected = {
        panel: query for panel, query in asked if any(one in query for one in RIGHTLY_EMPTY)
    }
    assert empty == expected
    assert len(asked) > 60


def test_gauges_show_the_run(prometheus: Prometheus, at: float, signals_run: SignalsRun) -> None:
    def value(query: str) -> float:
        (series,) = prometheus.ask(query, at)
        return float(series["value"][1])

    counts = signals_run.summary["groups"]
    assert value("perl_trainer_step") == value("perl_trainer_steps") == STEPS
    assert value('perl_groups{state="trained"}') == counts["trained"]
    assert value("sum(perl_step_reward)") == pytest.approx(signals_run.metrics[-1]["reward"])
    last = value("perl_trainer_last_step_timestamp_seconds")
    assert last == pytest.approx(signals_run.metrics[-1]["time"])
    assert value('perl_nodes{kind="rollout",state="ready"}') == 1
    assert value("perl_dead_letters") == 0
    assert 0 < value("perl_run_disk_free_bytes") < value("perl_run_disk_bytes")


def test_every_rule_works_and_none_fired_in_a_sound_run(prometheus: Prometheus, at: float) -> None:
    rules = prometheus.rules()
    assert len(rules) > 10
    assert {rule["health"] for rule in rules} == {"ok"}
    assert prometheus.ask('ALERTS{alertstate="firing"}', at) == []


def test_every_metric_of_a_rule_exists(prometheus: Prometheus, at: float) -> None:
    for rule in prometheus.rules():
        names = set(re.findall(r"\bperl_\w+|\bup\b", rule["query"]))
        assert names, rule
        for name in names:
            assert prometheus.ask(f"{name}", at), f"{rule['name']}: no {name}"
