"""What a machine computes in and on, from the text that the kernel gives of its processor."""

import pytest

from shared.config import ModelConfig
from shared.errors import UserError
from shared.machine import (
    TorchFacts,
    bf16_instructions,
    choose_device,
    choose_dtype,
    has_nvidia_gpu,
    settled,
    why_no_cuda,
)

AVX2 = "fpu sse4_2 avx avx2 fma"
X86 = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: {}\nbugs\t\t: avx512_bf16 amx_bf16\n\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd {}\nCPU part\t: 0xd40\n\n"

GPU_BUILD = TorchFacts("2.13.0", "13.0", sees_cuda=True)
BLIND = TorchFacts("2.13.0", "13.0", sees_cuda=False)
CPU_BUILD = TorchFacts("2.13.0+cpu", None, sees_cuda=False)


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        (X86.format(AVX2), None),
        (X86.format(f"{AVX2} avx512f avx512_fp16"), None),
        (X86.format(f"{AVX2} avx512f avx512_bf16"), "avx512_bf16"),
        (X86.format(f"{AVX2} avx512_bf16 amx_tile amx_bf16"), "amx_bf16"),
        (X86.format(AVX2) * 3, None),
        (ARM.format("sve i8mm bf16"), "bf16"),
        (ARM.format("sve svebf16x"), None),
        ("", None),
    ],
)
def test_a_processor_has_the_instructions_that_its_flags_name(cpuinfo: str, found: str | None):
    assert bf16_instructions(cpuinfo) == found
    chosen, why = choose_dtype("auto", "cpu", cpuinfo)
    assert chosen == ("bfloat16" if found else "float32")
    assert (found or "no bfloat16 instructions") in why


def test_a_gpu_computes_in_bfloat16_whatever_its_processor_has():
    assert choose_dtype("auto", "cuda", X86.format(AVX2))[0] == "bfloat16"


@pytest.mark.parametrize("wanted", ["bfloat16", "float32"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_type_that_the_configuration_names_is_taken(wanted, device):
    for flags in (AVX2, f"{AVX2} avx512_bf16"):
        assert choose_dtype(wanted, device, X86.format(flags)) == (wanted, "model.dtype")


@pytest.mark.parametrize(
    ("wanted", "torch", "gpu", "device"),
    [
        ("auto", CPU_BUILD, False, "cpu"),
        ("auto", GPU_BUILD, True, "cuda"),
        ("cuda", GPU_BUILD, True, "cuda"),
        ("cpu", GPU_BUILD, True, "cpu"),
        ("cpu", BLIND, True, "cpu"),
        ("auto", BLIND, False, "cpu"),
    ],
)
def test_the_device_is_the_gpu_where_there_is_one(wanted, torch, gpu, device):
    assert choose_device(wanted, torch, gpu) == device


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_nothing_computes_on_the_cpu_because_cuda_is_missing(wanted):
    with pytest.raises(UserError, match=r"CUDA 13\.0 needs driver 580 or newer.*device: cpu"):
        choose_device(wanted, BLIND, True)
    with pytest.raises(UserError, match=r"2\.13\.0\+cpu is built for the CPU.*--profile gpu"):
        choose_device(wanted, CPU_BUILD, True)


def test_a_gpu_that_is_asked_for_has_to_be_there():
    with pytest.raises(UserError, match=r"model\.device cuda: this machine has no NVIDIA"):
        choose_device("cuda", CPU_BUILD, False)


@pytest.mark.parametrize(
    ("cuda", "needed"), [("12.8", "driver 525"), ("11.8", "driver 450"), ("14.1", "for CUDA 14.1")]
)
def test_the_driver_that_a_build_of_torch_needs_is_named(cuda: str, needed: str):
    assert needed in why_no_cuda(TorchFacts("3", cuda, sees_cuda=False))


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program in the place of the driver's, for a driver that is too old."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\ncase "$1" in\n-L) echo "GPU 0: NVIDIA H100 (UUID: GPU-1)";;\n'
        "*) echo 570.86.10;;\nesac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_driver_that_is_there_is_named_beside_the_one_that_is_needed(driver):
    assert has_nvidia_gpu()
    with pytest.raises(UserError, match=r"needs driver 580 or newer, and driver 570\.86\.10 is"):
        settled(ModelConfig(path="m"), BLIND)


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_gpus_that_were_taken_from_the_process_do_not_count(driver, monkeypatch, hidden: str):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert not has_nvidia_gpu()


def test_what_was_chosen_is_said_and_recorded(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    model, line = settled(ModelConfig(path="m", dtype="float32"), CPU_BUILD)
    assert (model.dtype, model.device) == ("float32", "cpu")
    assert line == "computing in float32 (model.dtype) on the CPU"
