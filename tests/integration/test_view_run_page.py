"""The pages of runs in a real browser: widths, charts by mouse and keys, a run that goes on."""

import re
import threading
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from perl_rl.folder_lock import hold_folder
from perl_rl.view.app import create_app
from shared.service.serve import bind
from tests.eval_results import item, write
from tests.group_records import write_run
from tests.integration.browsing import NEEDS_CHROMIUM
from tests.view_runs import (
    step_row,
    write_config,
    write_evaluation,
    write_metrics,
    write_summary,
)
from tests.waiting import wait_until

pytestmark = NEEDS_CHROMIUM

STEPS = 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run that has ended, and one without a record and without an end."""
    first, second = (tmp_path_factory.mktemp("runs") / name for name in ("first", "second"))
    write_run(first, steps=STEPS)
    for run in (first, second):
        write_metrics(run, [step_row(step, kl=step / 10) for step in range(1, STEPS + 1)])
        write_config(run)
    write_summary(first)
    for step, accuracy in ((0, 0.5), (STEPS, 0.7)):
        write_evaluation(first, step, accuracy)
    return [first, second]


@pytest.fixture(scope="module")
def address(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("results")
    patterns = {"a": "-+-+-+", "b": "++++++"}
    orders = tuple(permutations(range(3)))
    results = [
        write(
            folder / f"{name}.json",
            [item(f"item {number}", pattern, orders) for number in range(9)],
        )
        for name, pattern in patterns.items()
    ]
    with bind("view", "127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(create_app([*runs, *results]), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_until(lambda: server.started, "the view to start", 10)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits(page: Page, address: str, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": width, "height": 900})
    for path in (
        *("/", "/runs/0", "/runs/1", "/runs/0/curves/accuracy", "/runs/0/curves/heldout"),
        *("/runs/0/settings", "/runs/0/evaluations", "/compare", "/compare/accuracy"),
        *("/results/0", "/results/0-1", "/results/0-1/items/item%200"),
    ):
        page.goto(address + path)
        wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, f"{path} is {wide} pixels too wide"


def test_a_chart_is_read_by_mouse_and_opens_the_step(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0")
    chart = page.locator("#chart-kl [data-chart]")
    chart.scroll_into_view_if_needed()
    box = chart.locator("svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 30)
    expect(chart.locator(".tip")).to_have_text(re.compile(rf"step {STEPS}\s*KL 1\.2"))
    page.mouse.move(0, 0)
    expect(chart.locator(".tip")).to_have_count(0)
    page.mouse.click(box["x"] + 50, box["y"] + 30)
    page.wait_for_url(f"{address}/runs/0/steps/1")


def test_a_chart_is_read_by_keys(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0")
    chart = page.locator("#chart-kl [data-chart]")
    chart.locator("svg").focus()
    page.keyboard.press("Home")
    expect(chart.locator("[role=status]")).to_contain_text("step 1")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(chart.locator("[role=status]")).to_have_text(re.compile(r"step 3\s*KL 0\.300"))
    page.keyboard.press("Escape")
    expect(chart.locator(".tip")).to_have_count(0)
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{address}/runs/0/steps/1")


def test_a_live_page_takes_in_what_is_new_and_keeps_its_place(
    page: Page, address: str, runs: list[Path]
) -> None:
    live = runs[1]
    # One chart a row: each that comes moves all below it.
    page.set_viewport_size({"width": 390, "height": 900})
    with hold_folder(live):
        page.goto(f"{address}/runs/1")
        kl = page.locator("#chart-kl")
        top = "document.getElementById('chart-kl').getBoundingClientRect().top"
        page.evaluate("document.getElementById('chart-kl').scrollIntoView()")
        before = page.evaluate(top)
        # The record brings a chart that stands above this one.
        write_run(live, steps=STEPS)
        write_metrics(live, [step_row(step, kl=step / 10) for step in range(1, STEPS + 2)])
        expect(kl).to_contain_text("KL 1.3", timeout=20_000)
        expect(page.locator("#chart-flips")).to_have_count(1)
        assert page.evaluate("window.scrollY") > 0
        assert page.evaluate(top) == pytest.approx(before, abs=1)
        page.locator("#chart-kl svg").focus()
        page.keyboard.press("End")
        write_metrics(live, [step_row(step, kl=step / 10) for step in range(1, STEPS + 3)])
        expect(page.locator("#head")).to_contain_text(f"step {STEPS + 2} of", timeout=20_000)
        expect(kl.locator(".tip")).to_contain_text(f"step {STEPS + 1}")
        page.keyboard.press("Escape")
    write_summary(live)
    page.evaluate("document.activeElement.blur()")
    expect(page.locator("#head")).to_contain_text("done", timeout=20_000)
