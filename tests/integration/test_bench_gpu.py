"""The stages for a first GPU run here at tiny shapes, and report what goes wrong."""

import json
import subprocess
import sys
import time

import pytest

from bench.gpu import __main__ as bench
from bench.gpu.setting import Setting
from bench.gpu.stages import STAGES
from tests.paths import ROOT


def test_all_stages_pass_at_tiny_shapes() -> None:
    command = [sys.executable, "-m", "bench.gpu", "--cpu", "--limit", "120"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=290)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"stage"')]
    assert [line["stage"] for line in lines if line["ok"]] == list(STAGES), done.stderr[-3000:]
    assert done.returncode == 0
    steps = next(line for line in lines if line["stage"] == "steps")
    assert all(one["checkpointed_layers"] > 0 for one in steps.values() if isinstance(one, dict))


def test_a_stage_that_fails_or_hangs_is_a_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(setting: Setting) -> dict[str, object]:
        raise AssertionError("peak 90 GB, planned 40 GB")

    def hangs(setting: Setting) -> dict[str, object]:
        time.sleep(600)
        return {}

    monkeypatch.setitem(STAGES, "fails", fails)
    monkeypatch.setitem(STAGES, "hangs", hangs)
    failed = bench.run("fails", cpu=True, limit_s=60.0)
    assert not failed["ok"] and failed["error"] == "AssertionError: peak 90 GB, planned 40 GB"
    assert bench.run("hangs", cpu=True, limit_s=0.5)["error"] == "not done in 0 s"


def test_it_needs_no_engine_and_no_service() -> None:
    absent = "vllm redis fastapi uvicorn httpx datasets sklearn openai torchvision rich"
    program = (
        "import sys\n"
        f"for name in '{absent}'.split(): sys.modules[name] = None\n"
        "import bench.gpu.__main__"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
