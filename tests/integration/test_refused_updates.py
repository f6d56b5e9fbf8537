"""An update without a finite gradient norm changes nothing: real DeepSpeed, two ranks, all stages.

Both ranks go through every ZeRO stage and type in one pair of processes, with the real tiny model.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 400.0
RANK = """
import itertools, json, math, sys
from dataclasses import replace
from pathlib import Path
import deepspeed, numpy as np, torch
from PIL import Image
from services.trainer.compute.deepspeed_engine import full_parameters
from services.trainer.compute.policy import Policy
from services.trainer.compute.step import Stepper
from shared.config import Config
from shared.wire.messages import PolicyVersion, ScoredGroup
from tests.builders import group, reward
from tests.scripted_sampler import ScriptedSampler, demo_config

folder = Path(sys.argv[1])
deepspeed.init_distributed("gloo", verbose=False)
rank = torch.distributed.get_rank()
PICTURES = {name: Image.new("RGB", (56, 56), name) for name in ("#a01020", "#0b40c9")}


def prepared(config, policy):
    sampler, orders = ScriptedSampler(config), []
    for index, one in enumerate(group().orders):
        task = one.batch.task.model_copy(update={"images": tuple(PICTURES), "order_index": index})
        batch = sampler._answer(task, list(PICTURES.values()))
        orders.append(one.model_copy(update={"batch": batch, "rewards": (reward(), reward(0.0))}))
    scored = ScoredGroup(group_id="g-7", orders=tuple(orders))
    return policy.preparer.prepare(scored, PICTURES, PolicyVersion(incarnation=1, step=0))


def spoiled(group, value):
    first, *others = group.orders
    bad, *rest = first.responses
    order = replace(first, responses=(replace(bad, advantage=value), *rest))
    return replace(group, orders=(order, *others))


def digest(policy):
    tensors = dict(full_parameters(policy.engine, True)).values()
    return np.concatenate([tensor.double().numpy().ravel() for tensor in tensors])


def run(stage, dtype, updates):
    settings = demo_config(folder, "redis://127.0.0.1:1/0", zero_stage=stage)
    settings["model"]["dtype"] = dtype
    config = Config.model_validate(settings)
    policy = Policy(config, torch.device("cpu"))
    stepper = Stepper(policy.engine, policy.reference, config, torch.device("cpu"))
    sound = prepared(config, policy)
    seen = [digest(policy)]
    outcomes = []
    for value in updates:
        # The number is one rank's alone: the other must know of it.
        bad = value is not None and rank == 1
        outcomes.append(stepper.train([[spoiled(sound, value) if bad else sound]]))
        seen.append(digest(policy))
    return seen, outcomes


lines = []
for stage, dtype in itertools.product((0, 1, 2, 3), ("float32", "bfloat16")):
    before, (only,) = run(stage, dtype, [None])
    seen, outcomes = run(stage, dtype, [math.nan, math.inf, 3e38, None])
    line = {
        "stage": stage,
        "dtype": dtype,
        "changed": [bool((one != two).any()) for one, two in itertools.pairwise(seen)],
        "finite": all(bool(np.isfinite(one).all()) for one in seen),
        "refused": [one.refused for one in outcomes],
        "norms": [one.grad_norm for one in outcomes],
        "tokens": [one.sums.tokens for one in outcomes],
        "as without": bool((seen[-1] == before[-1]).all()),
        "norms alike": outcomes[-1].grad_norm == only.grad_norm,
    }
    lines.append(line)
(folder / f"found-{rank}.json").write_text(json.dumps(lines))
torch.distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def found(tiny_models: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What each rank says of each stage and type."""
    folder = tmp_path_factory.mktemp("refused")
    (folder / "model").symlink_to(tiny_models[0])
    (folder / "rank.py").write_text(RANK)
    launched = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
            *(str(folder / "rank.py"), str(folder)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert launched.returncode == 0, launched.stderr[-3000:]
    return [
        line
        for rank in range(2)
        for line in json.loads((folder / f"found-{rank}.json").read_text())
    ]


def test_an_update_without_a_finite_norm_changes_nothing_in_any_stage_and_type(found) -> None:
    assert len(found) == 2 * 4 * 2
    for one in found:
        assert one["changed"] == [False, False, False, True], one
        assert one["refused"] == [[0], [0], [0], []], one
        assert one["finite"], one
        *none, norm = one["norms"]
        assert none == [None] * 3 and norm > 0, one
        assert one["tokens"][:3] == [0.0] * 3 and one["tokens"][3] > 0, one


def test_a_refused_update_leaves_no_trace_in_the_next_one(found) -> None:
    for one in found:
        assert one["as without"] and one["norms alike"], one
