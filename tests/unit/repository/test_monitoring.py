"""The monitoring files fit together; Prometheus' own tool takes them, and every rule can fire."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import redis.asyncio
import yaml
from prometheus_client import CollectorRegistry

from scripts.boards import files
from services.trainer.control.run_gauges import RunGauges
from shared.wire.keys import Keys
from tests.paths import ROOT
from tests.prometheus import MONITORING, promtool

TABLE = yaml.safe_load((MONITORING / "boards.yaml").read_text(encoding="utf-8"))
UNITS = {"none", "s", "percentunit"}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, board in TABLE.items():
        for panel in board["panels"]:
            yield f"{name}: {panel['title']}", panel


def test_made_files_are_up_to_date():
    for file, text in files().items():
        assert file.read_text(encoding="utf-8") == text, f"{file.name}: make docs"


def test_boards_have_no_other_file():
    made = {file.name for file in files() if file.suffix == ".json"}
    assert made == {file.name for file in (MONITORING / "grafana/boards").glob("*.json")}
    listed = yaml.safe_load((MONITORING / "grafana/boards/kustomization.yml").read_text())
    assert set(listed["configMapGenerator"][0]["files"]) == made


@pytest.mark.parametrize(("name", "panel"), list(panels()))
def test_a_panel_says_what_a_bad_value_means(name, panel):
    assert panel.keys() <= {"title", "unit", "bad", "queries", "stat"}
    assert panel["unit"] in UNITS
    assert len(panel["bad"].split()) > 4 and panel["bad"].endswith(".")
    assert panel["queries"]
    assert len(panel["queries"]) == 1 or all(panel["queries"].values()), "each needs a legend"


def test_prometheus_takes_the_configurations(tmp_path):
    promtool("check", "config", "--syntax-only", "prometheus.yml")
    promtool("check", "rules", "alerts.yml")
    # Debian's build looks up no pods: the jobs are checked with another way to find targets.
    cluster = yaml.safe_load((MONITORING / "kubernetes.yml").read_text())
    for job in cluster["scrape_configs"]:
        assert job.pop("kubernetes_sd_configs")[0]["role"] == "pod"
    (tmp_path / "cluster.yml").write_text(yaml.safe_dump(cluster))
    promtool("check", "config", "--syntax-only", str(tmp_path / "cluster.yml"))


def test_rules_fire_in_bad_states_and_not_in_a_healthy_one():
    promtool("test", "rules", "alerts_test.yml")


def test_every_rule_has_a_bad_and_a_healthy_state():
    rules = {
        rule["alert"]: rule
        for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
        for rule in group["rules"]
    }
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text())["tests"]
    healthy = {one["alertname"] for one in tests[0]["alert_rule_test"]}
    assert not any("exp_alerts" in one for one in tests[0]["alert_rule_test"])
    fires = {
        one["alertname"]
        for test in tests[1:]
        for one in test["alert_rule_test"]
        if one.get("exp_alerts")
    }
    assert rules.keys() == healthy == fires
    for name, rule in rules.items():
        assert rule["annotations"].keys() == {"summary", "fix"}, name
        assert rule["labels"]["severity"] in ("warning", "critical"), name


def test_the_page_lists_every_rule_and_every_gauge_of_a_run():
    page = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    rules = re.findall(r"alert: (\w+)", (MONITORING / "alerts.yml").read_text())
    for name in rules:
        assert f"`{name}`" in page, name
    registry = CollectorRegistry()
    RunGauges(registry, redis.asyncio.Redis(), Keys("test"), ROOT, 1.0)
    gauges = [metric.name for metric in registry.collect()]
    assert len(gauges) > 10
    for name in gauges:
        assert f"`{name}" in page, name
