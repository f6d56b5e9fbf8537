"""`perl-rl plan`: what it counts, what it refuses, and when `launch` warns."""

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from perl_rl.cli.main import main as perl_rl
from perl_rl.launch.division import Division, divide_cores, divide_gpus
from perl_rl.launch.model_size import model_size
from perl_rl.plan import shared_memory, warning
from perl_rl.plan.main import GB, make_plan, shares_gpus
from perl_rl.plan.sampler import cache_bytes, engine_need
from perl_rl.plan.shape import ModelShape, read_shape
from perl_rl.plan.trainer import largest_chunk, rank_need
from services.rollout.weights import local_copy
from shared.config import Config
from tests.paths import START_MODEL

pytestmark = pytest.mark.slow  # it imports DeepSpeed

SEVEN = ModelShape(
    parameters=8_292_166_656,
    vision_parameters=676_550_144,
    largest_layer=233_057_792,
    tensors=(544_997_376, 3584),
    layers=28,
    hidden=3584,
    intermediate=18_944,
    heads=28,
    kv_heads=4,
    head_dim=128,
    vocabulary=152_064,
    vision_layers=32,
    vision_hidden=1280,
    vision_intermediate=3420,
    patch_values=1176,
    patch_pixels=196,
    merge=4,
)
"""Qwen2.5-VL-7B."""
SMALL_BUCKETS = {"reduce_bucket_size": 1000, "max_live_parameters": 1000}


def config(trainer: dict[str, object] | None = None, **sections: object) -> Config:
    defaults = {"gradient_checkpointing": True, "attention": "sdpa"}
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": str(START_MODEL), "max_pixels": 262_144},
            "data": {"train": "t"},
            "trainer": defaults | (trainer or {}),
            **sections,
        }
    )


def deepspeed(stage: int, **more: object) -> dict[str, object]:
    return {"zero_optimization": {"stage": stage, **SMALL_BUCKETS}, **more}


def test_with_an_adapter_only_it_has_gradients_and_there_is_no_second_model() -> None:
    settings = config({"zero_stage": 0}, model={"path": str(START_MODEL), "lora": {}})
    adapter = 80_000_000
    shape = replace(SEVEN, adapter_parameters=adapter)
    need = rank_need(settings, shape, deepspeed(0))
    assert need.held == {
        "weights": 2 * SEVEN.parameters,
        "adapter": 2 * adapter,
        "gradients": 2 * adapter,
        "AdamW: fp32 weights": 4 * adapter,
        "AdamW: mean and variance": 8 * adapter,
    }
    assert "vision tower" not in need.kept
    sharded = config({"zero_stage": 3, "ranks": 4}, model=settings.model.model_dump())
    assert rank_need(sharded, shape, deepspeed(3)).held["weights"] == SEVEN.parameters / 2


def test_the_adapter_of_a_model_is_counted_from_its_configuration() -> None:
    for lora, layers in (({}, 7), ({"targets": ["q_proj"], "rank": 4}, 1)):
        settings = config(model={"path": str(START_MODEL), "lora": lora})
        shape, plain = read_shape(settings.model), read_shape(config().model)
        counted = model_size(START_MODEL, settings.model.lora).adapter
        assert shape.adapter_parameters == counted
        assert len(shape.tensors) == len(plain.tensors) + 2 * layers * shape.layers


def test_zero_shards_what_it_says() -> None:
    held = {}
    for stage in (0, 1, 2, 3):
        wanted = config({"zero_stage": stage, "ranks": 4})
        held[stage] = rank_need(wanted, SEVEN, deepspeed(stage)).held
    size = SEVEN.parameters
    assert [held[stage]["weights"] for stage in held] == [2 * size] * 3 + [size / 2]
    assert [held[stage]["AdamW: mean and variance"] for stage in held] == [8 * size] + [
        2 * size
    ] * 3
    assert [held[stage]["gradients"] for stage in held] == [2 * size] + [size / 2] * 3


def test_gradients_in_fp32_take_twice_as_much() -> None:
    wanted = config({"zero_stage": 3, "ranks": 4})
    fp32 = rank_need(wanted, SEVEN, deepspeed(3, data_types={"grad_accum_dtype": "fp32"})).held
    assert fp32["gradients"] == 2 * rank_need(wanted, SEVEN, deepspeed(3)).held["gradients"]


def test_offload_moves_the_optimizer_to_the_host() -> None:
    need = rank_need(config({"optimizer": {"offload": True}}), SEVEN, deepspeed(1))
    assert not any(part.startswith(("AdamW", "gradients")) for part in need.held)
    assert sum(need.host.values()) == 14 * SEVEN.parameters


def test_what_is_frozen_or_left_out_takes_nothing() -> None:
    less = config({"freeze_vision": True, "objective": {"kl_coef": 0.0}})
    need, whole = (rank_need(one, SEVEN, deepspeed(1)) for one in (less, config()))
    assert "reference" in whole.held and "reference" not in need.held
    assert "vision tower" in whole.kept and "vision tower" not in need.kept
    trained = SEVEN.parameters - SEVEN.vision_parameters
    assert need.held["AdamW: fp32 weights"] == 4 * trained


def test_without_checkpointing_7b_keeps_about_7_mb_a_token() -> None:
    without = config({"gradient_checkpointing": False, "freeze_vision": True})
    kept = rank_need(without, SEVEN, deepspeed(1), dense_mask=False).kept["language model"]
    assert 6e6 < kept / largest_chunk(without, SEVEN).tokens < 8e6


def test_a_block_mask_takes_no_matrix() -> None:
    dense, block = (
        sum(rank_need(config(), SEVEN, deepspeed(1), dense_mask=mask).computing.values())
        for mask in (True, False)
    )
    chunk = largest_chunk(config(), SEVEN)
    assert dense - block == 3 * chunk.tokens * chunk.row


def test_the_cache_takes_what_the_settings_leave() -> None:
    need = engine_need(config(), SEVEN, 80 * GB, 1.5 * GB)
    assert need.peak + 1.5 * GB == pytest.approx(0.9 * 80 * GB)
    assert cache_bytes(config(), SEVEN) == 57_344
    fixed = config(rollout={"engine": {"kv_cache_gib": 2.0}})
    assert engine_need(fixed, SEVEN, 80 * GB, 1.5 * GB).held["KV cache"] == 2 * 2**30
    split = config(rollout={"engine": {"tensor_parallel_size": 8}})
    assert cache_bytes(split, SEVEN) == 57_344 / 4, "a KV head is never split"


@pytest.mark.parametrize(
    ("launcher", "trainer", "gpus", "shared"),
    [
        ({"share_gpus": True}, {}, None, True),
        ({"share_gpus": True}, {}, 2, False),
        ({}, {}, None, False),
        ({"share_gpus": True}, {"hosts": 2, "groups_per_step": 2}, None, False),
    ],
)
def test_who_shares_a_gpu(
    launcher: dict[str, object], trainer: dict[str, object], gpus: int | None, shared: bool
) -> None:
    assert shares_gpus(config(trainer, launcher=launcher), gpus) == shared


def test_what_does_not_fit_is_named_with_what_to_change() -> None:
    alone = make_plan(config(), SEVEN, deepspeed(1), 80 * GB, shared=False)
    [line] = alone.problems()
    assert (
        line.startswith("a rank needs 210.5 of 80 GB: lower trainer.micro_batch")
        and "set trainer.optimizer.offload" in line
    )
    shared = make_plan(config(), SEVEN, deepspeed(1), 300 * GB, shared=True)
    assert "a trainer rank and a rollout node need" in shared.problems()[0]
    assert "rollout.engine.gpu_memory_utilization or" in shared.problems()[0]
    small = make_plan(config(), SEVEN, deepspeed(1), 16 * GB, shared=False).problems()
    assert any("no room for one answer" in line for line in small)


def test_the_command_needs_no_weights_and_says_whether_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_bytes((START_MODEL / "config.json").read_bytes())
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: .}\ndata: {train: t}\ntrainer: {}\n")
    assert perl_rl(["plan", str(file)]) == 0
    shown = capsys.readouterr().out
    for part in ("weights", "reference", "gradients", "AdamW", "KV cache", "vision tower"):
        assert part in shown
    assert shown.rstrip().endswith("fits")
    assert perl_rl(["plan", str(file), "--gpu-gb", "1"]) == 1
    assert "does not fit: a rank needs" in capsys.readouterr().out


def test_a_small_model_is_shown_in_figures_that_say_something(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"run: r\nmodel: {{path: {START_MODEL}}}\ndata: {{train: t}}\ntrainer: {{}}\n"
        "rollout: {engine: {kv_cache_gib: 0.01}}\n"
    )
    perl_rl(["plan", str(file)])
    shown = capfd.readouterr()
    assert "r: 2.49 million parameters" in shown.out and "0.00 billion" not in shown.out
    assert "  weights                                         0.0050" in shown.out
    assert "room for 1 answer of 10240 tokens" in shown.out


def test_deepspeed_looks_for_no_gpu_and_no_one_else_is_told_so(tmp_path: Path) -> None:
    """In a process of its own: DeepSpeed says so once, when it is imported."""
    file = tmp_path / "run.yaml"
    file.write_text(f"run: r\nmodel: {{path: {START_MODEL}}}\ndata: {{train: t}}\ntrainer: {{}}\n")
    script = (
        "import os, sys; from perl_rl.cli.main import main; main(sys.argv[1:]); "
        "assert 'DS_ACCELERATOR' not in os.environ"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "plan", str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "[WARNING]" not in done.stdout + done.stderr and "fits" in done.stdout


@pytest.mark.parametrize(
    ("weights", "kept"),
    [
        ({}, {"a version in /dev/shm": 2 * SEVEN.parameters}),
        ({"delta_chain": 0}, {"a version in /dev/shm, while it loads": 2 * SEVEN.parameters}),
        ({"backend": "filesystem"}, {}),
    ],
)
def test_a_node_keeps_a_version_in_host_memory(
    weights: dict[str, object], kept: dict[str, float]
) -> None:
    split = {"engine": {"tensor_parallel_size": 4}}
    assert engine_need(config(weights=weights, rollout=split), SEVEN, 80 * GB, GB).host == kept


def test_shared_memory_that_is_too_small_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = config(rollout={"nodes": 2})
    need = engine_need(two, SEVEN, 80 * GB, GB)
    for there, said in ((49 * GB, True), (50 * GB, False)):
        usage = shutil._ntuple_diskusage(int(there), 0, int(there))
        monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _, usage=usage: usage)
        notes = shared_memory.shared_memory_notes(two, need, tmp_path)
        assert bool(notes) == said
    assert shared_memory.needed(sum(need.host.values()), 2) == 6 * SEVEN.parameters
    [line] = shared_memory.shared_memory_notes(two, need, tmp_path / "gone")
    assert "has 0 MB, and 2 rollout nodes on it would need 49.8 GB" in line
    assert "(16.6 GB each, and one more free)" in line


def test_the_plan_asks_for_the_room_that_a_node_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for more, chosen in ((1, tmp_path), (0, Path(tempfile.gettempdir()))):
        free = int(shared_memory.needed(1000)) + more
        usage = shutil._ntuple_diskusage(free, 0, free)
        monkeypatch.setattr(local_copy.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert local_copy.roomy(1000, tmp_path) == chosen


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--gpus -3", "argument --gpus: must be at least 1, not -3"),
        ("--gpus 1.5", "argument --gpus: must be a whole number, not '1.5'"),
        ("--gpu-gb 0", "argument --gpu-gb: must be more than 0, not 0"),
        ("--gpu-gb nan", "argument --gpu-gb: must be a finite number, not nan"),
        ("--gpu-gb eighty", "argument --gpu-gb: must be a number, not 'eighty'"),
    ],
)
def test_an_impossible_number_is_one_line(
    options: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        perl_rl(["plan", "run.yaml", *options.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err == f"perl-rl: error: {words}; see perl-rl plan --help\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "holds no configuration (config.json)"),
        ("{}", "config.json has no model_type"),
        ("[", "config.json: is not a model's configuration"),
        (json.dumps({"model_type": "qwen2"}), "the model family 'qwen2' (no class) is not supp"),
        (
            json.dumps({"model_type": "qwen2_5_vl", "vision_config": 1}),
            "config.json: is not a Qwen2.5-VL model's (",
        ),
    ],
)
def test_a_folder_without_such_a_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    file = tmp_path / "run.yaml"
    file.write_text("run: r\nmodel: {path: .}\ndata: {train: t}\ntrainer: {}\n")
    assert perl_rl(["plan", str(file)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert message in line and line.startswith("perl-rl: error: ")


@pytest.fixture
def on_gpus() -> Division:
    return divide_gpus(["0", "1"], 8, 1, 1, 1, share=False)


def test_a_launch_on_gpus_warns_of_what_does_not_fit(
    on_gpus: Division, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes: list[str] = []
    monkeypatch.setattr(warning, "smallest_gpu", lambda: 1e9)
    warning.warn_unless_it_fits(config(), on_gpus, notes.append)
    assert any("may run out of GPU memory: a rank needs" in note for note in notes)
    notes.clear()
    monkeypatch.setattr(warning, "smallest_gpu", lambda: 80e9)
    warning.warn_unless_it_fits(config(), on_gpus, notes.append)
    warning.warn_unless_it_fits(config(), divide_cores([0, 1], 1, 1), notes.append)
    assert notes == []
