"""Mistakes of newcomers in configuration and data: ``check`` names the cause in its last line.

Each is one change to a run that passes: in the configuration, or in a data file of one of four
formats. No traceback, and nothing is started. ``launch/test_data_check.py`` has more that only
the model's tokenizer finds, ``shared/test_functions.py`` more functions that cannot be called.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from perl_rl.cli.main import main
from tests.format_files import write_json, write_table
from tests.paths import START_MODEL

pytestmark = pytest.mark.slow

CONFIG: dict[str, Any] = {
    "run": "first",
    "model": {"path": str(START_MODEL)},
    "data": {"train": "train.jsonl", "instruction": "Think."},
    "permutation": {"n_s": 1},
    "sampling": {"n": 2, "max_tokens": 24},
    "rollout": {"port": 0, "engine": {"max_model_len": 512, "max_images": 4}},
    "reward": {"port": 0},
    "trainer": {"port": 0, "steps": 2, "groups_per_step": 2},
}
SAMPLE = {
    "id": "one",
    "question": "<image><image><image>\nWhich image shows a digit?",
    "images": ["a.png", "b.png", "c.png"],
    "answer": "second",
    "kind": "position",
    "order": "position",
}
VERL = {
    "data_source": "own",
    "prompt": [{"role": "user", "content": "A. <image> B. <image> C. <image>\nWhich one?"}],
    "images": ["a.png", "b.png", "c.png"],
    "reward_model": {"style": "rule", "ground_truth": "B"},
    "extra_info": {"index": 1},
}
EASYR1 = {"problem": "<image>How many dots?", "images": ["a.png"], "answer": "3"}
MANTIS = {
    "id": "1",
    "source": "nlvr2",
    "images": ["a.png", "b.png"],
    "conversation": [
        {"role": "user", "content": "<image><image>Both show digits. True or false?"},
        {"role": "assistant", "content": "True"},
    ],
}

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, and with a run's data in each format."""
    for name in ("a", "b", "c"):
        Image.new("RGB", (56, 56), "white").save(tmp_path / f"{name}.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    write_json(tmp_path / "train.jsonl", [SAMPLE])
    write_table(tmp_path / "verl.parquet", [VERL])
    write_json(tmp_path / "easyr1.jsonl", [EASYR1])
    write_json(tmp_path / "mantis.json", [MANTIS])
    (tmp_path / "own_rewards.py").write_text("def two(response, gold): ...\nthree = 3\n")
    (tmp_path / "broken_rewards.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(folder: Path, config: dict[str, Any] | str, *options: str) -> int:
    file = folder / "run.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    return main(["check", str(file), "--run-dir", str(folder / "run"), *options])


def changed(base: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """`base` with ``section__key=value`` set; None takes the key away."""
    result = copy.deepcopy(base)
    for path, value in changes.items():
        *sections, key = path.split("__")
        at = result
        for section in sections:
            at = at.setdefault(section, {})
        if value is None:
            at.pop(key, None)
        else:
            at[key] = value
    return result


def of(format: str, file: str, **more: Any) -> dict[str, Any]:
    return changed(CONFIG, data__train={"path": file, "format": format, **more})


def refused(capsys: pytest.CaptureFixture[str], status: int) -> str:
    """The one line with which a command refused its input."""
    shown = capsys.readouterr()
    assert status == 2, shown.out
    *_, line = shown.err.splitlines()
    assert line.startswith("perl-rl: error: ") and "Traceback" not in shown.err + shown.out
    assert len(line) < 700
    return line


def test_the_run_without_a_mistake_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {"verl": "verl.parquet", "easyr1": "easyr1.jsonl", "mantis": "mantis.json"}
    sources = [{"path": file, "format": format} for format, file in names.items()]
    everything = changed(CONFIG, data__train=[{"path": "train.jsonl"}, *sources])
    assert check(folder, everything) == 0
    out = capsys.readouterr().out
    assert "training data: 4 samples" in out and "can be permuted: 3 of 4 (75%)" in out
    assert "time: not known before a first run" in out


SETTINGS: list[tuple[dict[str, Any] | str, str]] = [
    (
        {"trainer__optimizer": {"learning_rat": 1e-6}},
        "did you mean 'trainer.optimizer.learning_rate'?",
    ),
    ({"trainer__steps": "ten"}, "trainer.steps: must be a whole number (got 'ten')"),
    ({"model__dtype": "float16"}, "model.dtype: must be 'auto', 'bfloat16' or 'float32'"),
    ({"run": "my first run"}, "run: must match"),
    ({"run": None}, "the key 'run' is missing"),
    ("run: first\n\tmodel: x\n", "run.yaml: not valid YAML"),
    (
        {"sampling__n": 1, "permutation__n_s": 0},
        "with sampling.n 1 and permutation.n_s 0 it has one",
    ),
    (
        {"sampling__n": 1, "trainer__objective": {"preset": "grpo"}},
        "advantage per_order compares a response with those of its own order, and sampling.n is 1",
    ),
    ({"sampling__max_tokens": 512}, "sampling.max_tokens (512) leaves no room for a prompt in"),
    ({"data__heldout": "train.jsonl"}, "eval.max_tokens (2048) leaves no room for a prompt in"),
    ({"trainer__ranks": 3}, "a minibatch of 2 groups cannot be split evenly over 3 ranks"),
    ({"redis__url": "localhost:6379"}, "redis.url: must begin with redis://, rediss:// or unix://"),
    ({"rollout__engine__tensor_parallel_size": 2}, "tensor_parallel_size: 2 needs as many GPUs"),
    ({"model__lora": {"rank": 0}}, "model.lora.rank: must be at least 1 (got 0)"),
    ({"model__lora": {"rank": 1024}}, "model.lora.rank: must be at most 512 (got 1024)"),
    ({"model__lora": {"targets": []}}, "model.lora.targets: must have at least 1 entries"),
    (
        {"model__lora": {"targets": ["q_proj", "query"]}},
        "model.lora.targets: 'query' is the name of no linear layer of the language model",
    ),
    (
        {"model__lora": {"vision": True}, "trainer__freeze_vision": True},
        "trainer.freeze_vision and model.lora.vision contradict each other",
    ),
    ({"model__device": "cuda"}, "model.device cuda: this machine has no NVIDIA GPU"),
    ({"model__path": "Qwen/Qwen2.5-VL-3B-Instruct"}, "nothing is downloaded"),
    ({"reward__accuracy_weight": 0, "reward__format_weight": 0}, "so all rewards are"),
    (
        {"reward__filter": {"min_accuracy": 0.9, "max_accuracy": 0.1}},
        "reward.filter: no group can pass: min_accuracy (0.9) is more than max_accuracy (0.1)",
    ),
    (
        {"reward__function": "rewards.own:two"},
        "there is no module rewards; Python looked in {folder}",
    ),
    (
        {"reward__function": "own_rewards:two"},
        "takes (response, gold), but is called with (response, gold, kind, task, context)",
    ),
    (
        {"reward__group_function": "broken_rewards:f"},
        "reward.group_function 'broken_rewards:f': cannot import broken_rewards: "
        "ModuleNotFoundError: No module named 'nowhere_to_be_found' at {folder}/broken_rewards.py",
    ),
    (
        {"reward__filter": {"functions": ["own_rewards:three"]}},
        "reward.filter.functions 'own_rewards:three': 'three' in {folder}/own_rewards.py is of",
    ),
    ({"data__train": "trian.jsonl"}, "{folder}/trian.jsonl: no such data file or folder"),
    ({"data__train": "rows.csv"}, "rows.csv: must end in one of .parquet, .jsonl, .json"),
    ({"data__prepare": "own_rewards:missing", "data__train": "no.jsonl"}, "data.prepare 'own_rew"),
]


@pytest.mark.parametrize(("changes", "named"), SETTINGS, ids=[one[1][:40] for one in SETTINGS])
def test_a_mistake_in_the_configuration_is_named(
    folder: Path,
    changes: dict[str, Any] | str,
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (folder / "rows.csv").write_text("question,answer\n")
    config = changes if isinstance(changes, str) else changed(CONFIG, **changes)
    assert named.format(folder=folder) in refused(capsys, check(folder, config))


SAMPLES: list[tuple[dict[str, Any], str]] = [
    ({"answer": "fourth"}, "the gold answer names image 'fourth', but the question has 3 images"),
    (
        {"answer": "E", "kind": "letter", "order": "letter"},
        "the gold answer names option E, but the question has 3 options (A to C)",
    ),
    (
        {"question": "<image><image><image>What?\nA. x\nB. y", "answer": "C", "kind": "letter"}
        | {"order": "invariant"},
        "the gold answer names option C, but the question has 2 options (A to B)",
    ),
    ({"answer": "blue"}, "the gold answer 'blue' is not of kind 'position'"),
    ({"kind": "multiple_choice"}, "column 'kind': must be 'letter', 'position',"),
    ({"kind": "number", "order": "letter"}, "order 'letter' does not go with kind 'number'"),
    ({"question": "<image>Which?"}, "question has 1 <image> tags but the sample has 3 images"),
    ({"images": ["a.png", "b.png", "d.png"]}, "column 'images': no image file 'd.png'"),
    ({"images": ["a.png", "b.png", "cut.png"]}, "cut.png"),
    ({"images": ["a.png", "b.png", "https://a.b/c.png"]}, "is a https address; nothing is fetched"),
    ({"question": SAMPLE["question"] + " word" * 600}, "tokens, more than 488 (rollout.engine.max"),
    (
        {"question": "<image>" * 5 + "Which?", "images": ["a.png"] * 5},
        "5 images, more than rollout",
    ),
    ({"anwser": "second"}, "column 'anwser': is unknown"),
]


@pytest.mark.parametrize(("changes", "named"), SAMPLES, ids=[one[1][:40] for one in SAMPLES])
def test_a_mistake_in_json_lines_is_named_with_its_row(
    folder: Path, changes: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(folder / "train.jsonl", [SAMPLE, SAMPLE | {"id": "two"} | changes])
    line = refused(capsys, check(folder, CONFIG))
    assert f"{folder}/train.jsonl, row 2" in line and named in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "train.jsonl: no samples found"),
        (json.dumps(SAMPLE)[:-1] + ",}\n", "train.jsonl, row 1: is"),
        (f"{json.dumps(SAMPLE)}\n" * 2, "train.jsonl, row 2, column 'id': 'one' is also the id"),
        (json.dumps(VERL), "looks like format verl"),
        (json.dumps(EASYR1), "looks like format easyr1"),
        (json.dumps(MANTIS), "looks like format mantis"),
    ],
)
def test_a_file_that_holds_no_samples_is_named(
    folder: Path, text: str, named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "train.jsonl").write_text(text)
    assert named in refused(capsys, check(folder, CONFIG))


ROWS: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    ("verl", {"prompt": "Which one?"}, {}, "column 'prompt': is not a list of turns"),
    ("verl", {"reward_model": {"style": "rule"}}, {}, "'reward_model.ground_truth': is missing"),
    ("verl", {"reward_model": {"ground_truth": "E"}}, {}, "'E' is not one of the 3 options"),
    ("verl", {"images": ["a.png"]}, {}, "has 3 image tags for 1 images; each needs one tag"),
    ("verl", {"images": None, "image": ["a.png"]}, {}, "column 'images': is missing"),
    ("verl", {"extra_info": {"kind": "mcq"}}, {}, "column 'extra_info.kind': 'mcq' is not one of"),
    ("verl", {}, {"keys": {"answer": "gold"}}, "keys.answer is only for format easyr1, not verl"),
    ("easyr1", {"problem": None, "query": "How?"}, {}, "column 'prompt': is missing; the row has"),
    ("easyr1", {"answer": None, "gold": "3"}, {}, "column 'answer': is missing; the row has colum"),
    ("easyr1", {}, {"image_dir": "pictures"}, "no image file 'a.png' in {folder}/pictures"),
    ("easyr1", {"problem": "What? A. x B. y", "answer": "D"}, {}, "'D' is not one of the 2 opt"),
    ("easyr1", {"images": "cut.png"}, {}, "cut.png"),
    ("mantis", {"conversation": MANTIS["conversation"][:1]}, {}, "turns must alternate between"),
    ("mantis", {}, {"subsets": ["nlvr"]}, "no samples found (0 samples, 0 rows skipped)"),
    ("mantis", {"images": ["a.png"]}, {}, "has 2 image tags for 1 images; each needs one tag"),
    ("mantis", {}, {"split": "train"}, "found no .parquet, .jsonl, .json files of split 'train'"),
    ("mantis", {}, {"format": "mantis_instruct"}, "data.train.source.format: must be 'samples',"),
]


@pytest.mark.parametrize(
    ("format", "changes", "settings", "named"),
    ROWS,
    ids=[f"{format}-{named[:40]}" for format, _, _, named in ROWS],
)
def test_a_mistake_in_published_formats_is_named(
    folder: Path,
    format: str,
    changes: dict[str, Any],
    settings: dict[str, Any],
    named: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = {"verl": VERL, "easyr1": EASYR1, "mantis": MANTIS}[format]
    row = {key: value for key, value in (good | changes).items() if value is not None}
    write = write_table if format == "verl" else write_json
    file = write(
        folder / {"verl": "v.parquet", "easyr1": "e.jsonl", "mantis": "m.json"}[format], [row]
    )
    source = {"path": str(file), "format": format, **settings}
    line = refused(capsys, check(folder, changed(CONFIG, data__train=source)))
    assert named.format(folder=folder) in line


def test_a_run_folder_that_cannot_be_written_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "run").write_text("a file")
    assert f"--run-dir {folder}/run: cannot write there" in refused(capsys, check(folder, CONFIG))


def test_a_parquet_file_that_is_none_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "verl.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    assert "verl.parquet" in refused(capsys, check(folder, of("verl", "verl.parquet")))
