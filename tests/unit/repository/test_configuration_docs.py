"""The shipped configurations are valid, and the page about the keys is up to date."""

import re

import pytest
import yaml

from perl_rl.data.config import STAGES, PrepareConfig
from scripts.config_reference import FILE, reference
from scripts.prepare_reference import PAGE, data_parser, page_with, shown_options, tables
from shared.config import Config, DataConfig, load_config
from tests.paths import ROOT


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_configurations_are_valid(file):
    assert load_config(file).run


def test_the_7b_configuration_has_the_papers_values():
    config = load_config(ROOT / "configs" / "qwen2_5_vl_7b.yaml")
    trainer, objective = config.trainer, config.trainer.objective

    assert (config.permutation.n_s, config.sampling.n) == (1, 6)
    assert config.permutation.schedule == "linear"
    assert (config.sampling.temperature, config.sampling.top_p) == (1.0, 1.0)
    assert config.sampling.max_tokens == 2048
    assert config.rollout.engine.max_model_len == 8192 + 2048
    assert config.rollout.engine.max_images == 32
    assert config.model.max_pixels == 262_144
    assert (trainer.groups_per_step, trainer.minibatch_groups) == (256, 64)
    assert (objective.clip_low, objective.clip_high, objective.kl_coef) == (0.2, 0.2, 0.01)
    assert trainer.optimizer.learning_rate == 1e-6
    assert (trainer.optimizer.weight_decay, trainer.optimizer.grad_clip) == (0.01, 1.0)
    assert trainer.checkpoint.every_steps == 100
    assert not trainer.freeze_vision
    assert (config.reward.accuracy_weight, config.reward.format_weight) == (0.9, 0.1)
    gpus = trainer.ranks + config.rollout.nodes * config.rollout.engine.tensor_parallel_size
    assert gpus == 8


def test_the_examples_of_the_page_about_data_are_valid():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        assert DataConfig.model_validate(yaml.safe_load(example)["data"]).train_sources()


def test_the_page_about_the_keys_is_up_to_date():
    assert FILE.read_text(encoding="utf-8") == reference(), "run: make docs"


def test_every_key_has_a_meaning():
    assert "|  |" not in reference()
    assert len(Config.model_fields) > 10


def test_the_tables_of_preparation_are_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page_with(tables()), "run: make docs"


def test_every_key_and_option_of_a_stage_is_in_its_table():
    page = PAGE.read_text(encoding="utf-8")
    for stage in STAGES:
        for key in PrepareConfig.model_fields[stage].annotation.model_fields:
            assert f"| `{stage}.{key}` |" in page
        assert f"`perl-rl data {stage}`" in page
        names = [one.option_strings for one in shown_options(data_parser(stage))]
        assert names == [one.option_strings for one in shown_options(data_parser(STAGES[0]))]
    assert "|  |" not in tables()
