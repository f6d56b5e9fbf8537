"""The doctor's judgements: what stops the demo, what is only worth a note, and the fix."""

from typing import Any

import pytest

from perl_rl.cli.doctor import (
    MISSING,
    NOTE,
    OK,
    ask,
    check_disk,
    check_engine,
    check_graders,
    check_memory,
    check_python,
    check_shared_memory,
)

BLIND = {"engine": "torch", "version": "2", "cuda": False, "built_for_cuda": None}
GPU = ["NVIDIA H100 80GB HBM3, 81559 MiB"]


def test_too_old_python_stops_the_demo() -> None:
    assert check_python((3, 10)).state == MISSING
    assert check_python((3, 11)).state == OK


@pytest.mark.parametrize(
    ("total", "available", "state"), [(4, 4, MISSING), (16, 2, NOTE), (16, 12, OK)]
)
def test_memory(total: float, available: float, state: str) -> None:
    assert check_memory(total, available).state == state


def test_docker_default_shared_memory_is_too_small() -> None:
    finding = check_shared_memory(64 / 1024)
    assert finding.state == MISSING
    assert "--shm-size" in finding.fix
    assert check_shared_memory(1.0).state == OK
    assert check_shared_memory(None).state == MISSING


def test_full_disk_stops_the_demo() -> None:
    assert check_disk(0.1).state == MISSING
    assert check_disk(50).state == OK


@pytest.mark.parametrize(
    ("facts", "gpus", "state", "fix"),
    [
        (BLIND, [], OK, ""),
        (BLIND, GPU, MISSING, "--profile gpu"),
        (BLIND | {"built_for_cuda": "13.0"}, GPU, MISSING, "needs driver 580 or newer"),
        (BLIND | {"built_for_cuda": "13.0", "cuda": True}, GPU, OK, ""),
        ({"engine": "vLLM", "version": "0", "plugin": True}, [], OK, ""),
        ({"engine": "vLLM", "version": "0", "plugin": False}, [], MISSING, "make setup"),
        ({"engine": "vLLM", "error": "ImportError: no"}, [], MISSING, "make setup"),
        ({"engine": "torchvision", "version": "0", "operators": False}, [], OK, ""),
        ({"engine": "DeepSpeed", "version": "0", "collectives": True}, [], OK, ""),
        ({"engine": "flash-attn", "error": "ModuleNotFoundError: no"}, [], NOTE, ""),
        ({"engine": "flash-attn", "error": "ModuleNotFoundError: no"}, GPU, NOTE, "--flash-attn"),
    ],
)
def test_engines(facts: dict[str, Any], gpus: list[str], state: str, fix: str) -> None:
    finding = check_engine(facts, gpus)
    assert finding.state == state
    assert fix in finding.fix and bool(fix) == bool(finding.fix)


def test_deepspeed_without_collectives_needs_a_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    facts = {"engine": "DeepSpeed", "version": "0", "collectives": False}
    assert check_engine(facts, []).state == MISSING
    assert check_engine(facts, GPU).state == OK


@pytest.mark.slow
def test_an_engine_that_cannot_be_asked_is_an_error_not_a_crash() -> None:
    answers = ask(["torch", "no-such-engine"])
    by_name = {answer["engine"]: answer for answer in answers}
    assert by_name["torch"]["version"].startswith("2.")
    assert "KeyError" in by_name["no-such-engine"]["error"]


def test_graders_that_keep_the_network_are_told_of() -> None:
    finding = check_graders(False)
    assert finding.state == NOTE
    assert "keep the network" in finding.text
    assert "where it reaches Redis only" in finding.fix
    assert check_graders(None).state == NOTE
    assert (check_graders(True).state, check_graders(True).fix) == (OK, "")
