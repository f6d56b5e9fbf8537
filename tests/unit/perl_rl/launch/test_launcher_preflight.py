"""Bad input is refused before anything starts, in one line that names the place and the fix."""

import fcntl
import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import redis
from PIL import Image
from transformers import AutoModelForImageTextToText

from perl_rl.counting import counting
from perl_rl.launch.data_check import compare_golds, picture_sizes, read_rows
from perl_rl.launch.device import settled_model
from perl_rl.launch.main import launch
from perl_rl.launch.model_size import model_size
from perl_rl.launch.preflight import check_model, check_ports, check_run_dir
from services.trainer.compute.lora import add_adapter
from shared.config import Config, ModelConfig
from shared.errors import UserError
from shared.service.ports import free_port
from shared.wire.keys import Keys
from shared.wire.registry import NodeInfo
from tests.format_files import IMAGES, digit, write_features, write_json
from tests.paths import START_MODEL

ROW: dict[str, Any] = {
    "id": "one",
    "question": "<image><image> Which is larger?",
    "images": ["a.png", "b.png"],
    "answer": "first",
    "kind": "position",
    "order": "position",
}

NO_TENSORS = (2).to_bytes(8, "little") + b"{}"
"""A safetensors file without any tensor."""

REAL = {
    "model": {"path": START_MODEL},
    "sampling": {"max_tokens": 24},
    "rollout": {"port": 0, "engine": {"max_model_len": 512}},
}


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that lists a GPU, which the CPU build of torch here cannot use."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "GPU 0: NVIDIA H100 (UUID: GPU-1)"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model's files, two pictures and a data file, all in order."""
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        (model / name).write_text('{"model_type": "qwen2_5_vl"}')
    (model / "model.safetensors").write_bytes(NO_TENSORS)
    for name in ROW["images"]:
        Image.new("RGB", (28, 28)).save(tmp_path / name)
    write_rows(tmp_path, ROW)
    return tmp_path


def write_rows(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / "train.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def make_config(folder: Path, **sections: Any) -> Config:
    return Config.model_validate(
        {
            "run": "r",
            "model": {"path": folder / "model"},
            "data": {"train": folder / "train.jsonl"},
            "trainer": {"port": 0},
            "reward": {"port": 0},
            "rollout": {"port": 0},
        }
        | sections
    )


def check_data(config: Config, folder: Path, notes: list[str] | None = None) -> tuple[int, int]:
    """Samples and pictures; all that is checked of the data before the prompts."""
    note = (notes if notes is not None else []).append
    located = read_rows(config, folder, counting, note).all
    compare_golds(config, located, counting, note)
    sizes = picture_sizes(located, config.data.max_image_pixels, counting)
    return len(located), len(sizes)


def refusal(check: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        check(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_good_input_passes(folder: Path) -> None:
    config = make_config(folder)
    check_model(config.model)
    check_ports(config)
    check_run_dir(folder / "run", resume=False)
    assert check_data(config, folder) == (1, 2)


def test_a_missing_model_folder(folder: Path) -> None:
    config = make_config(folder, model={"path": folder / "gone"})
    assert re.search(
        r"model\.path .*gone: there is no such folder", refusal(check_model, config.model)
    )


@pytest.mark.parametrize(
    ("file", "what"),
    [
        ("config.json", "no configuration"),
        ("tokenizer.json", "no tokenizer"),
        ("preprocessor_config.json", "no image processor"),
        ("model.safetensors", "no weights"),
    ],
)
def test_a_model_folder_without_one_of_its_files(folder: Path, file: str, what: str) -> None:
    (folder / "model" / file).unlink()
    assert what in refusal(check_model, make_config(folder).model)


def test_a_model_folder_without_one_of_its_shards(folder: Path) -> None:
    index = folder / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "model-00002-of-00002.safetensors"}}))
    text = refusal(check_model, make_config(folder).model)
    assert "model-00002-of-00002.safetensors, which is not there" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model_type": "internvl"}, "the model family 'internvl' (no class) is not supported"),
        (
            {"model_type": "llava", "architectures": ["LlavaForConditionalGeneration"]},
            "'llava' (LlavaForConditionalGeneration) is not supported; supported are: "
            "Qwen2-VL (qwen2_vl), Qwen2.5-VL (qwen2_5_vl), Qwen3-VL (qwen3_vl)",
        ),
        ({}, "none (config.json has no model_type) is not supported"),
        ([], "config.json: is not a model's configuration; copy the model again"),
        ({"model_type": ["qwen2_vl"]}, "the model family '['qwen2_vl']' (no class) is not suppor"),
        ({"model_type": "x", "architectures": 3}, "the model family 'x' (no class) is not support"),
        (
            {"model_type": "qwen2_5_vl", "quantization_config": {"quant_method": "awq"}},
            "the model is quantized (quantization_config in config.json), and such weights cannot",
        ),
    ],
)
def test_a_model_of_another_family(folder: Path, content: Any, message: str) -> None:
    (folder / "model" / "config.json").write_text(json.dumps(content))
    text = refusal(check_model, make_config(folder).model)
    assert text.startswith(("model.path ", f"{folder}")) and message in text


def test_a_model_folder_whose_files_hold_something_else(folder: Path) -> None:
    index = folder / "model" / "model.safetensors.index.json"
    for content in ('{"weight_map": {"w": 5}}', "[]", "[" * 100_000):
        index.write_text(content)
        assert "is not an index of weight" in refusal(check_model, make_config(folder).model)
    index.unlink()
    (folder / "model" / "config.json").write_text("[" * 100_000)
    assert "is not a model's configuration" in refusal(check_model, make_config(folder).model)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "is a pointer of Git LFS"),
        (b"", "is no safetensors file"),
        (b"PK" + bytes(100), "is no safetensors file"),
        ((START_MODEL / "model.safetensors").read_bytes()[:-7], "is cut off, 7 bytes are missing"),
    ],
)
def test_weights_that_were_not_copied_whole(folder: Path, content: bytes, message: str) -> None:
    (folder / "model" / "model.safetensors").write_bytes(content)
    assert message in refusal(check_model, make_config(folder).model)


def test_parameters_are_counted_in_the_headers_of_the_weights() -> None:
    model = AutoModelForImageTextToText.from_pretrained(START_MODEL)
    size = model_size(START_MODEL)
    assert size.parameters == sum(one.numel() for one in model.parameters())
    assert size.vision == sum(one.numel() for one in model.model.visual.parameters())


@pytest.mark.parametrize(
    "settings", [{}, {"rank": 4, "targets": ["self_attn.*", "qkv"], "vision": True}]
)
def test_an_adapter_is_counted_in_the_headers_too(settings: dict[str, Any]) -> None:
    config = Config.model_validate(
        {
            "run": "r",
            "model": {"path": START_MODEL, "lora": settings},
            "data": {"train": "t"},
            "trainer": {},
        }
    )
    model = AutoModelForImageTextToText.from_pretrained(START_MODEL)
    add_adapter(model, config)
    adapter = [one.numel() for one in model.parameters() if one.requires_grad]
    assert model_size(START_MODEL, config.model.lora).adapter == sum(adapter) > 10_000


def test_an_adapter_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    text = refusal(check_model, ModelConfig(path=tmp_path))
    assert "holds an adapter, and no whole model; write one with perl-rl export RUN --merg" in text


def test_pickled_weights_are_no_weights(folder: Path) -> None:
    (folder / "model" / "model.safetensors").rename(folder / "model" / "pytorch_model.bin")
    text = refusal(check_model, make_config(folder).model)
    assert "holds no weights (*.safetensors)" in text and "save_pretrained" in text


def test_an_index_of_shards_that_is_none(folder: Path) -> None:
    index = folder / "model" / "model.safetensors.index.json"
    index.write_text("[]")
    text = refusal(check_model, make_config(folder).model)
    assert text == f"{index}: is not an index of weight files; copy the model again"


def test_a_row_without_the_image_it_names(folder: Path) -> None:
    write_rows(folder, ROW, ROW | {"id": "two", "images": ["a.png", "c.png"]})
    text = refusal(check_data, make_config(folder), folder)
    assert re.search(r"train\.jsonl, line 2, field 'images': no image file .*c\.png", text)


def test_a_picture_that_cannot_be_decoded(folder: Path) -> None:
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:60])
    text = refusal(check_data, make_config(folder), folder)
    assert re.search(r"train\.jsonl, line 1, sample 'one'.*b\.png.*cannot be decoded", text)


def test_more_images_than_the_engine_takes(folder: Path) -> None:
    config = make_config(folder, rollout={"engine": {"max_images": 1}})
    assert "more than rollout.engine.max_images (1)" in refusal(check_data, config, folder)


def test_a_gold_answer_that_nothing_can_match(folder: Path) -> None:
    write_rows(folder, ROW | {"kind": "letter", "answer": "42", "order": "invariant"})
    text = refusal(check_data, make_config(folder), folder)
    assert re.search(r"sample 'one': the gold answer '42' is not of kind 'letter'", text)


def test_a_port_in_use(folder: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        text = refusal(check_ports, make_config(folder, reward={"port": port}))
    assert f"reward: cannot listen on 127.0.0.1:{port}" in text
    assert "reward.port" in text


def test_two_services_that_want_the_same_port(folder: Path) -> None:
    config = make_config(folder, reward={"port": 28101}, rollout={"port": 28100, "nodes": 2})
    assert "port 28101 is wanted by the reward service too" in refusal(check_ports, config)


def test_the_weights_want_a_port_too(folder: Path) -> None:
    config = make_config(folder, reward={"port": 28110}, trainer={"port": 28100})
    assert "port 28110 is wanted by the weights service too" in refusal(check_ports, config)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = refusal(check_ports, make_config(folder, weights={"port": port}))
    assert text.endswith("set trainer.host and weights.port to a free address")


def test_a_port_that_does_not_exist(folder: Path) -> None:
    config = make_config(folder, rollout={"port": 65_535, "nodes": 2})
    assert refusal(check_ports, config) == (
        "rollout.port: its nodes would need port 65536; lower it"
    )


def test_a_run_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    text = refusal(check_run_dir, tmp_path / "run", False)
    assert text == (
        f"--run-dir {tmp_path / 'run'}: is a file, not a folder; name the folder of a run"
    )


def test_a_folder_with_an_earlier_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").touch()
    assert "--resume" in refusal(check_run_dir, tmp_path, False)
    check_run_dir(tmp_path, resume=True)


def test_a_folder_without_a_run_cannot_be_resumed(tmp_path: Path) -> None:
    assert "holds no run to resume" in refusal(check_run_dir, tmp_path, True)


@pytest.mark.slow
def test_an_unreachable_redis(folder: Path) -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    text = refusal(launch, write_config(folder, **REAL, redis={"url": url}), folder / "run")
    assert "cannot reach Redis" in text
    assert "secret" not in text


@pytest.mark.slow
def test_a_run_that_is_alive_already(folder: Path, redis_url: str) -> None:
    node = NodeInfo(name="rollout-7", kind="rollout", url="http://h", state="ready")
    keys = Keys("r")
    with redis.Redis.from_url(redis_url) as client:
        client.sadd(keys.nodes, node.name)
        client.set(keys.node(node.name), node.model_dump_json())
    text = refusal(launch, write_config(folder, **REAL, redis={"url": redis_url}), folder / "run")
    assert "a run 'r' is alive there (node rollout-7)" in text


@pytest.mark.slow
def test_a_folder_in_which_a_launch_is_running(folder: Path) -> None:
    (folder / "run").mkdir()
    with (folder / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        text = refusal(launch, write_config(folder, **REAL), folder / "run")
    assert "another perl-rl launch is running there" in text


def test_nothing_of_a_refused_run_is_in_the_way_of_the_next(folder: Path) -> None:
    (folder / "model" / "config.json").unlink()
    refusal(launch, write_config(folder), folder / "run")
    check_run_dir(folder / "run", resume=False)


def write_config(folder: Path, **sections: Any) -> Path:
    file = folder / "config.json"
    file.write_text(make_config(folder, **sections).model_dump_json())
    return file


def mixture(folder: Path, *answers: str, **settings: Any) -> Config:
    """Questions about one digit each, inside a JSON list, beside the folder's own file."""
    rows = [{"images": ["a.png"], "problem": "<image>?", "answer": answer} for answer in answers]
    write_json(folder / "geo" / "train.json", rows)
    geometry = {"path": folder / "geo", "format": "geometry3k", "image_dir": folder, **settings}
    return make_config(folder, data={"train": [{"path": folder / "train.jsonl"}, geometry]})


def test_a_mixture_passes_and_is_told_about(folder: Path) -> None:
    notes: list[str] = []
    config = mixture(folder, "1", "", skip_bad_rows=True)
    assert check_data(config, folder, notes) == (2, 2)
    assert notes == [f"{folder / 'geo'}: 1 sample, 1 row skipped: answer: is empty (1)"]


def test_a_gold_answer_that_no_answer_matches_is_told_with_file_and_row(folder: Path) -> None:
    maths = ROW | {"kind": "math", "order": "invariant"}
    answers = (r"\frac{1}{2}", r"\frac{1}{2", r"$25 \mathrm{~m}$.")
    write_rows(folder, *(maths | {"id": answer, "answer": answer} for answer in answers))
    notes: list[str] = []
    assert check_data(make_config(folder), folder, notes) == (3, 2)
    (note,) = notes
    assert note.startswith(f"{folder / 'train.jsonl'}, line 2, sample ")
    assert "no answer matches the gold answer" in note and "of kind 'math'" in note


def test_a_bad_row_of_a_source_is_named_with_file_row_and_column(folder: Path) -> None:
    text = refusal(check_data, mixture(folder, "1", ""), folder)
    assert text == f"{folder / 'geo' / 'train.json'}, row 2, column 'answer': is empty"


def test_pictures_inside_the_data_are_kept_beside_the_run(folder: Path) -> None:
    rows = [{"images": [digit(0)], "problem": "<image>?", "answer": "0"}]
    write_features(folder / "geo.parquet", rows, images=IMAGES)
    source = {"path": folder / "geo.parquet", "format": "geometry3k"}
    config = make_config(folder, data={"train": source})
    assert check_data(config, folder / "run") == (1, 1)
    assert [file.suffix for file in (folder / "run" / "images").iterdir()] == [".png"]
    check_run_dir(folder / "run", resume=False)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_that_torch_cannot_use_is_refused(folder: Path, gpu: None, device: str) -> None:
    with pytest.raises(UserError, match=rf"^model\.device {device}: .* is built for the CPU"):
        launch(written(folder), folder / "run", [f"model.device={device}"])
    assert not (folder / "run").exists(), "nothing was started"


def test_the_cpu_is_taken_where_the_configuration_says_so(folder: Path, gpu: None) -> None:
    settings = ModelConfig(path=folder, device="cpu", dtype="float32")
    model, line = settled_model(settings)
    assert (model, line) == (settings, "computing in float32 (model.dtype) on the CPU")


def test_a_gpu_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^model\.device cuda: this machine has no NVIDIA GPU"):
        settled_model(ModelConfig(path=folder, device="cuda"))


def written(folder: Path) -> Path:
    file = folder / "run.yaml"
    file.write_text(make_config(folder).model_dump_json())
    return file
