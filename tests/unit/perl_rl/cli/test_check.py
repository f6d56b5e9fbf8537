"""``perl-rl check``: writes the data with data.prepare, and names bad input."""

import socket
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from tests.paths import ROOT


def check(folder: Path, *overrides: str) -> int:
    data = (
        f"data.train={folder / 'd' / 'train.jsonl'}",
        f"data.heldout={folder / 'd/heldout.jsonl'}",
    )
    ports = ("trainer.port=0", "reward.port=0", "rollout.port=0")
    settings = (*data, *ports, *overrides)
    config = str(ROOT / "configs" / "demo.yaml")
    return main(["check", config, "--run-dir", str(folder / "run"), "--set", *settings])


@pytest.mark.slow
def test_the_data_is_written_once_and_checked(tmp_path, capsys):
    assert check(tmp_path) == 0
    assert "writing the data" in capsys.readouterr().out
    written = (tmp_path / "d" / "train.jsonl").stat().st_mtime_ns

    assert check(tmp_path) == 0
    assert "writing the data" not in capsys.readouterr().out
    assert (tmp_path / "d" / "train.jsonl").stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_port_that_is_taken_is_named_before_the_report_and_after_it(tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert check(tmp_path, f"trainer.port={port}") == 2
        out, err = capsys.readouterr()
        assert out.index(f"127.0.0.1:{port}") < out.index("training data: ")
        assert "data: 3240 questions" in out and f"cannot listen on 127.0.0.1:{port}" in err
        assert check(tmp_path, f"trainer.port={port}", "--elsewhere") == 0


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.path=nowhere", "nowhere: there is no such folder; name one on this machine"),
        ("data.prepare=perl_rl.demo.digits:nothing", "data.prepare 'perl_rl.demo.digits:nothing'"),
    ],
)
def test_what_cannot_work_is_named_before_anything_starts(tmp_path, capsys, override, named):
    assert check(tmp_path, override) == 2
    assert named in capsys.readouterr().err


def test_the_shipped_configurations_take_addresses_and_secrets_from_the_environment(monkeypatch):
    from shared.config import load_config

    for name in ("demo", "qwen2_5_vl_3b", "qwen2_5_vl_7b"):
        file = ROOT / "configs" / f"{name}.yaml"
        for variable in ("PERL_REDIS_URL", "PERL_TOKEN", "PERL_HOST", "PERL_WEIGHTS_URL"):
            monkeypatch.delenv(variable, raising=False)
        alone = load_config(file)
        assert (alone.redis.url, alone.security.token, alone.weights.public_url) == (None,) * 3
        assert alone.rollout.host == alone.reward.host == alone.trainer.host == "127.0.0.1"

        monkeypatch.setenv("PERL_REDIS_URL", "redis://:s3cret@redis:6379/0")
        monkeypatch.setenv("PERL_TOKEN", "t0ken")
        monkeypatch.setenv("PERL_HOST", "0.0.0.0")
        monkeypatch.setenv("PERL_WEIGHTS_URL", "http://trainer-0.trainer:8010")
        spread = load_config(file)
        assert spread.redis.url == "redis://:s3cret@redis:6379/0"
        assert spread.security.token == "t0ken"
        assert spread.weights.public_url == "http://trainer-0.trainer:8010"
        assert spread.rollout.host == spread.reward.host == spread.trainer.host == "0.0.0.0"
