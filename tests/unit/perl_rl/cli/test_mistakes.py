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
    ({"run": "my first run"}, "run: must begin with a letter"),
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
    ({"redis__url": "redis://[::1"}, "redis.url: its host or port cannot be read"),
    ({"redis__url": "redis://localhost:99999"}, "redis.url: its host or port cannot be read"),
    (
        {"redis__url": "redis://localhost:1/queue"},
        "redis.url: must end in the number of a database",
    ),
    ({"redis__url": "redis://127.0.0.1:1/0"}, "redis.url 'redis://127.0.0.1:1/0': cannot reach R"),
    ({"redis__url": "redis://127.0.0.1:1/0?retries=9"}, "1/0': has an option behind '?' that ther"),
    (
        {"redis__url": "rediss://localhost:1", "redis__ca_file": "gone.pem"},
        "redis.ca_file gone.pem: there is no such file",
    ),
    ({"rollout__engine__tensor_parallel_size": 2}, "tensor_parallel_size: 2 needs as many GPUs"),
    ({"model__lora": {"rank": 0}}, "model.lora.rank: must be at least 1 (got 0)"),
    ({"model__lora": {"rank": 1024}}, "model.lora.rank: must be at most 512 (got 1024)"),
    ({"model__lora": {"targets": []}}, "model.lora.targets: must have at least 1 entr"),
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
    ({"trackers": ["comet"]}, "trackers: there is no tracker 'comet'; choose tensorboard, wandb, "),
    (
        {"trackers": [{"name": "trackio", "python": "none/bin/python"}]},
        "trackers: trackio: python {folder}/none/bin/python: cannot be run (No such file or dir",
    ),
    ({"trainer__attention": "flex"}, "trainer.attention: flex needs a GPU and packed rows, and th"),
    ({"trainer__vision_attention": "flash"}, "trainer.vision_attention: flash needs a GPU and bf"),
    (
        {"rollout__engine": {"max_num_batched_tokens": 64, "max_num_seqs": 65}},
        "rollout.engine: max_num_batched_tokens (64) must be at least max_num_seqs (65): each",
    ),
    (
        {"rollout__engine__max_num_batched_tokens": 511},
        "rollout.engine.max_num_batched_tokens: 511 is less than rollout.engine.max_model_len (5",
    ),
    (
        {"rollout__heartbeat_s": 20},
        "rollout: heartbeat_s (20) must be less than lost_after_s (15), or every node is taken",
    ),
    (
        {"reward__lost_after_s": 2, "reward__heartbeat_s": 2},
        "reward: heartbeat_s (2) must be less than lost_after_s (2)",
    ),
    ({"model__max_pixels": 0}, "model.max_pixels: must be at least 1 (got 0)"),
    (
        {"model__min_pixels": 9000, "model__max_pixels": 8000},
        "model: min_pixels (9000) must not be more than max_pixels (8000)",
    ),
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
    ({"kind": "multiple_choice"}, "field 'kind': must be 'letter', 'position',"),
    ({"kind": "number", "order": "letter"}, "order 'letter' does not go with kind 'number'"),
    ({"question": "<image>Which?"}, "question has 1 <image> tag but the sample has 3 images"),
    ({"images": ["a.png", "b.png", "d.png"]}, "field 'images': no image file 'd.png'"),
    ({"images": ["a.png", "b.png", "cut.png"]}, "cut.png"),
    ({"images": ["a.png", "b.png", "https://a.b/c.png"]}, "is a https address; nothing is fetched"),
    ({"question": SAMPLE["question"] + " word" * 600}, "tokens, more than 488 (rollout.engine.max"),
    (
        {"question": "<image>" * 5 + "Which?", "images": ["a.png"] * 5},
        "5 images, more than rollout",
    ),
    ({"anwser": "second"}, "field 'anwser': is unknown"),
]


@pytest.mark.parametrize(("changes", "named"), SAMPLES, ids=[one[1][:40] for one in SAMPLES])
def test_a_mistake_in_json_lines_is_named_with_its_row(
    folder: Path, changes: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(folder / "train.jsonl", [SAMPLE, SAMPLE | {"id": "two"} | changes])
    line = refused(capsys, check(folder, CONFIG))
    assert f"{folder}/train.jsonl, line 2" in line and named in line


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "train.jsonl: no samples found"),
        (json.dumps(SAMPLE)[:-1] + ",}\n", "train.jsonl, line 1: is"),
        (f"{json.dumps(SAMPLE)}\n" * 2, "train.jsonl, line 2, field 'id': 'one' is also the id"),
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
    ("verl", {"images": ["a.png"]}, {}, "has 3 image tags for 1 image; each needs one tag"),
    ("verl", {"images": None, "image": ["a.png"]}, {}, "column 'images': is missing"),
    ("verl", {"extra_info": {"kind": "mcq"}}, {}, "column 'extra_info.kind': 'mcq' is not one of"),
    ("verl", {}, {"keys": {"answer": "gold"}}, "keys.answer is only for format easyr1, not verl"),
    ("easyr1", {"problem": None, "query": "How?"}, {}, "field 'prompt': is missing; the line has"),
    (
        "easyr1",
        {"answer": None, "gold": "3"},
        {},
        "field 'answer': is missing; the line has fields",
    ),
    ("easyr1", {"images": "p/a.png"}, {}, "no image file 'p/a.png' in {folder}"),
    ("easyr1", {"problem": "What? A. x B. y", "answer": "D"}, {}, "'D' is not one of the 2 opt"),
    ("easyr1", {"images": "cut.png"}, {}, "cut.png"),
    ("mantis", {"conversation": MANTIS["conversation"][:1]}, {}, "turns must alternate between"),
    ("mantis", {}, {"subsets": ["nlvr"]}, "no row is of subset 'nlvr'; there are nlvr2 (1)"),
    ("mantis", {"images": ["a.png"]}, {}, "has 2 image tags for 1 image; each needs one tag"),
    ("mantis", {}, {"split": "train"}, "found no .parquet, .jsonl, .json files of split 'train'"),
    ("mantis", {}, {"format": "mantis_instruct"}, "data.train.format: must be 'samples',"),
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


FLAT = {"question": "<image>How many?", "image": "a.png", "solution": "3"}
OF_FORMAT: dict[str, dict[str, Any]] = {
    "samples": SAMPLE,
    "verl": VERL,
    "easyr1": EASYR1,
    "mantis": MANTIS,
    "mmk12": {"id": 1, "question": "<image>?", "answer": "3", "subject": "x", "image": "a.png"},
    "virl39k": {"qid": "q", "question": "<image>?", "answer": "3", "image": ["a.png"]},
}
CONFUSED = [
    (read_as, of_format)
    for read_as in [*OF_FORMAT, "geometry3k"]
    for of_format in OF_FORMAT
    if read_as != of_format
    # These have the same columns.
    and {read_as, of_format} not in ({"mmk12", "virl39k"}, {"geometry3k", "easyr1"})
]


@pytest.mark.parametrize(("read_as", "of_format"), CONFUSED)
def test_rows_of_another_format_say_which(
    folder: Path, read_as: str, of_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_json(folder / "rows.jsonl", [OF_FORMAT[of_format]])
    status = main(["data", "convert", "--format", read_as, str(file), "--out", "out.jsonl"])
    line = refused(capsys, status)
    assert f"this looks like format {of_format}, not {read_as} (docs/data.md)" in line


@pytest.mark.parametrize(
    ("read_as", "row", "hint"),
    [
        (
            "samples",
            FLAT,
            "this looks like format easyr1 with keys {prompt: question, images: image, answer: "
            "solution}, not samples",
        ),
        ("easyr1", FLAT, "write keys: {prompt: question, images: image, answer: solution}"),
        ("easyr1", {**EASYR1, "prompt": VERL["prompt"]} | {"problem": ["x"]}, "not a list of 1"),
        (
            "easyr1",
            {"problem": "<image>?", "images": "a.png", "answers": ["3", "4"]},
            "field 'answer': is missing; the line has fields answers, images, problem; write keys: "
            "{answer: answers}",
        ),
        ("easyr1", EASYR1 | {"answer": ["3", "4"]}, "must be text, not a list of 2; keep one of"),
        (
            "verl",
            VERL | {"reward_model": {"ground_truth": ["B", "C"]}},
            "must be text, not a list of 2; keep one of",
        ),
        ("samples", SAMPLE | {"answer": ["first", "second"]}, "must be text, not a list; keep"),
        ("samples", {**SAMPLE, "answers": "second"}, "is unknown; did you mean 'answer'?"),
        *(
            (
                name,
                OF_FORMAT[name]
                | {("question" if name == "samples" else "problem"): f"{tag} What is this?"},
                f"it has '{tag}': write <image> in its place",
            )
            for name in ("samples", "easyr1")
            for tag in (
                *("[IMG]", "{image}", "<|image_pad|>", "<ImageHere>", "<img src='a.png'>"),
                *("![a digit](a.png)", "<image/>", "[Image 1]", "<|vision_start|>"),
            )
        ),
        (
            "samples",
            SAMPLE | {"question": "<img><img><img> Which?"},
            "the question has 0 <image> tags but the sample has 3 images; it has '<img>': write",
        ),
        ("samples", SAMPLE | {"question": "<image1> <image2> Which?"}, "it has '<image1>': write"),
    ],
)
def test_columns_and_tags_of_other_programs_get_a_hint(
    folder: Path, read_as: str, row: dict[str, Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_json(folder / "rows.jsonl", [row])
    line = refused(capsys, check(folder, of(read_as, str(file))))
    assert hint in line and f"{file}, line 1" in line


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({"subsets": ["nlvr2", "dreamsin"]}, "subset 'dreamsin'; there are nlvr2 (2), dreamsim ("),
        ({"split": "val"}, "files of split 'val'; there are those of test, train"),
    ],
)
def test_a_choice_that_finds_nothing_says_what_there_is(
    folder: Path, settings: dict[str, Any], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(folder / "m" / "train.json", [MANTIS, MANTIS, MANTIS | {"source": "dreamsim"}])
    write_json(folder / "m" / "test.json", [MANTIS])
    given = {"split": "train", "image_dir": "."} | settings
    assert hint in refused(capsys, check(folder, of("mantis", "m", **given)))


@pytest.mark.parametrize("command", ["check", "permute", "data filter", "data label", "score"])
def test_one_list_in_json_lines_gets_a_hint(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "train.jsonl"
    file.write_text(json.dumps([SAMPLE, SAMPLE | {"id": "two"}]))
    if command == "check":
        status = check(folder, CONFIG)
    else:
        more = {"permute": ["--orders", "2"], "score": []}.get(command, ["--out", "out"])
        status = main([*command.split(), str(file), *more])
    line = refused(capsys, status)
    assert f"{file}, line 1: is a list, not an object: write one object a line (jq -c" in line


@pytest.mark.parametrize("command", ["permute", "data filter", "data label", "data convert"])
def test_every_command_words_a_bad_line_alike(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_json(folder / "train.jsonl", [SAMPLE, SAMPLE | {"id": "two", "kind": "mcq"}])
    more = {"permute": ["--orders", "2"], "data convert": ["--format", "samples"]}.get(command, [])
    more += [] if command == "permute" else ["--out", "out/o.jsonl"]
    line = refused(capsys, main([*command.split(), str(file), *more]))
    assert f"{file}, line 2, field 'kind': must be 'letter', 'position'" in line


@pytest.mark.parametrize("command", ["permute", "data filter", "data label"])
def test_a_file_of_another_format_says_how_to_convert_it(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_json(folder / "train.jsonl", [VERL])
    more = ["--orders", "2"] if command == "permute" else ["--out", "out"]
    line = refused(capsys, main([*command.split(), str(file), *more]))
    assert "looks like format verl: turn it into samples with perl-rl data convert --format" in line


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


def test_an_engine_that_cannot_fit_is_refused_with_what_there_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = changed(CONFIG, rollout__engine__kv_cache_gib=500_000)
    line = refused(capsys, check(folder, wanted))
    assert "rollout.engine.kv_cache_gib: 500,0" in line and "this machine has " in line
    over = changed(CONFIG, rollout__engine__gpu_memory_utilization=1.5)
    assert "gpu_memory_utilization: must be at most 1" in refused(capsys, check(folder, over))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (
            {"train": "trian.jsonl", "heldout": "hold.jsonl"},
            "data.train: {folder}/trian.jsonl: no such data file or folder (did you mean "
            "train.jsonl?); data.heldout: {folder}/hold.jsonl: no such data file or folder",
        ),
        (
            {"train": "train.jsonl", "heldout": {"path": "test", "format": "easyr1"}},
            "data.heldout.path: {folder}/test: no such data file or folder",
        ),
        (
            {"train": [{"path": "train.jsonl"}, {"path": "gone-*.json", "format": "mantis"}]},
            "data.train, second source, path: {folder}/gone-*.json: found no .parquet",
        ),
        (
            {"train": {"path": "easyr1.jsonl", "format": "easyr1", "image_dir": "pictures"}},
            "data.train.image_dir: there is no folder {folder}/pictures",
        ),
    ],
)
def test_every_wrong_path_of_data_is_named_at_once_with_its_key(
    folder: Path, data: dict[str, Any], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = changed(CONFIG, data=data, eval__max_tokens=24)
    assert named.format(folder=folder) in refused(capsys, check(folder, config))


def test_a_failing_check_leaves_no_empty_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(changed(CONFIG, data__train="gone.jsonl")))
    for command in ("check", "launch"):
        assert main([command, str(file), "--run-dir", str(folder / "runs" / "one")]) == 2
        assert not (folder / "runs").exists()
    (folder / "runs").mkdir()
    assert main(["check", str(file), "--run-dir", str(folder / "runs" / "one")]) == 2
    assert (folder / "runs").is_dir() and not (folder / "runs" / "one").exists()


def warned(folder: Path, capsys: pytest.CaptureFixture[str], **data: Any) -> list[str]:
    assert check(folder, changed(CONFIG, data=CONFIG["data"] | data, eval__max_tokens=24)) == 0
    return [one for one in capsys.readouterr().out.splitlines() if one.startswith("warning: ")]


def test_held_out_data_that_is_trained_on_is_warned_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (56, 56), "black").save(folder / "d.png")
    (folder / "copy.png").write_bytes((folder / "a.png").read_bytes())
    [line] = warned(folder, capsys, heldout="train.jsonl")
    assert "data.heldout and data.train read the same file, " in line

    other = SAMPLE | {"id": "other", "images": ["a.png", "b.png", "d.png"]}
    same = SAMPLE | {"id": "same", "images": ["copy.png", "b.png", "c.png"]}
    write_json(folder / "hold.jsonl", [other, same])
    [line] = warned(folder, capsys, heldout="hold.jsonl")
    assert "1 of 2 held-out questions is in the training data too, with the same images" in line
    assert f"({folder}/hold.jsonl, line 2 is {folder}/train.jsonl, line 1)" in line

    write_json(folder / "hold.jsonl", [other, SAMPLE | {"id": "x", "question": "<image>" * 3}])
    assert warned(folder, capsys, heldout="hold.jsonl") == []


def test_a_folder_of_another_run_is_said_to_be_one_before_it_is_resumed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / "runs" / "other"
    (run / "checkpoints" / "step-000002").mkdir(parents=True)
    (run / "config.yaml").write_text("run: other\n")
    options = ("--run-dir", str(run))
    for seed, said in ((0, "launch --resume continues it"), (5, "seed was 5, now 0")):
        identity = {"fixed": {"seed": seed}, "sources": []}
        (run / "identity.json").write_text(json.dumps(identity))
        assert check(folder, CONFIG, *options) == 0
        lines = [one for one in capsys.readouterr().out.splitlines() if "an earlier run" in one]
        assert len(lines) == 1 and said in lines[0]
