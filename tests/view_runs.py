"""What the pages of a run read besides the record of groups, made up: for tests of these pages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from shared.records.evaluations import evaluation_file
from shared.records.steps import METRICS, StepRecord


def step_row(step: int, **changes: object) -> dict[str, Any]:
    """A line of ``metrics.jsonl``; its figures follow from the step."""
    fields: dict[str, Any] = {
        name: 0.0
        for name, field in StepRecord.model_fields.items()
        if field.is_required() and field.annotation in (float, float | None)
    }
    fields |= dict.fromkeys(("staleness_max", "samples", "samples_generated"), 0)
    fields |= dict.fromkeys(("noisy_orders", "trained_tokens", "generated_tokens"), 0)
    fields |= {
        "step": step,
        "incarnation": 1,
        "time": 1_700_000_000.0 + 2 * step,
        "groups": [f"g{step:08d}"],
        "guard_alarms": 0,
        "accuracy_all": min(1.0, 0.5 + step / 100),
        "reward_all": 0.5,
        "tokens_per_s": 1000.0,
        "groups_dropped": {},
        "groups_dropped_step": {"uniform_reward": 2},
        **changes,
    }
    return StepRecord.model_validate(fields).model_dump(mode="json")


def write_metrics(run_dir: Path, rows: Sequence[dict[str, Any]], rest: str = "") -> None:
    """Write ``metrics.jsonl``; `rest` is a last line whose writer is not done yet."""
    run_dir.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run_dir / METRICS).write_text(text + rest)


def write_config(run_dir: Path, **changes: object) -> None:
    """Write the part of ``config.yaml`` that the pages look at."""
    run_dir.mkdir(parents=True, exist_ok=True)
    content = {
        "run": "made-up",
        "seed": 0,
        "permutation": {"n_s": 1},
        "trainer": {"steps": 40, "groups_per_step": 4},
        **changes,
    }
    (run_dir / "config.yaml").write_text(yaml.safe_dump(content))


def write_summary(run_dir: Path, **changes: object) -> None:
    """Write the part of ``summary.json`` that the pages look at."""
    node = {"name": "rollout-0", "kind": "rollout", "version": "1.9", "done": 12, "tokens": 3456}
    later = node | {"name": "rollout-1", "version": "1.10", "restarts": 2}
    content = {
        "outcome": "done",
        "groups": {
            "issued": 30,
            "trained": 20,
            "dropped": {"uniform_reward": 7, "stale": 2},
            "in_flight": 1,
            "skipped": {"easy": 4},
        },
        "wall_s": 75.0,
        "dtype": "bfloat16",
        "device": "cpu",
        "nodes": [node, later],
        **changes,
    }
    (run_dir / "summary.json").write_text(json.dumps(content))


def write_evaluation(run_dir: Path, step: int, accuracy: float, digest: str = "a" * 64) -> None:
    """Write an evaluation on held-out questions; another digest: other questions."""

    def estimate(value: float) -> dict[str, float]:
        return {"value": value, "low": value - 0.05, "high": value + 0.05}

    content = {
        "items": 40,
        "answers": 80,
        "most_orders": 2,
        "accuracy": estimate(accuracy),
        "worst_case": estimate(accuracy - 0.1),
        "flip_rate": estimate(1 - accuracy),
        "floor": None,
        "accuracy_by_slot": {"0": 0.9, "1": accuracy},
        "interval_by_slot": {"0": [0.85, 0.95], "1": [accuracy - 0.1, accuracy + 0.1]},
        "by_source": {
            "option": {"items": 40, "accuracy": accuracy, "worst_case": 0.4, "flip_rate": 0.3}
        },
        "excluded": {},
        "by_item": {
            f"q{number}": {"right": [number < 20, number < 40 * accuracy], "flips": number % 4 == 0}
            for number in range(40)
        },
        "asked": {
            "questions": 40,
            "prompts": 80,
            "orders": 2,
            "max_tokens": 24,
            "digest": digest,
        },
        "versions": [f"1.{step}"],
    }
    file = evaluation_file(run_dir, step)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
