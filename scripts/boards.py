"""Writes Grafana's boards and the cluster's alert rules from monitoring/: ``make docs``."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
MONITORING = ROOT / "monitoring"
BOARDS = MONITORING / "grafana" / "boards"
RULES = ROOT / "k8s" / "components" / "monitoring" / "rules.yaml"

SOURCE = {"type": "prometheus", "uid": "prometheus"}
_WIDTH, _STAT_WIDTH, _HEIGHT = 24, 4, 8
_HEAD = "# Made from monitoring/alerts.yml by scripts/boards.py: make docs\n"


def files() -> dict[Path, str]:
    """Every file that is made, with its text."""
    table = yaml.safe_load((MONITORING / "boards.yaml").read_text(encoding="utf-8"))
    made = {
        BOARDS / f"{name}.json": json.dumps(_board(name, board), indent=1) + "\n"
        for name, board in table.items()
    }
    return made | {RULES: _HEAD + yaml.safe_dump(_rules(), sort_keys=False, width=120)}


def _board(name: str, board: dict[str, Any]) -> dict[str, Any]:
    return {
        "uid": f"perl-{name}",
        "title": board["title"],
        "tags": ["perl"],
        "schemaVersion": 39,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "panels": _panels(board["panels"]),
    }


def _panels(panels: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The panels from left to right, in rows of equal height."""
    found, x, y = [], 0, 0
    for number, panel in enumerate(panels, start=1):
        width = _STAT_WIDTH if panel.get("stat") else _WIDTH // 3
        if x + width > _WIDTH:
            x, y = 0, y + _HEIGHT
        found.append(_panel(number, panel, {"x": x, "y": y, "w": width, "h": _HEIGHT}))
        x += width
    return found


def _panel(number: int, panel: dict[str, Any], place: dict[str, int]) -> dict[str, Any]:
    stat = panel.get("stat")
    # Over a range of time, a series that has ended would still show its last value.
    newest = {"instant": True, "range": False} if stat else {}
    return {
        "id": number,
        "type": "stat" if stat else "timeseries",
        "title": panel["title"],
        "description": panel["bad"],
        "gridPos": place,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "options": {"textMode": "name" if stat == "name" else "auto"} if stat else {},
        "targets": [
            {"refId": letter, "expr": expression, "legendFormat": legend, **newest}
            for letter, (expression, legend) in zip(
                "ABCDEF", panel["queries"].items(), strict=False
            )
        ],
    }


def _rules() -> dict[str, Any]:
    """The alert rules as the Prometheus operator takes them."""
    rules = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "perl", "namespace": "perl"},
        "spec": rules,
    }


def main() -> int:
    """Write all files."""
    for file, text in files().items():
        file.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
