"""Disk from the parameters, time from the steps of an earlier run in the same folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from perl_rl.launch.estimates import disk_line, seconds_per_response, time_line
from perl_rl.launch.model_size import ModelSize
from shared.config import Config, LoraConfig
from shared.errors import UserError

SIZE = ModelSize(parameters=3_000_000_000, vision=600_000_000)


def config(**trainer: Any) -> Config:
    trainer = {"steps": 500, "groups_per_step": 4, "checkpoint": {"every_steps": 100}} | trainer
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": "m", "dtype": "bfloat16"},
            "data": {"train": "t.jsonl"},
            "sampling": {"n": 3},
            "trainer": trainer,
        }
    )


def write_steps(folder: Path, *steps: tuple[int, float]) -> None:
    rows = [{"step": step, "time": time, "samples_generated": 24} for step, time in steps]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_checkpoint_holds_the_weights_and_twelve_bytes_a_trained_parameter(
    tmp_path: Path,
) -> None:
    # 2 + 12 bytes; two are kept, and the third is whole before the first goes.
    whole = disk_line(config(), SIZE, tmp_path)
    assert "at most 150.0 GB for 3 checkpoints of 42.0 GB, 3 versions of the weights" in whole
    frozen = disk_line(config(freeze_vision=True), SIZE, tmp_path)
    assert "3 checkpoints of 34.8 GB" in frozen and "(6.0 GB each)" in frozen


def test_of_a_run_with_an_adapter_only_the_adapter_is_written(tmp_path: Path) -> None:
    plain = config()
    adapted = plain.model_copy(
        update={"model": plain.model.model_copy(update={"lora": LoraConfig()})}
    )
    size = ModelSize(SIZE.parameters, SIZE.vision, adapter=60_000_000)
    line = disk_line(adapted, size, tmp_path)
    assert "at most 3.0 GB for 3 checkpoints of 0.8 GB" in line and "(0.1 GB each)" in line


def test_a_short_run_writes_fewer_checkpoints_than_it_may_keep(tmp_path: Path) -> None:
    assert "1 checkpoint of 42.0 GB" in disk_line(config(steps=50), SIZE, tmp_path)


def test_a_disk_that_is_too_small_is_a_warning(tmp_path: Path) -> None:
    huge = ModelSize(parameters=10**15, vision=0)
    assert "\nwarning: " in disk_line(config(), huge, tmp_path)
    assert "warning" not in disk_line(config(), ModelSize(1000, 0), tmp_path)


def test_without_an_earlier_run_the_time_is_not_known(tmp_path: Path) -> None:
    assert time_line(config(), tmp_path).startswith("time: not known before a first run")
    write_steps(tmp_path, (1, 10.0))
    assert time_line(config(), tmp_path).startswith("time: not known before a first run")


def test_the_time_follows_from_the_responses_a_second_of_the_earlier_run(tmp_path: Path) -> None:
    # 24 responses in 12 s; a step here has 4 groups x 2 orders x 3 responses.
    write_steps(tmp_path, (1, 10.0), (2, 22.0), (3, 34.0))
    line = time_line(config(), tmp_path)
    assert line.startswith("time: about 1.7 h for 500 steps of 12.0 s, at the rate of the run")
    assert "(3 steps, 2.0 trained responses/s)" in line
    assert " of 24.0 s, " in time_line(config(groups_per_step=8), tmp_path)


def test_an_interruption_between_two_steps_does_not_count() -> None:
    rows = [
        {"step": step, "time": time, "samples_generated": 10}
        for step, time in ((1, 0.0), (2, 5.0), (3, 10.0), (4, 4000.0), (9, 4005.0))
    ]
    assert seconds_per_response(rows) == 0.5


@pytest.mark.parametrize("text", ["[]\n", "{}\n{}\n", '{"step": 1}\n{"step": 2}\n', "x\n"])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.jsonl: is not the record of a run"):
        time_line(config(), tmp_path)
