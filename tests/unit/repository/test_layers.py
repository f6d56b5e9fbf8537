"""The layers hold: which part may import which, and what stays light to import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

ENGINES = {"torch", "vllm", "deepspeed", "transformers"}
NETWORK = {"redis", "httpx", "fastapi", "uvicorn", "socket", "shared.service"}
REDIS_CLIENTS = {
    f"shared.wire.{name}"
    for name in ("board", "image_store", "ledger", "queues", "registry", "runstate")
}

FORBIDDEN = {
    "shared": {*ENGINES, "services", "perl_rl"},
    "shared/grading": {*NETWORK, "shared.wire"},
    "services": {"perl_rl"},
    "services/reward": ENGINES,
    "services/rollout": {"deepspeed"},
    "services/trainer": {"vllm"},
    "services/trainer/compute": {*NETWORK, *REDIS_CLIENTS, "asyncio"},
    "services/trainer/plan": {*ENGINES, *NETWORK, *REDIS_CLIENTS, "asyncio", "os", "pathlib"},
    "perl_rl/data": {"perl_rl.demo"},
    "perl_rl/eval": {"perl_rl.demo"},
    "perl_rl/launch": {"perl_rl.demo"},
    "perl_rl/report": {"perl_rl.demo"},
    # They read the run folder, and nothing of them reaches a service.
    "perl_rl/trackers": {"perl_rl.demo", "redis", "services", "shared.service", "shared.wire"},
    "perl_rl/view": {*ENGINES, "services", "perl_rl.demo"},
}
"""Folder to the modules that no file in it may import, at its top or inside a function."""

SERVICES = ("reward", "rollout", "trainer")


def files(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found, f"no files in {folder}"
    return found


def imported(file: Path) -> Iterator[str]:
    """Full names of everything that a file imports, the names in ``from x import y`` included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(folder: str) -> list[str]:
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files(folder)]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_no_file_imports_what_its_layer_may_not(folder: str) -> None:
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files(folder)
        for name in imported(file)
        if any(name == other or name.startswith(f"{other}.") for other in FORBIDDEN[folder])
    ]
    assert wrong == []


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_imports_another(service: str) -> None:
    others = tuple(f"services.{other}" for other in SERVICES if other != service)
    wrong = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files(f"services/{service}")
        for name in imported(file)
        if name.startswith(others)
    ]
    assert wrong == []


def test_only_the_command_line_s_dispatcher_imports_the_demo() -> None:
    importers = {
        str(file.relative_to(ROOT))
        for file in files("perl_rl")
        if "demo" not in file.parts
        for name in imported(file)
        if name.startswith("perl_rl.demo")
    }
    assert importers <= {"perl_rl/cli/run_commands.py"}


def test_a_plan_opens_no_file() -> None:
    for file in files("services/trainer/plan"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Name) and node.id == "open"), file


@pytest.mark.parametrize("folder", ["shared", "services", "perl_rl"])
def test_no_file_unpickles_or_evaluates(folder: str) -> None:
    """Invariant 7: no pickle on any wire, no ``eval`` of a response."""
    wrong = []
    for file in files(folder):
        names = {name.split(".")[0] for name in imported(file)}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                names.add(node.func.id)
        used = names & {"pickle", "dill", "cloudpickle", "marshal", "eval", "exec"}
        wrong += [f"{file.relative_to(ROOT)}: {name}" for name in used]
    assert wrong == []


def loaded_by(statements: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `statements`."""
    code = f"{statements}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_the_common_library_and_the_reward_service_load_no_engine() -> None:
    names = [*modules("shared"), *modules("services/reward")]
    assert "services.reward.consumer" in names and "shared.grading.math_worker" in names
    loaded = loaded_by("\n".join(f"import {name}" for name in names))
    assert "fastapi" in loaded
    assert not loaded & {"torch", "vllm", "deepspeed", "transformers"}


@pytest.mark.slow
def test_a_reward_node_does_not_load_the_maths_library_itself() -> None:
    assert not loaded_by("import services.reward.serve") & {"math_verify", "sympy"}


def test_the_trainer_s_control_plane_loads_no_engine() -> None:
    loaded = loaded_by("import services.trainer.control.serve")
    assert "services" in loaded
    assert not loaded & {"torch", "deepspeed", "transformers"}


def test_the_view_loads_no_engine() -> None:
    loaded = loaded_by("import perl_rl.view.serve")
    assert "jinja2" in loaded
    assert not loaded & ENGINES


def test_the_command_line_starts_light() -> None:
    heavy = {"torch", "vllm", "deepspeed", "transformers", "fastapi", "redis", "sklearn"}
    assert not loaded_by("import perl_rl.cli.main, shared.config") & heavy
