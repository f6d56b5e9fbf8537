"""``README.md`` of an exported model: what it was trained from, on, how, and how it does."""

import json
from pathlib import Path
from typing import Any

import yaml

from perl_rl.report.summary import read_metrics
from shared.config import Config
from shared.config.source import SourceConfig
from shared.formats.hub import is_hub, read_name
from shared.records.evaluations import FIGURES, evaluation_file, read_evaluation
from shared.records.steps import METRICS

PAPER = "https://arxiv.org/abs/2506.14907"


def write_card(run_dir: Path, config: Config, step: int, model: Path) -> None:
    """Write the card of the policy after `step` into the folder `model`."""
    (model / "README.md").write_text(card(run_dir, config, step), encoding="utf-8")


def card(run_dir: Path, config: Config, step: int) -> str:
    """The card: a header that the Hub reads, then text. It names no folder of this machine."""
    base = config.model.path.name
    parts = [
        f"---\n{yaml.safe_dump(_header(config, base), sort_keys=False)}---",
        f"# {config.run}: {base} after {step} steps of {_method(config)}",
        f"Trained with `perl-rl` after PeRL ([arXiv 2506.14907]({PAPER})): GRPO over groups that "
        "span several orders of the same images.",
        "## Evaluation\n\n" + _evaluation(run_dir, step),
        "## Training\n\n" + _table(_training(run_dir, config, step)),
        "## Data\n\n" + "\n".join(f"- {line}" for line in _data(config)),
        "Prompts end with this instruction:\n\n"
        + "\n".join(f"> {line}" for line in config.data.instruction.splitlines()),
    ]
    return "\n\n".join(parts) + "\n"


def _header(config: Config, base: str) -> dict[str, Any]:
    hub = [read_name(one.path).repository for one in _sources(config) if is_hub(one.path)]
    header: dict[str, Any] = {
        "base_model": base,
        "library_name": "transformers",
        "pipeline_tag": "image-text-to-text",
        "tags": ["reinforcement-learning", "grpo", "perl", "multi-image"],
    }
    return header | ({"datasets": sorted(set(hub))} if hub else {})


def _method(config: Config) -> str:
    orders = config.permutation.n_s
    return f"PeRL, {orders} permuted {'order' if orders == 1 else 'orders'}" if orders else "GRPO"


def _sources(config: Config) -> tuple[SourceConfig, ...]:
    return config.data.train_sources()


def _evaluation(run_dir: Path, step: int) -> str:
    results = {
        "start model": evaluation_file(run_dir, 0),
        "this model": evaluation_file(run_dir, step),
    }
    found = {name: read_evaluation(file) for name, file in results.items() if file.is_file()}
    if "this model" not in found:
        return "This checkpoint was not evaluated on held-out questions."
    rows = [["", *found]]
    for key, label in FIGURES.items():
        rows.append([label, *(_interval(one[key]) for one in found.values())])
    after = found["this model"]
    return (
        f"{after['items']} held-out questions, each in up to {after['most_orders']} orders of its "
        f"images, greedy answers; 95 % bootstrap intervals.\n\n{_table(rows)}"
    )


def _interval(one: dict[str, float]) -> str:
    return f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]"


def _training(run_dir: Path, config: Config, step: int) -> list[list[str]]:
    trainer, sampling = config.trainer, config.sampling
    rows = [row for row in read_metrics(run_dir / METRICS) if row["step"] <= step]
    dtype = _dtype(run_dir) or config.model.dtype
    return [
        ["setting", "value"],
        ["steps, groups a step", f"{step}, {trainer.groups_per_step}"],
        ["orders of a group, responses to each", f"{config.permutation.n_s + 1}, {sampling.n}"],
        ["responses trained on", f"{sum(row.get('samples', 0) for row in rows):,}"],
        ["objective", f"{trainer.objective.preset} (docs/objectives.md)"],
        ["KL coefficient", f"{trainer.objective.kl_coef:g}"],
        ["learning rate", f"{trainer.optimizer.learning_rate:g}"],
        [
            "temperature, longest response",
            f"{sampling.temperature:g}, {sampling.max_tokens} tokens",
        ],
        ["vision tower", "frozen" if trainer.freeze_vision else "trained"],
        ["number type", dtype],
        ["seed", str(config.seed)],
    ]


def _dtype(run_dir: Path) -> str | None:
    file = run_dir / "summary.json"
    if not file.is_file():
        return None
    return json.loads(file.read_text(encoding="utf-8")).get("dtype") or None


def _data(config: Config) -> list[str]:
    lines = []
    for one in _sources(config):
        place = str(read_name(one.path)) if is_hub(one.path) else one.path.name
        weight = f", weight {one.weight:g}" if len(_sources(config)) > 1 else ""
        lines.append(f"`{place}` (format {one.format}{weight})")
    return lines


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
