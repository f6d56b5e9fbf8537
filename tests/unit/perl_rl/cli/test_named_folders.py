"""The same wrong folder is refused in the same words, whichever command it is given to."""

import shutil
from pathlib import Path

import pytest

from perl_rl.cli.main import main
from perl_rl.cli.status import URL_VARIABLE
from tests.paths import START_MODEL

RUNS = (
    *("status --run-dir", "dead-letters", "export --out new", "show 1 --run", "view"),
    *("view --export new", "track --tracker tensorboard"),
)
MODELS = ("check run.yaml", "launch run.yaml", "plan run.yaml", "rollout serve run.yaml --port 0")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    (tmp_path / "words.txt").write_text("no run")
    (tmp_path / "empty").mkdir()
    (tmp_path / "train.jsonl").write_text("")
    (tmp_path / "run.yaml").write_text(
        "run: r\nmodel: {path: m}\ndata: {train: train.jsonl}\ntrainer: {}\n"
        "redis: {url: 'redis://127.0.0.1:1/0'}\n"
    )
    return tmp_path


def refused(capsys: pytest.CaptureFixture[str], command: str) -> str:
    assert main(command.split()) == 2
    return capsys.readouterr().err.strip().splitlines()[-1].removeprefix("perl-rl: error: ")


@pytest.mark.parametrize("command", RUNS)
def test_a_folder_that_is_no_run(
    here: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(folder: str) -> str:
        line = refused(capsys, f"{command} {folder}")
        return line.removeprefix("--run-dir ")

    assert said("nope") == "nope: there is no such folder; name the folder of a run"
    if "dead-letters" not in command:  # which takes a YAML file, too
        assert said("words.txt") == ("words.txt: is a file, not a folder; name the folder of a run")
    if "track" not in command:  # which takes the configuration from elsewhere, too
        assert said("empty").startswith("empty: ") and "holds no run" in said("empty")


def test_what_is_pushed_is_a_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fix = "name what perl-rl export wrote"
    assert refused(capsys, "push nope me/m") == f"nope: there is no such folder; {fix}"
    assert refused(capsys, "push words.txt me/m") == f"words.txt: is a file, not a folder; {fix}"


@pytest.mark.slow
@pytest.mark.parametrize("command", MODELS)
def test_a_folder_that_is_no_model(
    here: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = here / "m"
    fix = (
        "name one on this machine, for nothing is downloaded (hf download OWNER/NAME --local-dir "
        "FOLDER gets a model of the Hub)"
    )
    assert refused(capsys, command) == f"model.path {model}: there is no such folder; {fix}"
    model.write_text("")
    assert refused(capsys, command) == f"model.path {model}: is a file, not a folder; {fix}"
    model.unlink()
    model.mkdir()
    assert refused(capsys, command).startswith(
        f"model.path {model}: holds no configuration (config.json); save the model and its"
    )
    shutil.rmtree(model)


def test_a_file_in_the_place_of_the_run_folder(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "m").symlink_to(START_MODEL)
    line = refused(capsys, "launch run.yaml --run-dir words.txt")
    assert "words.txt: is a file, not a folder" in line
    for command in ("check run.yaml --run-dir", "report run.yaml --run-dir"):
        line = refused(capsys, f"{command} words.txt")
        assert "words.txt: cannot write there (it is a file); choose a folder" in line


def test_status_without_options_names_the_run_folder_first(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("perl_rl.cli.status.DEFAULT_URL", "redis://127.0.0.1:1/0")
    line = refused(capsys, "status")
    assert line.startswith("status: which run? name its folder with --run-dir, or the address of")
    assert line.index("--run-dir") < line.index("redis") and "runs/ holds" not in line
    (here / "runs" / "one").mkdir(parents=True)
    (here / "runs" / "one" / "config.yaml").write_text("run: one\n")
    assert refused(capsys, "status").endswith("; runs/ holds one")
    assert "cannot reach Redis" in refused(capsys, "status --redis redis://127.0.0.1:1/0")
