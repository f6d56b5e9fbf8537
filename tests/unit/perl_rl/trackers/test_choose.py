"""Which tracker, where it sends to, and what is said of one that is not installed."""

import sys
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.trackers import choose
from perl_rl.trackers.choose import KINDS, check_trackers, is_online, where
from perl_rl.trackers.cursor import Cursor, cursor_file, save_cursor
from shared.config import load_config
from shared.config.load import secrets_file
from shared.config.trackers import TRACKER_NAMES, TrackerConfig
from shared.errors import UserError
from tests.paths import ROOT
from tests.tracked_run import WrittenRun

DEMO = ROOT / "configs" / "demo.yaml"


def tracker(name: str, **settings: object) -> TrackerConfig:
    return TrackerConfig.model_validate({"name": name, **settings})


def test_status_shows_how_far_each_tracker_is(tmp_path, capsys) -> None:
    run = WrittenRun(tmp_path, "redis.url=redis://127.0.0.1:1/0")
    run.steps(1, 4)
    run.ends()
    (tmp_path / "trackers").mkdir()
    away = "ConnectionError: the server is away; tried again after 2 s"
    save_cursor(Cursor(spans=[(1, 4)]), cursor_file(tmp_path, "tensorboard"))
    save_cursor(Cursor(spans=[(1, 3)], problem=away), cursor_file(tmp_path, "wandb"))
    assert main(["status", "--run-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "tracker  tensorboard  sent up to step 4",
        f"tracker  wandb  sent up to step 3; {away}",
    ]


def test_every_name_has_its_kind() -> None:
    assert tuple(KINDS) == TRACKER_NAMES


@pytest.mark.parametrize(
    ("settings", "environment", "online"),
    [
        ({"name": "wandb"}, {}, False),
        ({"name": "wandb"}, {"WANDB_API_KEY": ""}, False),
        ({"name": "wandb"}, {"WANDB_API_KEY": "k"}, True),
        ({"name": "wandb", "offline": True}, {"WANDB_API_KEY": "k"}, False),
        ({"name": "wandb", "offline": False}, {}, True),
        ({"name": "mlflow", "url": "http://here"}, {}, True),
        ({"name": "mlflow"}, {"WANDB_API_KEY": "k"}, False),
        ({"name": "trackio"}, {"TRACKIO_SPACE_ID": "me/here"}, True),
        ({"name": "tensorboard"}, {"WANDB_API_KEY": "k"}, False),
    ],
)
def test_the_network_is_used_only_where_somebody_asked(settings, environment, online) -> None:
    assert is_online(TrackerConfig.model_validate(settings), environment) is online


def test_where_the_data_goes_is_said(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert where(tracker("wandb"), tmp_path) == f"writes to {tmp_path / 'trackers' / 'wandb'}"
    monkeypatch.setenv("WANDB_API_KEY", "k")
    assert where(tracker("wandb"), tmp_path) == "sends (WANDB_API_KEY)"
    assert where(tracker("mlflow", url="http://u:secret@here"), tmp_path) == "sends (url)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("[wandb, comet]", "trackers: there is no tracker 'comet'; choose tensorboard, wandb, "),
        ("[wandb, {name: wandb}]", "trackers: wandb is there twice; a run has one tracker of a "),
        ("wandb", "trackers: must be a list"),
        ("[3]", "trackers, first tracker: must have keys and values"),
        ("[{project: mine}]", "trackers, first tracker: the key 'name' is missing"),
        ("[{name: wandb, every_steps: 0}]", "first tracker, every_steps: must be at least 1"),
        ("[{name: wandb, page: here}]", "first tracker, page: must begin with http:// or https://"),
        ("[{name: tensorboard, url: x}]", "first tracker: tensorboard only writes files; "),
        ("[{name: wandb, url: x, offline: true}]", "first tracker: offline: true sends nothing"),
    ],
)
def test_a_mistake_in_the_settings_is_named(given: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        load_config(DEMO, [f"trackers={given}"])
    assert said in str(refused.value)


def test_a_password_in_an_address_is_kept_beside_the_configuration(tmp_path) -> None:
    given = "trackers=[tensorboard, {name: mlflow, url: 'https://me:pass-word@here/'}]"
    run = WrittenRun(tmp_path, given)
    file = tmp_path / "config.yaml"
    assert "pass-word" not in file.read_text()
    assert "pass-word" in secrets_file(file).read_text()
    assert load_config(file).trackers == run.config.trackers
    with pytest.raises(UserError) as refused:
        load_config(file, ["trackers=[{name: mlflow, url: 'https://me:pass-word@here/'}, x]"])
    assert "pass-word" not in str(refused.value)


def test_a_package_that_is_missing_is_named_with_the_line_that_installs_it(monkeypatch) -> None:
    monkeypatch.setattr(choose.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError) as refused:
        check_trackers([tracker("wandb")])
    assert str(refused.value) == (
        f"trackers: wandb: not installed: wandb; {sys.executable} -m pip install 'perl-rl[wandb]'"
    )
    with pytest.raises(UserError, match=r"trackio: not installed: trackio; .* docs/trackers\.md"):
        check_trackers([tracker("trackio")])


def test_another_python_is_asked_itself(tmp_path: Path) -> None:
    check_trackers([tracker("tensorboard", python=sys.executable)])
    with pytest.raises(UserError, match=r"python .*/none: cannot be run \(No such file"):
        check_trackers([tracker("trackio", python=tmp_path / "none")])
    with pytest.raises(UserError, match=r"python /bin/false: does not answer as Python does"):
        check_trackers([tracker("trackio", python="/bin/false")])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tracker", "comet"], "there is no tracker 'comet'; choose tensorboard, wandb, mlflow,"),
        ([], "trackers: names none; choose one with --tracker"),
        (["--tracker", "wandb", "--config", "none.yaml"], "none.yaml: there is no such file; name"),
    ],
)
def test_the_command_refuses_what_it_cannot_follow(tmp_path, capsys, arguments, said) -> None:
    WrittenRun(tmp_path)
    assert main(["track", str(tmp_path), *arguments]) == 2
    assert said in capsys.readouterr().err
