"""One run of all three signals: real vLLM, Redis, two DeepSpeed ranks; scraped by Prometheus.

Several test files look at what it left behind.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import perl_rl.demo
from perl_rl.demo.digits import write_data
from perl_rl.demo.model import INSTRUCTION
from shared.service.ports import free_port
from tests.collector import Span, collecting
from tests.integration import group_probe
from tests.integration.launched import SMALL_ENGINE, Launch
from tests.paths import ROOT
from tests.prometheus import Prometheus

STEPS, GROUPS, N, KEEP = 3, 2, 4, 4
STRENGTH, WEIGHT = 0.6, 0.5
TOKEN = "signals-token"

Group = dict[str, Any]


class SignalsRun:
    """What a run left behind, with its groups as the reward node saw them."""

    def __init__(
        self,
        launched: Launch,
        groups_file: Path,
        pictures: Path,
        prometheus: Prometheus | None,
        spans: list[Span],
    ) -> None:
        self.folder = launched.folder
        self.spans = spans
        """The spans of all its groups, as a collector got them."""
        self.prometheus = prometheus
        """It has scraped the run; None where it is not installed."""
        self.summary = json.loads((self.folder / "summary.json").read_text())
        text = (self.folder / "metrics.jsonl").read_text()
        self.metrics = [json.loads(line) for line in text.splitlines()]
        lines = map(json.loads, groups_file.read_text().splitlines())
        self.groups: dict[str, Group] = {line["group"]: line for line in lines}
        self.pictures = {
            hashlib.sha256(file.read_bytes()).hexdigest(): file for file in pictures.rglob("*.png")
        }

    def trained(self) -> list[list[Group]]:
        """The groups of each step."""
        return [[self.groups[name] for name in row["groups"]] for row in self.metrics]


@contextlib.contextmanager
def signals_run(folder: Path) -> Iterator[SignalsRun]:
    """The run from start to end."""
    write_data(folder / "data", train=40, held_out=3, skew=1.0, seed=3)
    ports = {name: free_port() for name in ("trainer", "rollout", "reward")}
    config_file = folder / "run.yaml"
    groups_file = folder / "groups.jsonl"
    with contextlib.ExitStack() as stack:
        collector = stack.enter_context(collecting())
        tracing = {"enabled": True, "endpoint": collector.url, "share": 1.0}
        config_file.write_text(yaml.safe_dump(_settings(ports) | {"tracing": tracing}))
        prometheus = _scraping(folder, ports)
        if prometheus is not None:
            stack.callback(prometheus.close)
            prometheus.until_up()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(group_probe.FILE, str(groups_file))
            paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            patch.setenv("PYTHONPATH", os.pathsep.join(paths))
            launched = Launch(config_file, folder / "run")
        stack.callback(launched.close)
        assert launched.end() == 0, launched.said()
        assert launched.processes() == []
        yield SignalsRun(launched, groups_file, folder / "data", prometheus, collector.spans)


def _scraping(folder: Path, ports: dict[str, int]) -> Prometheus | None:
    if shutil.which("prometheus") is None:
        return None
    targets = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return Prometheus(folder / "prometheus", targets, TOKEN)


def _settings(ports: dict[str, int]) -> dict[str, Any]:
    return {
        "run": "signals-test",
        "security": {"token": TOKEN},
        "model": {"path": str(Path(perl_rl.demo.__file__).parent / "start_model")},
        "data": {"train": "data/train.jsonl", "instruction": INSTRUCTION},
        "permutation": {
            "n_s": 1,
            "schedule": "constant",
            "noise": {"share": 0.5, "strength": STRENGTH, "schedule": "linear"},
        },
        "sampling": {"n": N, "max_tokens": 24},
        "rollout": {"port": ports["rollout"], "engine": SMALL_ENGINE},
        "reward": {
            "port": ports["reward"],
            "workers": 1,
            "consistency_weight": WEIGHT,
            "group_function": "tests.integration.group_probe:record",
        },
        "trainer": {
            "port": ports["trainer"],
            "ranks": 2,
            "zero_stage": 2,
            "steps": STEPS,
            "groups_per_step": GROUPS,
            "max_staleness": 0,
            "attention": "eager",
            "optimizer": {"learning_rate": 1e-4},
            "selection": {"keep": KEEP},
        },
    }
