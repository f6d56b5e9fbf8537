"""The configuration: defaults, overrides, the environment, and one clear line for a mistake."""

import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.config import Config, RewardConfig, load_config, save_config
from shared.errors import UserError

MINIMAL = """
run: test
model: {path: model}
data: {train: data/train.jsonl}
trainer: {}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "run.yaml"
    file.write_text(MINIMAL)
    return file


def refused(file: Path, *overrides: str) -> str:
    """The error message for a configuration that must be refused."""
    with pytest.raises(UserError) as caught:
        load_config(file, list(overrides))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_minimal_file_gets_the_defaults(file: Path) -> None:
    config = load_config(file)
    assert config.run == "test"
    assert config.reward == RewardConfig()
    assert (config.reward.accuracy_weight, config.reward.format_weight) == (0.9, 0.1)
    assert (config.permutation.n_s, config.sampling.n) == (1, 6)
    assert config.security.token is None


def test_paths_are_relative_to_the_file(file: Path) -> None:
    config = load_config(file, [f"data.heldout={file.parent / 'elsewhere.jsonl'}"])
    assert config.model.path == file.parent.resolve() / "model"
    assert config.data.train == file.parent.resolve() / "data" / "train.jsonl"
    assert config.data.heldout == file.parent / "elsewhere.jsonl"


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=7", lambda config: config.seed == 7),
        ("rollout.nodes=2", lambda config: config.rollout.nodes == 2),
        ("rollout.engine.enforce_eager=true", lambda config: config.rollout.engine.enforce_eager),
        (
            "trainer.optimizer.learning_rate=1e-5",
            lambda c: c.trainer.optimizer.learning_rate == 1e-5,
        ),
        ("sampling.n = 3", lambda config: config.sampling.n == 3),
        ("data.instruction=a=b", lambda config: config.data.instruction == "a=b"),
        ("trainer.minibatch_groups=null", lambda config: config.trainer.minibatch_groups is None),
    ],
)
def test_overrides(file: Path, override: str, read: Callable[[Config], bool]) -> None:
    assert read(load_config(file, [override]))


def test_an_empty_override_is_null(file: Path) -> None:
    assert load_config(file, ["security.token="]).security.token is None
    assert "data.instruction: must be text" in refused(file, "data.instruction=")


def test_the_last_override_counts(file: Path) -> None:
    assert load_config(file, ["seed=1", "seed=2"]).seed == 2


def test_an_override_opens_an_empty_section(file: Path) -> None:
    file.write_text(MINIMAL + "rollout:\n")
    assert load_config(file, ["rollout.nodes=3"]).rollout.nodes == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: write it as key.path=value"),
        ("=3", "--set =3: write it as key.path=value"),
        ("run.name=x", "--set run.name=x: 'run' is a value and has no keys below it"),
        ("seed=[1", "--set seed=[1: the value is not valid YAML"),
        ("run=2020-13-45", "--set run=2020-13-45: the value is not valid YAML"),
        (f"seed={'9' * 5000}", f"--set seed={'9' * 75}...: the value is not valid YAML"),
        ("rollout.node=2", "unknown key 'rollout.node'; did you mean 'rollout.nodes'? docs/"),
        ("trainer.learnig_rate=1", "did you mean 'trainer.optimizer.learning_rate'? docs/conf"),
        ("reward.judge={url: x}", "did you mean 'reward.judge.endpoint.url'?"),
        ("redis.url=localhost:6379", "redis.url: must begin with redis://, rediss:// or unix://"),
        ("seed=1.5", "seed: must be a whole number (got 1.5)"),
        ("trainer.freeze_vision=maybe", "trainer.freeze_vision: must be true or false"),
        ("trainer.optimizer.learning_rate=x", "learning_rate: must be a number (got 'x')"),
        ("colour=red", "unknown key 'colour'; docs/configuration.md"),
        ("seed=-1", "seed: must be at least 0 (got -1)"),
        ("rollout.nodes=many", "rollout.nodes: must be a whole number (got 'many')"),
        ("reward.port=70000", "reward.port: must be at most 65535 (got 70000)"),
        ("model.dtype=float8", "model.dtype: must be 'auto', 'bfloat16' or 'float32'"),
        ("model.device=tpu", "model.device: must be 'auto', 'cuda' or 'cpu'"),
        ("data.heldout_samples=0", "data.heldout_samples: must be at least 1 (got 0)"),
        (
            "run=a b",
            "run: must begin with a letter or digit, and have only letters, digits, '.', '_'",
        ),
        ("reward.filter.min_accuracy=2", "reward.filter.min_accuracy: must be at most 1 (got 2)"),
        ("sampling.top_p=0.95", "sampling.top_p: must be 1: the sampler would report"),
        ("trainer=3", "trainer: must have keys and values (got 3)"),
        (
            "trainer.minibatch_groups=100",
            "trainer.groups_per_step (128) must be a multiple of trainer.minibatch_groups (100)",
        ),
        ("trainer.ranks=3", "cannot be split evenly over 3 ranks"),
        (
            "trainer.checkpoint={keep_best: true}",
            "trainer.checkpoint.keep_best needs data.heldout and eval.every_steps",
        ),
    ],
)
def test_a_bad_value_is_named(file: Path, override: str, message: str) -> None:
    assert message in refused(file, override)


def test_every_policy_that_may_be_the_best_is_saved(file: Path) -> None:
    best = ["data.heldout=h", "trainer.checkpoint={keep_best: true, every_steps: 4}"]
    message = "eval.every_steps (6) must be a multiple of trainer.checkpoint.every_steps (4)"
    with pytest.raises(UserError, match=re.escape(message)):
        load_config(file, [*best, "eval.every_steps=6"])
    assert load_config(file, [*best, "eval.every_steps=8"]).trainer.checkpoint.keep_best


def test_unknown_and_missing_keys_in_the_file_are_named_with_the_file(file: Path) -> None:
    file.write_text(MINIMAL + "sampling: {temprature: 1.0}\n")
    assert refused(file) == (
        f"{file}: unknown key 'sampling.temprature'; did you mean 'sampling.temperature'? "
        "docs/configuration.md lists all keys"
    )
    file.write_text("run: test\ndata: {train: x}\ntrainer: {}\n")
    assert refused(file) == f"{file}: the key 'model' is missing"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run: [", "not valid YAML"),
        (b"run: 2020-13-45", "a value cannot be read (month must be in 1..12); put it in quotes"),
        (b"seed: " + b"9" * 5000, "a value cannot be read (Exceeds the limit (4300 digits)"),
        (b"run: " + b"[" * 2_000, "is nested too deeply"),
        (b"run: &a [*a]", "a value holds itself (by an anchor & and an alias *)"),
        (b"", "must hold a mapping"),
        (b"- a\n- b\n", "must hold a mapping"),
        (b"run: \xff\xfe", "not UTF-8 text at byte 5"),
        (b"run: !!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    assert refused(file).startswith(f"{file}: {message}")


def test_a_data_file_is_no_configuration(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"id": "a"}\n{"id": "b"}\n')
    assert refused(file) == f"{file}: is a data file, not a configuration in YAML"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "none.yaml"
    assert refused(file) == f"{file}: cannot read the configuration (No such file or directory)"


def test_values_come_from_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERL_TOKEN", "s3cret")
    monkeypatch.setenv("PERL_HOST", "queue")
    monkeypatch.delenv("PERL_PORT", raising=False)
    file.write_text(
        MINIMAL + "security: {token: '${PERL_TOKEN}'}\n"
        "redis: {url: 'redis://${PERL_HOST}:${PERL_PORT:-6379}/0'}\nseed: ${PERL_SEED:-4}\n"
    )
    config = load_config(file)
    assert config.security.token == "s3cret"
    assert config.redis.url == "redis://queue:6379/0"
    assert config.seed == 4


def test_an_empty_variable_is_not_set(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERL_TOKEN", "")
    assert load_config(file, ["security.token='${PERL_TOKEN}'"]).security.token is None
    assert load_config(file, ["security.token=${PERL_NONE:-}"]).security.token is None


def test_a_variable_that_is_not_set_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERL_TOKEN", raising=False)
    message = refused(file, "security.token=${PERL_TOKEN}")
    assert message.startswith(f"{file}: the environment variable PERL_TOKEN is not set; set it")


def test_the_token_is_not_shown(file: Path) -> None:
    config = load_config(file, ["security.token=s3cret"])
    assert "s3cret" not in repr(config)
    assert refused(file, "security.token=12345") == (f"{file}: security.token: must be text")


def test_a_saved_configuration_reads_back_and_is_private(file: Path, tmp_path: Path) -> None:
    config = load_config(
        file, ["seed=5", "security.token=s3cret", "reward.filter.max_accuracy=0.9"]
    )
    copy = tmp_path / "copy" / "config.yaml"
    copy.parent.mkdir()
    copy.write_text("readable")
    copy.chmod(0o644)
    save_config(config, copy)
    assert load_config(copy) == config
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600


def test_a_configuration_does_not_change(file: Path) -> None:
    config = load_config(file)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3  # type: ignore[misc]


def test_every_time_is_positive_and_named_in_seconds() -> None:
    """Invariant 2: every wait has a limit in the configuration, and none can be switched off."""
    names = [name for name in _leaves(Config) if "timeout" in name]
    assert len(names) > 10
    assert all(name.endswith("_s") for name in names)


def _leaves(section: type, prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, field in section.model_fields.items():  # type: ignore[attr-defined]
        if hasattr(field.annotation, "model_fields"):
            names += _leaves(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


MIXED = """
run: test
model: {path: model}
data:
  train:
    - {path: mantis/nlvr2/*.parquet, format: mantis, weight: 3, subsets: [nlvr2]}
    - {path: /data/geo, format: easyr1, image_dir: pictures, keys: {prompt: q}, name: geo}
  heldout: {path: heldout, format: geometry3k, split: test}
trainer: {}
"""


def test_a_mixture_of_sources_reads_back(file: Path, tmp_path: Path) -> None:
    file.write_text(MIXED)
    config = load_config(file)
    folder = file.parent.resolve()
    first, second = config.data.train_sources()
    assert first.path == folder / "mantis" / "nlvr2" / "*.parquet"
    assert (first.format, first.weight, first.skip_bad_rows) == ("mantis", 3.0, False)
    assert (second.path, second.image_dir) == (Path("/data/geo"), folder / "pictures")
    (heldout,) = config.data.heldout_sources()
    assert (heldout.path, heldout.split) == (folder / "heldout", "test")
    save_config(config, tmp_path / "copy.yaml")
    assert load_config(tmp_path / "copy.yaml") == config


def test_a_plain_path_is_one_source_of_samples(file: Path) -> None:
    data = load_config(file).data
    (source,) = data.train_sources()
    assert (source.path, source.format, source.weight) == (data.train, "samples", 1.0)
    assert data.heldout_sources() == ()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.train=[]", "data.train: must have at least 1 entr"),
        ("data.train=[{format: verl}]", "data.train, first source: the key 'path' is missing"),
        ("data.train=[{path: a, colour: red}]", "data.train, first source: unknown key 'colour'"),
        (
            "data.train=[{path: a, format: csv}]",
            "data.train, first source, format: must be 'samples'",
        ),
        (
            "data.train=[{path: a, weight: 0}]",
            "data.train, first source, weight: must be more than 0",
        ),
        ("data.train=[{path: a, subsets: [x]}]", "subsets is only for format mantis, not samples"),
        ("data.heldout={path: a, keys: {answer: x}}", "keys.answer is only for format easyr1"),
        ("data={train: [{path: a}], prepare: 'a:b'}", "prepare writes the file train"),
        ("data.train=3", "data.train: must be a path"),
    ],
)
def test_a_bad_source_is_named(file: Path, override: str, message: str) -> None:
    assert message in refused(file, override)


def test_a_key_that_is_there_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("run: a\ntrainer:\n  steps: 1\ntrainer:\n  steps: 2\n")
    with pytest.raises(UserError, match="'trainer' is there twice, in lines 2 and 4"):
        load_config(file)
