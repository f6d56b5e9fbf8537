"""Configurations as flat keys, and where runs differ."""

from pathlib import Path

import pytest

from perl_rl.view.settings import MISSING, differences, flatten, read_settings, side_by_side
from shared.errors import UserError
from tests.view_runs import write_config


def test_sections_and_lists_become_flat_keys() -> None:
    content = {
        "run": "a",
        "data": {"train": [{"path": "x", "weight": 2}, {"path": "y"}], "heldout": None},
        "reward": {"functions": ["m:f", "m:g"], "filter": {"drop_uniform": True}},
        "rollout": {"engine": {}},
    }
    assert flatten(content) == {
        "run": "a",
        "data.train.0.path": "x",
        "data.train.0.weight": "2",
        "data.train.1.path": "y",
        "data.heldout": "",
        "reward.functions": "m:f, m:g",
        "reward.filter.drop_uniform": "true",
        "rollout.engine": "{}",
    }


def test_runs_differ_in_values_and_in_missing_keys_but_not_in_addresses() -> None:
    one = {"seed": "0", "redis.url": "a", "trainer.port": "1", "permutation.n_s": "1"}
    other = {"seed": "0", "redis.url": "b", "trainer.port": "2", "record.share": "0.5"}
    assert {row.key: row.values for row in differences([one, other])} == {
        "permutation.n_s": ("1", MISSING),
        "record.share": (MISSING, "0.5"),
    }
    assert len(side_by_side([one, other])) == 5


def test_the_configuration_of_either_kind_of_start_is_read(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    write_config(tmp_path)
    assert read_settings(tmp_path)["trainer.steps"] == "40"
    (tmp_path / "config.yaml").rename(tmp_path / "trainer-config.yaml")
    assert read_settings(tmp_path)["trainer.steps"] == "40"


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("a: [")
    with pytest.raises(UserError, match=r"config\.yaml: cannot be read as a configuration"):
        read_settings(tmp_path)
