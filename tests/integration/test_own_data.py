"""The first hour of examples/own_data, by its own script: every step is as its README says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT, START_MODEL

pytestmark = pytest.mark.timeout(1200)


def test_the_hour_is_as_its_readme_says(tmp_path: Path) -> None:
    folder = tmp_path / "own_data"
    shutil.copytree(
        ROOT / "examples" / "own_data",
        folder,
        ignore=lambda path, names: {"data", "runs"} & set(names),
    )
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "START_MODEL": str(START_MODEL),
        "PYTHONPATH": str(ROOT),
    }
    ports = ("--set", "rollout.port=0", "reward.port=0", "trainer.port=0")
    log = tmp_path / "hour.txt"
    with log.open("w") as output:
        ended = subprocess.run(
            [folder / "hour.sh", *ports], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    said = log.read_text()
    assert ended.returncode == 0, said
    assert said.endswith("hour.sh: every step was as said\n")
    assert "Traceback" not in said
