"""The stages: each measures one thing, checks it, and returns its figures."""

import importlib.util
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import torch

from bench.gpu.groups import GroupSize, made_up_group
from bench.gpu.rank import (
    Rank,
    clock,
    join,
    layer_calls,
    make_rank,
    model_sizes,
    random_model,
    settings,
)
from bench.gpu.setting import Setting
from perl_rl.plan.trainer import Chunk, rank_need
from services.trainer.compute.deepspeed_engine import deepspeed_config, full_parameters
from services.trainer.compute.families import family_of
from services.trainer.rank.publishers.spool import WeightSpool
from shared.config.trainer import TrainerConfig
from shared.weights.manifest import DATA_FILE, digest
from shared.wire.messages import PolicyVersion

Figures = dict[str, Any]
PLAN_BOUND = 0.15
"""How far the measured peak may be from the plan's."""


def facts(setting: Setting) -> Figures:
    """Versions, and how fast memory is copied to and from the device, in GB/s."""
    found: Figures = {
        "python": platform.python_version(),
        "transformers": version("transformers"),
        "deepspeed": version("deepspeed"),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
    size = 1 << (30 if setting.device == "cuda" else 20)
    if setting.device == "cuda":
        found["card"] = torch.cuda.get_device_name()
        found["memory_gb"] = torch.cuda.get_device_properties(0).total_memory / 1e9
        found["capability"] = torch.cuda.get_device_capability()
        found["nccl"] = torch.cuda.nccl.version()
    there = torch.empty(size, dtype=torch.uint8, device=setting.torch_device)
    for kind in ("pageable", *(["pinned"] if setting.device == "cuda" else [])):
        here = torch.empty(size, dtype=torch.uint8, pin_memory=kind == "pinned")
        for way, (to, source) in {"to": (there, here), "from": (here, there)}.items():
            began = clock(setting.torch_device)
            to.copy_(source)
            seconds = clock(setting.torch_device) - began
            found[f"{kind}_{way}_device_gb_s"] = size / 1e9 / seconds
    return found


def steps(setting: Setting) -> Figures:
    """ZeRO 3 steps, short and long rows: seconds, peak against the plan, checkpointed layers."""
    join()
    found: Figures = {}
    for layers in setting.layers:
        rank = make_rank(setting, layers, settings(setting))
        calls = layer_calls(rank.engine.module)
        for size in setting.rows[:2]:
            group = made_up_group(rank.model, size)
            rank.step(group)
            before = dict(calls)
            _reset_peak(setting)
            figures = rank.step(group)
            again = sum(calls[one] - before[one] >= 2 for one in calls)
            assert again == len(calls), f"{again} of {len(calls)} layers are checkpointed"
            figures |= {"checkpointed_layers": again, **_peak(setting, rank, size)}
            found[f"{layers}_layers_{size.row_tokens(2)}_tokens"] = figures
        del rank
    first, second = setting.layers
    for size in setting.rows[:2]:
        times = [
            found[f"{n}_layers_{size.row_tokens(2)}_tokens"]["seconds"] for n in (first, second)
        ]
        slope = (times[1] - times[0]) / (second - first)
        whole = times[1] + slope * (setting.all_layers - second)
        found[f"{setting.all_layers}_layers_{size.row_tokens(2)}_tokens_s"] = whole
    return found


def packed(setting: Setting) -> Figures:
    """Loss and gradient norm of packed rows against one response a row, in fp32 and bf16."""
    join()
    found: Figures = {}
    size = setting.rows[0]
    longest = size.row_tokens(2) - sum(size.responses) + max(size.responses)
    kinds = ("float32", "bfloat16") if setting.device == "cuda" else ("float32",)
    for dtype in kinds:  # the second budget holds one response a row
        base = settings(setting, zero_stage=1)
        model = base.model.model_copy(update={"dtype": dtype})
        results = []
        for budget in (32_768, longest):
            trainer = base.trainer.model_copy(update={"micro_batch_tokens": budget})
            config = base.model_copy(update={"trainer": trainer, "model": model})
            rank = make_rank(setting, setting.layers[0], config)
            results.append(rank.step(made_up_group(rank.model, size)))
            del rank
        norms = [one["grad_norm"] for one in results]
        error = abs(norms[0] - norms[1]) / max(norms)
        assert error < (1e-3 if dtype == "float32" else 0.05), f"{dtype}: gradients differ: {norms}"
        found[dtype] = {
            "grad_norm_error": error,
            "losses": [one["loss"] for one in results],
            "grad_norm": norms[0],
        }
    return found


def attention(setting: Setting) -> Figures:
    """Seconds of a step for each kind of attention that the trainer has, by the row's length."""
    join()
    kinds = [one for one in _choices("attention") if one not in ("auto", "eager")]
    if setting.device == "cpu":  # FlexAttention has no backward pass there
        kinds = [one for one in kinds if one != "flex"]
    found: Figures = {}
    for kind in kinds:
        config = settings(setting, zero_stage=1, attention=kind)
        rank = make_rank(setting, setting.layers[0], config)
        for size in setting.rows:
            group = made_up_group(rank.model, size)
            rank.step(group)
            found[f"{kind}_{size.row_tokens(2)}_tokens"] = rank.step(group)["seconds"]
        del rank
    return found


def vision(setting: Setting) -> Figures:
    """Seconds to encode pictures and go back through the tower, for each of its attentions."""
    kinds = [one for one in _choices("vision_attention") if one != "auto"]
    if setting.device == "cpu" or not importlib.util.find_spec("flash_attn"):
        kinds.remove("flash")
    found: Figures = {}
    for kind in kinds:
        config = settings(setting, vision_attention=kind)
        model = random_model(setting, model_sizes(setting, 1)[0], config)
        for size in setting.pictures:
            found[f"{kind}_{size.images}_pictures_s"] = _encode(setting, model, size)
    return found


def _encode(setting: Setting, model: Any, size: GroupSize) -> float:
    group = made_up_group(model, size)
    pixels = group.pixel_values.to(setting.torch_device, getattr(torch, setting.dtype))
    grid = group.grid.to(setting.torch_device)
    for _ in range(2):  # the first time warms up
        began = clock(setting.torch_device)
        torch.cat(family_of(model).encode(pixels, grid)).float().sum().backward()
        seconds = clock(setting.torch_device) - began
    return seconds


def head(setting: Setting) -> Figures:
    """Seconds for log-probabilities of responses: in chunks, and fused where Liger is installed."""
    hidden, vocabulary = setting.text["hidden_size"], setting.text["vocab_size"]
    device, dtype = setting.torch_device, getattr(torch, setting.dtype)
    states = torch.randn(setting.head_tokens, hidden, device=device, dtype=dtype) / hidden**0.5
    weight = torch.randn(vocabulary, hidden, device=device, dtype=dtype, requires_grad=True)
    targets = torch.arange(setting.head_tokens, device=device) % vocabulary
    states.requires_grad_()

    def chunk(part: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        logits = torch.log_softmax((part @ weight.T).float(), -1)
        return logits.gather(-1, wanted[:, None]).sum()

    found: Figures = {}
    for size in (setting.head_tokens // 8, setting.head_tokens // 4, setting.head_tokens):
        for _ in range(2):
            began = clock(device)
            for part, wanted in zip(states.split(size), targets.split(size), strict=True):
                torch.utils.checkpoint.checkpoint(
                    chunk, part, wanted, use_reentrant=False
                ).backward()
            found[f"chunks_of_{size}_s"] = clock(device) - began
    if setting.device == "cuda" and importlib.util.find_spec("liger_kernel"):
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        for _ in range(2):
            began = clock(device)
            liger_fused_linear_cross_entropy(states, weight, targets, reduction="sum").backward()
            found["liger_s"] = clock(device) - began
    return found


def publish(setting: Setting) -> Figures:
    """Gather a version, write it, hash it: GB/s of each."""
    join()
    rank = make_rank(setting, setting.layers[0], settings(setting))
    began = clock(rank.device)
    tensors = list(full_parameters(rank.engine, keep=True))
    gathered = clock(rank.device) - began
    nbytes = sum(one.nbytes for _, one in tensors)
    with tempfile.TemporaryDirectory() as folder:
        began = clock(rank.device)
        spool = WeightSpool(Path(folder), 64 << 20, keep=1)
        published = PolicyVersion(incarnation=1, step=0)
        manifest = spool.write(published, tensors)
        written = clock(rank.device) - began
        began = clock(rank.device)
        with Path(folder, str(published), DATA_FILE).open("rb") as stream:
            while data := stream.read(64 << 20):
                digest(data)
        hashed = clock(rank.device) - began
    assert sum(one.nbytes for one in manifest.tensors) == nbytes
    seconds = {"gather": gathered, "write_and_hash": written, "hash": hashed}
    return {"gb": nbytes / 1e9} | {f"{k}_gb_s": nbytes / 1e9 / v for k, v in seconds.items()}


def resume(setting: Setting) -> Figures:
    """A step after a checkpoint gives the loss that it gives after the checkpoint is loaded."""
    join()
    rank = make_rank(setting, setting.layers[0], settings(setting))
    group = made_up_group(rank.model, setting.rows[0])
    rank.step(group)
    with tempfile.TemporaryDirectory() as folder:
        rank.engine.save_checkpoint(folder, tag="bench")
        straight = [rank.step(group)["loss"] for _ in range(2)]
        loaded, _ = rank.engine.load_checkpoint(folder, tag="bench")
        assert loaded is not None, "the checkpoint was not loaded"
        again = [rank.step(group)["loss"] for _ in range(2)]
    largest = max(abs(a - b) for a, b in zip(straight, again, strict=True))
    assert largest <= 1e-3 * max(map(abs, straight)) + 1e-6, f"{straight} became {again}"
    return {"losses": straight, "largest_difference": largest}


def growth(setting: Setting) -> Figures:
    """Steps of mixed lengths: what is allocated after each does not grow."""
    join()
    rank = make_rank(setting, setting.layers[0], settings(setting))
    sizes = [setting.rows[0], setting.pictures[0], setting.rows[1], setting.pictures[1]]
    held = []
    for number in range(setting.steps):
        rank.step(made_up_group(rank.model, sizes[number % 4], seed=number))
        held.append(_allocated(setting))
    # The first four have every length once.
    assert held[-1] <= 1.01 * held[3], f"allocated GB after each step: {held}"
    return {"steps": setting.steps, "allocated_gb": held}


STAGES: dict[str, Callable[[Setting], Figures]] = {
    "facts": facts,
    "steps": steps,
    "packed": packed,
    "attention": attention,
    "vision": vision,
    "head": head,
    "publish": publish,
    "resume": resume,
    "growth": growth,
}


def _choices(key: str) -> tuple[str, ...]:
    """The values that a key of the trainer's configuration takes."""
    return get_args(TrainerConfig.model_fields[key].annotation)


def _allocated(setting: Setting) -> float:
    return torch.cuda.memory_allocated() / 1e9 if setting.device == "cuda" else 0.0


def _reset_peak(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()


def _peak(setting: Setting, rank: Rank, size: GroupSize) -> Figures:
    """The measured peak and the plan's, on a GPU."""
    if setting.device == "cpu":
        return {}
    row = size.row_tokens(2)
    budget = rank.config.trainer.micro_batch_tokens
    rows = max(1, min(size.orders, budget // row))
    chunk = Chunk(rows * row, row, rows * sum(size.responses), size.images * size.patches**2)
    dense = rank.config.trainer.attention in ("sdpa", "eager")
    need = rank_need(rank.config, rank.shape, deepspeed_config(rank.config), chunk, dense)
    measured = torch.cuda.max_memory_allocated() / 1e9
    figures = {"peak_gb": measured, "plan_gb": need.peak / 1e9}
    assert abs(measured * 1e9 / need.peak - 1) < PLAN_BOUND, f"the plan is off: {figures}"
    return figures
