"""The pages of runs, as a browser would get them: curves, comparison, settings, evaluations."""

import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from perl_rl.folder_lock import hold_folder
from perl_rl.view.app import create_app
from shared.records.steps import METRICS
from tests.group_records import write_run
from tests.view_runs import (
    step_row,
    write_config,
    write_evaluation,
    write_metrics,
    write_summary,
)


def client(*paths: Path) -> TestClient:
    return TestClient(create_app(paths), base_url="http://localhost")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three steps that was resumed after the second."""
    folder = tmp_path / "run"
    write_run(folder)
    rows = [step_row(1), step_row(2, alarms=["kl"]), step_row(3, incarnation=2)]
    write_metrics(folder, rows, rest='{"step": 4, "rew')
    write_config(folder)
    write_summary(folder)
    for step, accuracy in ((0, 0.5), (3, 0.7)):
        write_evaluation(folder, step, accuracy)
    return folder


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A run with another setting and better accuracy."""
    folder = tmp_path / "other"
    write_metrics(folder, [step_row(step, accuracy_all=0.9) for step in (1, 2, 3, 4)])
    write_config(folder, permutation={"n_s": 0})
    return folder


def text_of(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


def test_the_page_of_the_only_run_is_the_first_page(run: Path) -> None:
    page = client(run).get("/")
    assert page.status_code == 200
    assert "live.js" not in page.text, "it has ended"
    text = text_of(page.text)
    assert "done, 3 of 40 steps in 75 s" in text
    assert "resumed after step 2" in text
    assert "30 issued = 20 trained + 7 uniform_reward + 2 stale + 1 in flight" in text
    assert "alarm step 2 kl" in text


def test_every_chart_says_its_values_and_leads_to_a_table(run: Path) -> None:
    pages = client(run)
    page = pages.get("/runs/0").text
    charts = re.findall(r'href="\.\./(runs/0/curves/\w+)" title', page)
    assert {one.rpartition("/")[2] for one in charts} >= {
        *("reward", "accuracy", "flips", "heldout", "kl", "entropy", "length", "clipped"),
        *("staleness", "dropped", "tokens"),
    }
    labels = re.findall(r'<svg[^>]*role="img"[^>]*aria-label="([^"]*)"', page)
    assert len(labels) == len(charts)
    assert all("at step" in label or "in all" in label for label in labels)
    for chart in charts:
        table = pages.get(f"/{chart}")
        assert table.status_code == 200
        assert table.text.count("<tr>") >= 3, chart


def test_curves_lead_to_the_steps_and_back(run: Path) -> None:
    pages = client(run)
    page = pages.get("/runs/0/curves/accuracy").text
    link = re.search(r'<td><a href="([^"]*)">2</a></td>', page)
    assert link is not None
    assert pages.get(f"/runs/0/curves/{link[1]}").status_code == 200
    assert 'data-step="../runs/0/steps/1"' in pages.get("/runs/0").text


def test_smoothing_is_part_of_the_address(run: Path) -> None:
    pages = client(run)
    assert 'class="faint"' not in pages.get("/runs/0").text
    assert 'class="faint"' in pages.get("/runs/0?smooth=5").text
    refused = pages.get("/runs/0?smooth=0")
    assert refused.status_code == 400
    assert "smooth" in refused.text


def test_pages_hold_no_style_and_no_script_of_their_own(run: Path, other: Path) -> None:
    pages = client(run, other)
    for address in ("/", "/runs/0", "/runs/0/curves/kl", "/compare", "/runs/0/evaluations"):
        answer = pages.get(address)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert re.search(r"\sstyle=|<style|<script(?! src=\")|\son\w+=", answer.text) is None
        assert re.search(r'(?:src|href)="(?:https?:)?//', answer.text) is None, address


def test_the_page_of_a_run_that_goes_on_asks_again(run: Path) -> None:
    (run / "summary.json").unlink()
    with hold_folder(run):
        assert "live.js" in client(run).get("/").text


def test_what_cannot_be_read_is_a_line_on_the_page(run: Path) -> None:
    (run / "evaluations" / "step-000003.json").write_text("{}")
    (run / "config.yaml").write_text("a: [")
    page = client(run).get("/runs/0")
    assert page.status_code == 200
    text = text_of(page.text)
    assert "step-000003.json: is no evaluation of a run" in text
    assert "config.yaml: cannot be read as a configuration" in text
    assert "Accuracy" in text


@pytest.mark.parametrize(
    ("file", "content", "line"),
    [
        ("config.yaml", "trainer:\n  steps: x\n", "done, 3 steps in 75 s"),
        ("config.yaml", "a: &a [*a]\n", "(nested too deeply)"),
        ("config.yaml", "a: " + "[" * 2_000, "(nested too deeply)"),
        ("evaluations/step-000003.json", "[" * 100_000, "is no evaluation of a run"),
        ("summary.json", '{"outcome": "done", "nodes": [{}]}', "is no summary of a run"),
    ],
)
def test_files_of_any_content_have_a_page(run: Path, file: str, content: str, line: str) -> None:
    (run / file).write_text(content)
    for address in ("/", "/runs/0/settings", "/runs/0/evaluations", "/compare"):
        assert client(run).get(address).status_code == 200
    assert line in text_of(client(run).get("/runs/0").text)


def test_figures_that_are_no_numbers_make_no_curve(run: Path) -> None:
    file = run / "evaluations" / "step-000003.json"
    file.write_text(file.read_text().replace("0.7", "NaN", 1))
    assert "is no evaluation of a run" in text_of(client(run).get("/runs/0").text)


def test_metrics_that_are_no_file_are_named(run: Path) -> None:
    (run / METRICS).unlink()
    (run / METRICS).mkdir()
    assert "metrics.jsonl: cannot be read (Is a directory)" in text_of(client(run).get("/").text)


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path) -> None:
    write_config(tmp_path / "new")
    text = text_of(client(tmp_path / "new").get("/").text)
    assert "No step has been trained yet" in text


def test_texts_of_a_run_are_escaped(run: Path) -> None:
    write_config(run, run="<script>alert(1)</script>")
    (run / "logs").mkdir()
    (run / "logs" / "trainer.log").write_text("12:00:00 trainer ERROR <b>bad</b>\n")
    pages = client(run)
    assert "&lt;script&gt;alert(1)" in pages.get("/runs/0/settings").text
    assert "&lt;b&gt;bad&lt;/b&gt;" in pages.get("/runs/0").text


def test_runs_are_listed_and_laid_over_each_other(run: Path, other: Path) -> None:
    pages = client(run, other)
    listed = text_of(pages.get("/").text)
    assert "run done step 3 of 40" in listed and "other not running step 4 of 40" in listed
    page = pages.get("/compare").text
    labels = re.findall(r'aria-label="Accuracy: all groups\. ([^"]*)"', page)
    assert labels and "run: " in labels[0] and "other: 0.900 at step 1" in labels[0]
    text = text_of(page)
    assert "permutation.n_s 1 0" in text, "settings that differ"
    assert "trainer.steps" not in text
    assert "trainer.steps 40 40" in text_of(pages.get("/compare?every=1").text)


def test_only_the_chosen_runs_are_compared(run: Path, other: Path) -> None:
    pages = client(run, other)
    assert "other" not in text_of(pages.get("/compare?runs=0").text).replace("each other", "")
    for wrong, status in (("x", 400), ("7", 404)):
        assert pages.get(f"/compare?runs={wrong}").status_code == status
    table = pages.get("/compare/accuracy?runs=0,1").text
    assert "All values of all groups" in text_of(table)


def test_evaluations_of_other_questions_are_not_laid_over_each_other(
    run: Path, other: Path
) -> None:
    write_evaluation(other, 0, 0.6)
    pages = client(run, other)
    assert "Held-out questions: accuracy" in text_of(pages.get("/compare").text)
    write_evaluation(other, 0, 0.6, digest="b" * 64)
    for address in ("/compare", "/compare/heldout"):
        text = text_of(pages.get(address).text)
        assert "asked different things, so they are left out" in text
        assert "Held-out questions: accuracy" not in text
        assert "0.700" not in text.partition("left out")[2].partition("Curves")[2]


def test_two_evaluations_stand_side_by_side(run: Path) -> None:
    text = text_of(client(run).get("/runs/0/evaluations").text)
    assert "accuracy 0.500 [0.450, 0.550] 0.700 [0.650, 0.750] +0.200" in text
    assert "Accuracy by place of the gold image" in text


def test_the_questions_of_two_evaluations_are_listed_one_by_one(run: Path) -> None:
    pages = client(run)
    text = text_of(pages.get("/runs/0/evaluations?show=gained").text)
    # 20 of 40 were right in the second order, 28 are.
    assert "worse 0 better 8 change with the order 10 wrong in every order 12" in text
    listed = text.partition("by order")[2]
    assert "q20 ✗ ✗ flips ✗ ✓ flips" in listed and "q27 ✗ ✗ ✗ ✓" in listed
    assert "q19" not in listed and "q28" not in listed
    assert "None." in text_of(pages.get("/runs/0/evaluations?show=lost").text)
    assert pages.get("/runs/0/evaluations?show=odd").status_code == 400


def test_evaluations_of_other_questions_are_refused_side_by_side(run: Path) -> None:
    write_evaluation(run, 3, 0.7, digest="b" * 64)
    answer = client(run).get("/runs/0/evaluations")
    assert answer.status_code == 409
    assert "asked different things" in answer.text


def test_a_step_that_was_not_evaluated_is_refused_with_those_that_were(run: Path) -> None:
    answer = client(run).get("/runs/0/evaluations?a=0&b=2")
    assert answer.status_code == 404
    assert "Step 2 was not evaluated; these were: 0, 3." in answer.text


@pytest.mark.parametrize("address", ["/runs/0/curves/none", "/runs/9", "/compare/none"])
def test_what_is_not_there_is_one_line(run: Path, address: str) -> None:
    answer = client(run).get(address)
    assert answer.status_code == 404
    assert '<p class="note bad">There is no' in answer.text
