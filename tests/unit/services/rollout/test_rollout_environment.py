"""vLLM's variables are set before vLLM is imported, and a variable that is set is kept."""

import os
import subprocess
import sys

import pytest

from services.rollout.engine.environment import DEFAULTS, prepare_environment
from tests.paths import ROOT


def test_the_tested_runner_and_a_sampler_that_needs_no_compiler_are_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in DEFAULTS:
        monkeypatch.delenv(name, raising=False)
    prepare_environment()
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "0"
    assert os.environ["VLLM_USE_FLASHINFER_SAMPLER"] == "0"


def test_a_variable_that_is_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_USE_V2_MODEL_RUNNER", "1")
    prepare_environment()
    assert os.environ["VLLM_USE_V2_MODEL_RUNNER"] == "1"


@pytest.mark.parametrize("module", ["services.rollout.serve", "perl_rl.eval.models"])
def test_starting_an_engine_does_not_import_vllm_before_its_variables_are_set(module: str) -> None:
    program = f"import sys, {module}; assert 'vllm' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=120)
