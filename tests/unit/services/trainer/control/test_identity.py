"""What must stay the same while a run lasts is compared when it goes on, and refused with both
values."""

import json
from pathlib import Path
from typing import Any

import pytest

from perl_rl.demo.digits import write_data
from services.trainer.control.identity import (
    FIXED,
    Identity,
    differences,
    identity_of,
    keep_identity,
    read_identity,
)
from services.trainer.control.resuming import where_it_goes_on
from services.trainer.plan.groups import group_id
from services.trainer.rank.checkpoint_folder import CheckpointFolder, CheckpointState
from shared.config import Config
from shared.errors import UserError
from shared.formats import SourceSize
from tests.paths import ROOT, START_MODEL


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    write_data(tmp_path / "data", train=6, held_out=3, skew=1.0, seed=1)
    return {
        "run": "r",
        "model": {"path": str(START_MODEL)},
        "data": {
            "train": str(tmp_path / "data/train.jsonl"),
            "heldout": str(tmp_path / "data/heldout.jsonl"),
        },
        "trainer": {"steps": 4},
    }


def changed(settings: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    content = json.loads(json.dumps(settings))
    *sections, last = key.split(".")
    part = content
    for section in sections:
        part = part.setdefault(section, {})
    part[last] = value
    return content


def found(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    first, second = (identity_of(Config.model_validate(one)) for one in (before, now))
    return differences(first, second)


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("seed", 5, "seed was 0, now 5"),
        ("permutation.n_s", 2, "permutation.n_s was 1, now 2"),
        ("permutation.noise", {"share": 0.5}, "permutation.noise.share was 0.0, now 0.5"),
        ("eval.orders", 3, "eval.orders was 6, now 3"),
        ("model.max_pixels", 90000, "model.max_pixels was not set, now 90000"),
        ("trainer.groups_per_step", 8, "trainer.groups_per_step was 128, now 8"),
        ("trainer.zero_stage", 3, "trainer.zero_stage was 1, now 3"),
        ("trainer.ranks", 2, "trainer.ranks * trainer.hosts was 1, now 2"),
        ("model.lora", {}, "model.lora was not set, now an adapter"),
        ("data.heldout", None, "data.heldout (sources) was 1, now 0"),
    ],
)
def test_a_change_is_named_with_both_values(settings, key, value, line) -> None:
    assert line in found(settings, changed(settings, key, value))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trainer.steps", 9),
        ("trainer.optimizer", {"learning_rate": 1e-5}),
        ("trainer.checkpoint", {"every_steps": 3}),
        ("trainer.objective", {"preset": "perl"}),
        ("rollout.nodes", 4),
        ("sampling.max_tokens", 99),
        ("eval.every_steps", 5),
        ("run", "other"),
    ],
)
def test_what_may_change_is_not_compared(settings, key, value) -> None:
    assert found(settings, changed(settings, key, value)) == []


def test_an_adapter_goes_on_as_it_is(settings) -> None:
    small, large = (changed(settings, "model.lora", {"rank": rank}) for rank in (4, 8))
    assert found(small, large) == ["model.lora.rank was 4, now 8"]
    assert found(small, settings) == ["model.lora was an adapter, now not set"]


def test_contents_count_and_not_places(settings, tmp_path: Path) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    moved = json.loads(json.dumps(settings).replace("/data/", "/moved/"))
    now = identity_of(Config.model_validate(moved))
    (tmp_path / "moved").rename(tmp_path / "data")
    assert differences(identity_of(Config.model_validate(settings)), now) == []

    file = tmp_path / "data/train.jsonl"
    file.write_text(file.read_text().replace("image", "picture", 1))
    (line,) = differences(now, identity_of(Config.model_validate(settings)))
    assert line.startswith("data.train.path was 1 files with SHA-256 ") and ", now 1 files" in line


def test_other_weights_are_another_model(settings, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    for file in START_MODEL.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    other = changed(settings, "model.path", str(model))
    assert found(settings, other) == []
    weights = model / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    (line,) = found(settings, other)
    assert line.startswith("model.path was a model with SHA-256 ")


def test_a_run_with_a_checkpoint_refuses_other_settings_in_one_line(settings, tmp_path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    first = identity_of(Config.model_validate(settings), [SourceSize("all", 1.0, 6)])
    keep_identity(run, first)
    content = changed(changed(settings, "seed", 5), "eval.orders", 2)
    other = identity_of(Config.model_validate(content))
    keep_identity(run, other)
    assert read_identity(run) == other, "without a checkpoint it begins again"

    keep_identity(run, first)
    checkpoints = CheckpointFolder(run / "checkpoints", keep=1)
    checkpoints.begin()
    checkpoints.commit(CheckpointState(1, 2, {}))
    with pytest.raises(UserError) as refused:
        keep_identity(run, other)
    assert str(refused.value) == (
        f"{run}: cannot go on from step 2 with other settings: eval.orders was 6, now 2; seed was "
        f"0, now 5; set them back, or start a new run from its policy (perl-rl export {run} --out "
        "MODEL; docs/resume.md says what may change)"
    )
    assert read_identity(run) == first
    (run / "identity.json").write_text("{")
    with pytest.raises(UserError, match=r"identity\.json: cannot be read .*delete it to go on"):
        keep_identity(run, first)


def test_keys_of_another_version_of_the_software_are_not_compared() -> None:
    assert differences(Identity({"a": 1, "old": 2}, []), Identity({"a": 1, "new": 3}, [])) == []


def test_where_a_run_goes_on() -> None:
    config = Config.model_validate(
        {"run": "r", "model": {"path": "m"}, "data": {"train": "t"}, "trainer": {"steps": 16}}
    )
    settled = {group_id(index): "trained:1" for index in range(13)}
    checkpoint = CheckpointState(1, 8, settled)
    one = [SourceSize("all", 1.0, 6)]
    assert where_it_goes_on(config, checkpoint, one) == "step 9 of 16, epoch 3 of 6 questions"
    two = [SourceSize("a", 3.0, 4), SourceSize("b", 1.0, 100)]
    assert where_it_goes_on(config, checkpoint, two) == (
        "step 9 of 16, epochs: 3 of 4 questions of a, 1 of 100 questions of b"
    )
    assert where_it_goes_on(config, CheckpointState(1, 0, {}), two).endswith(
        "1 of 100 questions of b"
    )


def test_the_page_names_every_key_that_must_not_change() -> None:
    page = (ROOT / "docs/resume.md").read_text()
    for key in (*FIXED, "model.path", "model.dtype", "data.train", "data.heldout", "trainer.ranks"):
        assert f"`{key}" in page, key
