"""`perl-rl doctor` on the machine that runs the tests: it can run the demo."""

import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 120.0


def test_this_machine_can_run_the_demo() -> None:
    command = [Path(sys.executable).with_name("perl-rl"), "doctor"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    states = {
        line.split()[0]: line.split()[1] for line in answer.stdout.splitlines() if "  " in line
    }
    for engine in ("torch", "torchvision", "transformers", "vLLM", "DeepSpeed", "Redis"):
        assert states[engine] == "ok", answer.stdout
    grader = next(line for line in answer.stdout.splitlines() if line.startswith("graders"))
    cut_off = subprocess.run([sys.executable, "-m", "shared.grading.isolation"]).returncode == 0
    assert ("cut off from the network (" if cut_off else "keep the network") in grader
