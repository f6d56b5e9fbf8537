"""Every command that takes a file or a place, given a wrong one: one line that says what it is."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from perl_rl.cli.main import main
from tests.benchmark_files import write_benchmark

pytestmark = pytest.mark.slow  # a long table

RUN = "run: r\nmodel: {path: m}\ndata: {train: t}\ntrainer: {}\n"
REDIS = RUN + "redis: {url: 'redis://127.0.0.1:1/0'}\n"
SAMPLE = '{"id": "1", "question": "q", "answer": "3", "kind": "number"}\n'
ENDPOINT = ("--endpoint", "http://127.0.0.1:1/v1", "--model-name", "m")

CONFIGURATIONS = (
    "launch FILE",
    "check FILE",
    "plan FILE",
    "report FILE --run-dir run",
    "rollout serve FILE",
    "reward serve FILE",
    "trainer serve FILE",
    "trainer join FILE --host 1",
    "dead-letters FILE",
    "data prepare FILE",
    "data filter sample.jsonl --out out/filtered --config FILE",
    "score sample.jsonl --config FILE",
    "eval --benchmark mathverse --data bench --out out/e.json --model model --config FILE",
)
LINES = (
    "score FILE",
    "permute FILE --orders 2",
    "data filter FILE --out out/filtered",
    "data balance FILE --out out/balanced",
    "data label FILE --out out/labelled",
    f"eval --benchmark mathverse --data bench --out out/r.json {' '.join(ENDPOINT)} --orders 2 "
    "--order-rules FILE",
)
BENCHMARKS = (
    "eval samples --benchmark mathverse --data FILE --out out/s.jsonl",
    "eval samples --benchmark blink --data FILE --out out/s.jsonl",
    f"eval --benchmark mathverse --data FILE --out out/b.json {' '.join(ENDPOINT)}",
    *(
        f"data convert --format {name} FILE --out out/c.jsonl"
        for name in ("samples", "verl", "easyr1", "mantis", "geometry3k")
    ),
)
RESULTS = ("eval compare FILE FILE",)
FOLDERS = ("status --run-dir FILE",)
ALL = (*CONFIGURATIONS, *LINES, *BENCHMARKS, *RESULTS, *FOLDERS)

FILES = ("none", "folder", "empty.jsonl", "picture.png", "rows.parquet", "words.txt", "other.jsonl")

PLACES = (
    "launch run.yaml --run-dir PLACE",
    "check run.yaml --run-dir PLACE",
    "demo --run-dir PLACE --set model.path=m",
    "report redis.yaml --run-dir PLACE",
    "trainer serve redis.yaml --run-dir PLACE --port 0",
    "data filter sample.jsonl --out PLACE",
    "data convert --format samples sample.jsonl --out PLACE/x.jsonl",
    "eval samples --benchmark mathverse --data bench --out PLACE/x.jsonl",
    f"eval --benchmark mathverse --data bench --out PLACE/x.json {' '.join(ENDPOINT)}",
    "eval compare result.json result.json --out PLACE/x.json",
)
NAMED_FOLDERS = (
    "data convert --format samples sample.jsonl --out folder",
    "eval samples --benchmark mathverse --data bench --out folder",
    "eval compare result.json result.json --out folder",
)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wrong files of all sorts, and right ones for what is not tested."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "folder").mkdir()
    (folder / "empty.jsonl").write_text("")
    (folder / "words.txt").write_text("hello there\nnothing\n")
    (folder / "other.jsonl").write_text('{"a": 1}\n')
    Image.new("RGB", (8, 8)).save(folder / "picture.png")
    rows = pyarrow.table({"prompt": ["a"], "reward_model": ["b"], "noise": ["\xac" * 300]})
    pyarrow.parquet.write_table(rows, folder / "rows.parquet")
    (folder / "run.yaml").write_text(RUN)
    (folder / "redis.yaml").write_text(REDIS)
    (folder / "sample.jsonl").write_text(SAMPLE)
    (folder / "result.json").write_text("{}")
    (folder / "model").mkdir()
    (folder / "model" / "config.json").write_text("{}")
    write_benchmark("mathverse", folder / "bench", 2)
    return folder


@pytest.fixture
def refused(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command that must be refused; gives its one line."""
    monkeypatch.chdir(here)

    def run(command: str) -> str:
        assert main(command.split()) == 2
        *progress, line = capsys.readouterr().err.splitlines()
        assert line.startswith("perl-rl: error: ") and len(line) < 500, line
        # Only what was read before may stand above it.
        assert all(one.startswith("read: ") for one in progress), progress
        for word in ("Traceback", "Error(", "codec", "pydantic", ".partial", "errno"):
            assert word not in line, line
        return line

    return run


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("command", ALL)
def test_a_wrong_file_is_named(refused, command: str, file: str) -> None:
    line = refused(command.replace("FILE", file))
    assert file in line, line


@pytest.mark.parametrize("command", [*CONFIGURATIONS, *LINES])
def test_a_file_of_another_kind_is_told_from_text(refused, command: str) -> None:
    assert "picture.png: is a picture, not text" in refused(command.replace("FILE", "picture.png"))
    said = refused(command.replace("FILE", "rows.parquet"))
    assert "rows.parquet: is a parquet file, not text" in said and "format: verl" in said


def test_rows_of_another_format_say_which(refused) -> None:
    said = refused("data convert --format samples rows.parquet --out out/c.jsonl")
    assert "looks like format verl" in said


@pytest.mark.parametrize("place", ["/proc/a/b", "picture.png/x"])
@pytest.mark.parametrize("command", PLACES)
def test_a_place_that_cannot_be_written_is_named(refused, command: str, place: str) -> None:
    line = refused(command.replace("PLACE", place))
    assert "cannot write there" in line and place.split("/x")[0] in line, line


@pytest.mark.parametrize("command", NAMED_FOLDERS)
def test_a_folder_in_place_of_a_file_is_named(refused, command: str) -> None:
    assert "folder: is a folder; name a file in it" in refused(command)
