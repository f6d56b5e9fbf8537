"""The pages that `launch` serves beside a run, in a real browser, from its first line to its end.

The demo's start model, which answers by the place of an image, so that its groups flip. The run is
paused after its first steps, looked at, and goes on.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from perl_rl.demo.digits import write_data
from perl_rl.demo.model import INSTRUCTION
from shared.config import load_config
from tests.integration.browsing import NEEDS_CHROMIUM
from tests.integration.launched import SMALL_ENGINE, Launch
from tests.paths import START_MODEL
from tests.waiting import wait_until

pytestmark = [pytest.mark.timeout(600), NEEDS_CHROMIUM]

STEPS = 6
"""More than pass before a pause takes effect, which is asked for after the first one."""
PATIENCE_S = 120.0


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launch]:
    """A run that has just been started."""
    write_data(tmp_path / "data", train=40, held_out=3, skew=1.0, seed=3)
    settings = {
        "run": "view-test",
        "model": {"path": str(START_MODEL)},
        "data": {"train": "data/train.jsonl", "instruction": INSTRUCTION},
        "permutation": {"n_s": 1},
        "sampling": {"n": 2, "max_tokens": 24},
        "rollout": {"port": 0, "engine": SMALL_ENGINE},
        "reward": {"port": 0, "workers": 1, "filter": {"drop_uniform": False}},
        "trainer": {"port": 0, "steps": STEPS, "groups_per_step": 4, "max_staleness": 0},
        "view": {"port": 0},
    }
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(settings))
    launch = Launch(file, tmp_path / "run")
    yield launch
    launch.close()


def test_a_run_is_watched_from_its_first_line_to_its_export(
    launched: Launch, page: Page, browser: Browser, tmp_path: Path
) -> None:
    address = _address(launched)
    page.goto(address)
    expect(page.get_by_text("No step has been trained yet")).to_be_visible()
    _pause(launched)
    _see_the_page_follow(page)
    _read_a_chart(page)
    _read_a_flipped_group(page, address)

    launched.service("view").kill()
    launched.until(lambda: "starting them again" in launched.said(), "restart of the pages")
    _control(launched, "resume")
    assert launched.end() == 0, launched.said()
    assert launched.processes() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)
    _check_export(launched.folder, browser, tmp_path / "export")


def _address(launched: Launch) -> str:
    launched.until(lambda: "see it in a browser: http" in launched.said(), "the address")
    lines = launched.said().splitlines()
    (line,) = (one for one in lines if "see it in a browser" in one)
    assert lines.index(line) < lines.index(next(one for one in lines if "starting nodes" in one))
    address = line.rpartition(" ")[2]
    launched.until(lambda: _answers(address), "an answer of the pages")
    return address


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/healthz").status_code == 200
    except httpx.ConnectError:
        return False


def _control(launched: Launch, action: str) -> None:
    port = load_config(launched.folder / "config.yaml").trainer.port
    httpx.post(f"http://127.0.0.1:{port}/control/{action}").raise_for_status()


def _pause(launched: Launch) -> None:
    """Let the run stop between two of its first steps."""
    log = launched.folder / "logs" / "trainer.log"
    launched.until(lambda: log.exists() and "incarnation 1 starts" in log.read_text(), "trainer")
    launched.until(lambda: launched.steps() >= 1, "a step")
    _control(launched, "pause")


def _see_the_page_follow(page: Page) -> None:
    """The page that was opened before the first step shows it, and stays where it was."""
    expect(page.locator("#chart-staleness")).to_be_visible(timeout=PATIENCE_S * 1000)
    # It is made from the record, which is written a moment later, and moves the charts behind it.
    expect(page.locator("#chart-flips")).to_be_visible(timeout=PATIENCE_S * 1000)
    expect(page.locator("#head")).to_contain_text(re.compile(rf"step [1-{STEPS}] of {STEPS}"))
    expect(page.locator("#ledger")).to_contain_text("trained")
    expect(page.locator("#nodes")).to_contain_text("rollout-0")
    expect(page.locator("#nodes")).to_contain_text("ready")
    # Far from the end of the page, which gets shorter when what is waited for has come.
    top = "document.getElementById('chart-kl').getBoundingClientRect().top"
    page.evaluate("document.getElementById('chart-kl').scrollIntoView()")
    page.evaluate("document.querySelectorAll('section').forEach(one => one.dataset.old = '1')")
    before = page.evaluate(top)
    # The head tells for how many seconds the trainer has been paused, so it changes.
    expect(page.locator("#head[data-old]")).to_have_count(0, timeout=PATIENCE_S * 1000)
    assert page.evaluate("window.scrollY") > 0
    assert page.evaluate(top) == pytest.approx(before, abs=1)


def _read_a_chart(page: Page) -> None:
    """Values by mouse and by keys; a click opens the step."""
    chart = page.locator("[data-chart]").first
    chart.locator("svg").hover()
    expect(chart.locator(".tip")).to_contain_text(re.compile(r"^step \d.*all groups 0?\.?\d"))
    page.mouse.move(0, 0)
    expect(chart.locator(".tip")).to_have_count(0)
    chart.locator("svg").focus()
    page.keyboard.press("End")
    expect(chart.locator(".tip")).to_contain_text("step")
    chart.locator("svg").click()
    page.wait_for_url(re.compile(r"/runs/0/steps/\d+$"))


def _read_a_flipped_group(page: Page, address: str) -> None:
    flips = page.locator("tbody .chip", has_text="flips")

    def recorded() -> bool:
        page.goto(f"{address}/runs/0/steps/1")
        return flips.count() > 0

    wait_until(recorded, "a flipped group in the record of step 1", PATIENCE_S)
    page.get_by_role("link", name="flipped between orders").click()
    page.locator("tbody .id a").first.click()
    expect(page.locator("h1")).to_contain_text("flips between orders")
    group, name = page.url, page.locator("h1 .mono").inner_text()
    page.locator(".tile").first.click()
    expect(page.locator("pre.text")).to_contain_text("boxed")
    page.goto(group)
    page.locator("dl a[href*='samples/']").click()
    expect(page.locator("h1")).to_contain_text("Sample")
    expect(page.locator("tbody")).to_contain_text(name)


def _check_export(run: Path, browser: Browser, folder: Path) -> None:
    """The pages in a folder show the same, opened as files."""
    # In a process of its own: Playwright has an event loop in this one.
    command = (sys.executable, "-m", "perl_rl", "view", str(run), "--export", str(folder))
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto((folder / "index.html").as_uri())
    expect(page.locator("#head")).to_contain_text(f"done, {STEPS} of {STEPS} steps")
    expect(page.locator("#ledger")).to_contain_text("issued =")
    page.locator("[data-chart] svg").first.click()
    page.wait_for_url(re.compile(r"/runs/0/steps/\d+\.html$"))
    page.locator("tbody .id a").first.click()
    expect(page.locator("h1")).to_contain_text("g0")
    page.close()
    assert said == []
