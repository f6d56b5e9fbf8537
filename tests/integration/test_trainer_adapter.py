"""A run that trains an adapter: killed and resumed, published, saved and exported."""

import asyncio
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

from perl_rl.cli.main import main
from shared.service.connection import connect
from shared.weights.manifest import ADAPTER_FILE, Manifest
from tests.integration.trainer_run import (
    RUN_TIMEOUT_S,
    Run,
    check_export,
    kill_ranks,
    write_files,
)

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("trainer"))


async def test_a_run_with_an_adapter_goes_on_with_the_same_losses_and_leaves_it(
    files, tmp_path, redis_url, capsys
):
    lora = {"rank": 4, "targets": ["*_proj", "qkv"], "vision": True, "dropout": 0.1}
    settings = {"zero_stage": 2, "steps": 3, "checkpoint": {"every_steps": 1}}
    losses = []
    for name in ("undisturbed", "killed"):
        await (await connect(redis_url, 10.0)).flushall()
        run = Run(tmp_path / name, redis_url, files, lora=lora, **settings)
        async with run.started() as process:
            if name == "killed":
                await run.until((run.folder / "run/checkpoints/step-000001").exists)
                kill_ranks(process.pid)
            assert await asyncio.wait_for(process.wait(), RUN_TIMEOUT_S) == 0
        losses.append([(row["loss"], row["kl"], row["grad_norm"]) for row in run.metrics()])
    assert losses[0] == losses[1]
    assert losses[0][-1][1] > 0, "away from the start model"

    folder = run.folder / "run"
    newest = max((folder / "weights").iterdir(), key=lambda path: int(path.name.split(".")[1]))
    manifest = Manifest.model_validate_json((newest / "manifest.json").read_text())
    assert manifest.adapter is not None
    published, saved = (
        load_file(file)
        for file in (newest / "weights.safetensors", folder / "policy" / ADAPTER_FILE)
    )
    assert published.keys() == saved.keys()
    assert all(torch.equal(published[name], one) for name, one in saved.items())
    check_export(run, 3, capsys)
    merged = run.folder / "merged"
    assert main(["export", str(folder), "--merged", "--out", str(merged)]) == 0
    _logits_agree(folder / "policy", merged, 1e-4)
    assert not (merged / ADAPTER_FILE).exists()


def _logits_agree(one: Path, other: Path, bound: float) -> None:
    ids = torch.arange(30)[None]
    with torch.no_grad():
        logits = [
            AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)(
                input_ids=ids
            ).logits
            for folder in (one, other)
        ]
    torch.testing.assert_close(*logits, atol=bound, rtol=0)
