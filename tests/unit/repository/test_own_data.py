"""examples/own_data: what a person types after the README is what its script does."""

import re

from shared.config import load_config
from tests.paths import ROOT

FOLDER = ROOT / "examples" / "own_data"
# Written otherwise in the script: in the background, and with what it has read from a status.
BY_HAND = {". ../../.venv/bin/activate"}


def words(text: str) -> str:
    """Without line breaks, and without what the script adds to a command."""
    text = text.replace("\\\n", " ").replace(' "$@"', "")
    return " ".join(text.split())


def test_the_script_runs_every_command_of_the_readme() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    script = words((FOLDER / "hour.sh").read_text(encoding="utf-8"))
    script = script.replace('"$NODE/v1"', "http://127.0.0.1:8100/v1")
    script = script.replace("heldout-0-{0,1}.png", "heldout-0-0.png data/pictures/heldout-0-1.png")
    typed = [words(line) for line in re.findall(r"^\$ (.*)$", readme, re.MULTILINE)]
    assert len(typed) >= 9
    for command in typed:
        assert command in script or command in BY_HAND, command


def test_its_configuration_has_the_ports_that_the_readme_names() -> None:
    config = load_config(FOLDER / "run.yaml")
    assert config.rollout.port == 8100
    assert config.run == "own_data"
