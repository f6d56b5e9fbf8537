"""Where the pages of a launch are, and how their process is told."""

from pathlib import Path

import pytest

from perl_rl.cli.main import command_line
from perl_rl.cli.view import DEFAULT_PORT
from perl_rl.launch import view as launched
from perl_rl.launch.preflight import check_ports
from perl_rl.launch.view import view_address, view_port, view_program
from shared.config import Config
from shared.config.view import ViewConfig
from shared.errors import UserError
from shared.service.serve import bind


def config(**changes: object) -> Config:
    content = {
        "run": "r",
        "model": {"path": "m"},
        "data": {"train": "t"},
        "trainer": {"port": 0},
        "rollout": {"port": 0},
        "reward": {"port": 0},
        "redis": {"url": "redis://127.0.0.1:6379/0"},
        "weights": {"port": 0},
        **changes,
    }
    return Config.model_validate(content)


def test_a_port_that_was_not_chosen_is_the_usual_one_or_a_free_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with bind("test", "127.0.0.1", 0) as taken:
        busy = taken.getsockname()[1]
        monkeypatch.setattr(launched, "DEFAULT_PORT", busy)
        other = view_port(ViewConfig())
        assert other not in (busy, 0)
    monkeypatch.setattr(launched, "DEFAULT_PORT", other)
    assert view_port(ViewConfig()) == other
    assert view_port(ViewConfig(port=4321)) == 4321
    assert view_port(ViewConfig(port=0)) != DEFAULT_PORT


def test_a_port_that_was_chosen_and_is_taken_is_refused_before_the_start() -> None:
    with bind("test", "127.0.0.1", 0) as taken:
        busy = taken.getsockname()[1]
        words = rf"^view: cannot listen on 127\.0\.0\.1:{busy} .*set view\.host and view\.port"
        with pytest.raises(UserError, match=words):
            check_ports(config(view={"port": busy}))
        check_ports(config(view={"port": busy, "enabled": False}))
        check_ports(config())


def test_the_command_is_one_of_the_command_line_and_shows_no_token(tmp_path: Path) -> None:
    given = config(view={"port": 4321}, security={"token": "s3cret"})
    program = view_program(given, tmp_path)
    words = program.command[program.command.index("perl_rl") + 1 :]
    options = command_line().parse_args(list(words))
    assert (options.runs, options.host, options.port) == ([tmp_path], "127.0.0.1", 4321)
    assert program.environment == {options.token_env: "s3cret"}
    assert not any("s3cret" in word for word in program.command)
    assert view_address(given) == "http://127.0.0.1:4321"
    assert view_program(config(view={"port": 4321}), tmp_path).environment == {}
