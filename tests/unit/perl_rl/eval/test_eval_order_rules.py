"""Labels of ``perl-rl data label`` decide which questions of a benchmark are permuted, and how."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from perl_rl.cli.main import main
from perl_rl.eval.benchmarks import BENCHMARKS
from perl_rl.eval.loading import load_items
from perl_rl.eval.pictures import Pictures
from shared.sample import load_samples
from tests.benchmark_files import WRITERS, write_benchmark
from tests.scripted_endpoint import ScriptedEndpoint, text_of
from tests.scripted_model import answering, by_content

Rows = list[dict[str, Any]]

NAMED = re.compile(r"What digit does the image image (\d) show")


def by_name(question: str, pictures: list[tuple[int, ...]], rng: Random) -> str:
    """As `by_content`, and of a question that names its image, that image's digit."""
    named = NAMED.search(question)
    return str(pictures[int(named[1]) - 1][0]) if named else by_content(question, pictures, rng)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmark("mv-math", tmp_path_factory.mktemp("mv-math"), 24)


@pytest.fixture
def samples(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The benchmark's questions as samples."""
    out = tmp_path / "questions" / "mv-math.jsonl"
    assert (
        main(["eval", "samples", "--benchmark", "mv-math", f"--data={data}", f"--out={out}"]) == 0
    )
    assert capsys.readouterr().out == f"{out}: 24 samples\n"
    return out


@pytest.fixture
def labels(samples: Path, tmp_path: Path) -> Path:
    """The same, labelled: swapping the two images of a named one leaves the answer."""

    def verdict(body: dict[str, Any]) -> str:
        changes = "(1)" in text_of(body)
        return json.dumps({"should_change": changes, "is_multichoice_images": False})

    out = tmp_path / "labels"
    with ScriptedEndpoint(verdict).serving() as endpoint:
        command = ["data", "label", str(samples), "--out", str(out), "--set"]
        command += [f"endpoint.url={endpoint.url}", "endpoint.model=m"]
        assert main(command) == 0
        # The rest has rules of the benchmark's own.
        assert len(endpoint.requests) == 12
    return out / "samples.jsonl"


@pytest.mark.parametrize("name", WRITERS)
def test_every_benchmarks_questions_are_samples(name: str, tmp_path: Path) -> None:
    data = write_benchmark(name, tmp_path / "data", 28)
    out = tmp_path / "questions.jsonl"
    assert main(["eval", "samples", f"--benchmark={name}", f"--data={data}", f"--out={out}"]) == 0
    pictures = Pictures(tmp_path / "images")
    expected = [item.sample for item in load_items(BENCHMARKS[name], data, pictures)]
    assert load_samples(out) == expected and len(expected) >= 28


def read(file: Path) -> Rows:
    return [json.loads(line) for line in file.read_text().splitlines()]


def write(rows: Rows, file: Path) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def evaluate(data: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The result of an evaluation in two orders."""

    def run(*more: str) -> dict[str, Any]:
        out = tmp_path / f"{len(list(tmp_path.glob('*.json')))}.json"
        command = ["eval", "--benchmark=mv-math", f"--data={data}", "--orders=2", f"--out={out}"]
        with answering(by_name).serving() as endpoint:
            model = [f"--endpoint={endpoint.url}", "--model-name=m", "--max-tokens=64"]
            assert main([*command, *model, *more]) == 0
        result: dict[str, Any] = json.loads(out.read_text())
        return result

    return run


def by_exclusion(result: dict[str, Any]) -> Counter[tuple[str, str | None]]:
    """Items by answer type and by the reason why they were asked in one order only."""
    return Counter((item["groups"]["answer_type"], item["excluded"]) for item in result["items"])


def test_labels_decide_which_questions_are_permuted(
    evaluate: Callable[..., dict[str, Any]], labels: Path
) -> None:
    plain = evaluate()
    assert by_exclusion(plain) == {
        ("choice", None): 12,
        ("single-step", "no_order_rule"): 6,
        ("multi-step", "no_order_rule"): 6,
    }
    labelled = evaluate("--order-rules", str(labels))
    assert by_exclusion(labelled) == {
        ("choice", None): 12,
        ("single-step", None): 6,
        ("multi-step", "no_order_rule"): 6,
    }
    assert labelled["robustness"]["items"] == 18
    assert labelled["robustness"]["flip_rate"]["value"] == 0
    assert labelled["robustness"]["accuracy"]["value"] == 1
    assert "order_rules_sha256" in labelled["settings"]
    (one, *_) = [
        item for item in labelled["items"] if item["groups"]["answer_type"] == "single-step"
    ]
    first, second = one["answers"]
    assert first["images"] == second["images"][::-1]
    assert (NAMED.search(first["prompt"])[1], NAMED.search(second["prompt"])[1]) == ("1", "2")
    assert first["gold"] == second["gold"]


def test_what_the_labels_lack_is_not_permuted(
    evaluate: Callable[..., dict[str, Any]], labels: Path, tmp_path: Path
) -> None:
    rows = read(labels)
    choices = [row for row in rows if row.get("order") == "letter"]
    del choices[0]["order"]
    kept = write([row for row in rows if row not in choices[1:6]], tmp_path / "some.jsonl")
    found = by_exclusion(evaluate("--order-rules", str(kept)))
    assert (found["choice", None], found["choice", "no_order_rule"]) == (6, 6)
    assert found["single-step", None] == 6


def test_fixed_images_of_the_labels_stay(
    evaluate: Callable[..., dict[str, Any]], labels: Path, tmp_path: Path
) -> None:
    rows = read(labels)
    for row in rows:
        if row.get("order") == "invariant":
            row["fixed"] = [1]
    found = by_exclusion(evaluate("--order-rules", str(write(rows, tmp_path / "fixed.jsonl"))))
    assert found["single-step", "fewer_than_two_movable_images"] == 6


def test_labels_of_other_questions_are_refused(
    data: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = read(labels)
    command = ["eval", "--benchmark=mv-math", f"--data={data}", f"--out={tmp_path / 'out.json'}"]
    command += ["--endpoint=http://127.0.0.1:9/v1", "--model-name=m", "--order-rules"]
    other = [row | {"id": f"x{row['id']}"} for row in rows]
    changed = [rows[0] | {"question": rows[0]["question"] + "?"}, *rows[1:]]
    for given, said in (
        (write(other, tmp_path / "other.jsonl"), "labels none of the 24 questions"),
        (write(changed, tmp_path / "changed.jsonl"), "sample '1' is another question"),
        (tmp_path / "none.jsonl", "cannot read the data file"),
    ):
        capsys.readouterr()
        assert main([*command, str(given), "--orders=2"]) == 2
        err = capsys.readouterr().err.splitlines()[-1]
        assert err.startswith(f"perl-rl: error: {given}: ") and said in err
    assert main([*command, str(labels)]) == 2
    assert "--order-rules needs --orders K" in capsys.readouterr().err
