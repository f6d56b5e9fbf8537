"""A study's file: which runs it asks for, and what is wrong with it, in one line."""

from pathlib import Path

import pytest
import yaml

from perl_rl.study.spec import Study, checked_configs, read_study
from shared.errors import UserError
from tests.paths import ROOT

DIGITS = ROOT / "configs" / "studies" / "digits.yaml"


def settings() -> dict:
    content = yaml.safe_load(DIGITS.read_text())
    return content | {"config": str(ROOT / "configs" / "demo.yaml")}


def read(folder: Path, **changes: object) -> Study:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(settings() | changes))
    return read_study(file)


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "studies").glob("*.yaml")))
def test_every_study_of_the_repository_can_be_run(file: Path, tmp_path: Path) -> None:
    study = read_study(file)
    configs = checked_configs(study, file, tmp_path)
    sizes = {name: config.group_size() for name, config in configs.items()}
    assert len(set(sizes.values())) == 1, "arms are compared at equal groups, too"
    assert {config.trainer.max_responses for config in configs.values()} == {study.responses}


def test_seeds_come_one_after_the_other_with_all_their_arms(tmp_path: Path) -> None:
    arms = {name: {"title": name} for name in ("a", "b")} | {"c": {"title": "c", "seeds": [2]}}
    study = read(tmp_path, arms=arms, seeds=[1, 2], baseline="a")
    assert study.runs() == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 2)]


def test_places_in_settings_are_filled_in(tmp_path: Path) -> None:
    study = read(tmp_path, set={"data.train": "{study}/{arm}-{seed}.jsonl"})
    assert 'data.train="/s/perl-3.jsonl"' in study.overrides("perl", 3, Path("/s"))


def test_the_digest_follows_what_is_set_and_not_where_it_runs(tmp_path: Path) -> None:
    study = read(tmp_path)
    digests = {study.digest(*run) for run in study.runs()}
    assert len(digests) == len(study.runs())
    assert read(tmp_path).digest("perl", 1) == study.digest("perl", 1)
    assert read(tmp_path, responses=1).digest("perl", 1) != study.digest("perl", 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"baseline": "nobody"}, "baseline: there is no arm 'nobody'"),
        ({"seeds": [1, 1]}, r"seeds: \[1, 1\] names a seed twice"),
        ({"seeds": []}, "seeds: must have at least 1 entr"),
        ({"arms": {"A b": {"title": "x"}}}, "arms: the name 'A b' must be"),
        ({"responses": 0}, "responses: must be at least 1"),
        ({"respones": 5}, "unknown key 'respones'; did you mean 'responses'"),
        (
            {"arms": {"grpo": {"title": "x", "sets": {}}}},
            "arms, entry grpo: unknown key 'sets'; did you mean 'set'",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_key(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"study\.yaml: .*{said}"):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    ("arm", "said"),
    [
        ({"trainer.steps": 0}, r"trainer\.steps: must be at least 1"),
        ({"trainer.stpes": 3}, "unknown key 'trainer.stpes'"),
        ({"data.heldout": None}, "a study compares by data.heldout"),
    ],
)
def test_what_is_wrong_in_an_arm_is_said_with_the_arm(arm: dict, said: str, tmp_path: Path) -> None:
    study = read(tmp_path, arms={"grpo": {"title": "G", "set": arm}})
    with pytest.raises(UserError, match=f"arm 'grpo': .*{said}"):
        checked_configs(study, tmp_path / "study.yaml", tmp_path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the study"):
        read_study(tmp_path / "missing.yaml")
    (tmp_path / "list.yaml").write_text("[1")
    with pytest.raises(UserError, match="not valid YAML"):
        read_study(tmp_path / "list.yaml")
    (tmp_path / "list.yaml").write_text("name: 2020-13-45")
    with pytest.raises(UserError, match=r"a value cannot be read \(month must be"):
        read_study(tmp_path / "list.yaml")
    (tmp_path / "list.yaml").write_text("[" * 2_000)
    with pytest.raises(UserError, match="is nested too deeply"):
        read_study(tmp_path / "list.yaml")
