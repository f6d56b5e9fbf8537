"""The pages of groups in a real browser: links, keys, filters, widths, and what models write.

Needs Chromium (``apt-get install chromium``); without it these tests are skipped.
"""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Page, expect

from perl_rl.view.app import create_app
from perl_rl.view.links import part
from shared.service.serve import bind
from tests.group_records import write_run
from tests.hostile_records import GROUP, SAMPLE, write_hostile_run
from tests.integration.browsing import NEEDS_CHROMIUM
from tests.waiting import wait_until

pytestmark = NEEDS_CHROMIUM

WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A view of two runs: one with hostile texts, one with eight orders of three images."""
    first, second = (tmp_path_factory.mktemp(name) for name in ("hostile", "wide"))
    write_run(first, steps=12, groups_per_step=6)
    write_hostile_run(first)
    write_run(second, steps=2, orders=6, n=8)
    yield from served(first, second)


def served(*runs: Path, token: str | None = None) -> Iterator[str]:
    listener: socket.socket = bind("view", "127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(create_app(runs, token), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    wait_until(lambda: server.started, "the view to start", 10)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


def overflow(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    wide: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return wide


def press(page: Page, key: str) -> None:
    """Press a key on a page whose script has run."""
    page.wait_for_load_state("load")
    page.keyboard.press(key)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_at_both_widths(page: Page, address: str, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    paths = (
        *("/", "/runs/0/groups", "/runs/0/steps/3", "/runs/0/groups/g00000002"),
        *("/runs/0/groups/g00000002/responses/1", f"/runs/0/groups/{GROUP}"),
        *(f"/runs/0/groups/{GROUP}/responses/0", f"/runs/0/samples/{part(SAMPLE)}"),
        *("/runs/1/groups", "/runs/1/groups/g00000001"),
    )
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        for path in paths:
            page.goto(address + path)
            assert overflow(page) <= 0, f"{path} at {width}"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(15, 19, 25)") == (scheme == "dark")


def test_what_models_write_is_text_and_nothing_else(page: Page, address: str) -> None:
    for path in (
        *("/runs/0/groups", f"/runs/0/groups/{GROUP}", f"/runs/0/samples/{part(SAMPLE)}"),
        f"/runs/0/groups/{GROUP}/responses/0",
    ):
        page.goto(address + path)
        assert page.evaluate("document.scripts.length") == 1
        assert page.evaluate("document.querySelectorAll('img[onerror]').length") == 0
        assert "taken" not in page.title().split()
    expect(page.locator("pre.text")).to_contain_text("<script>document.title='taken'</script>")
    expect(page.locator("pre.text")).to_contain_text(r"right \u{202e}to left")


def test_pictures_load_and_open(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0/groups/g00000002")
    pictures = page.locator(".order img.thumb")
    assert pictures.count() == 6
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("image => image.complete", arg=picture.element_handle())
        assert picture.evaluate("image => image.naturalWidth") == 96
    link = page.locator(".order .slot a").first.get_attribute("href")
    answer = page.request.get(page.evaluate("link => new URL(link, location).href", link))
    assert answer.headers["content-type"] == "image/png"


def test_filters_sort_and_search_keep_their_address(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0/groups")
    every = int(page.locator("h1 .quiet").inner_text())
    page.get_by_role("link", name="flipped between orders").click()
    assert "only=flipped" in page.url
    rows = page.locator("tbody tr")
    flipped = rows.count()
    assert 0 < flipped < every
    assert page.locator("tbody .chip.bad").count() == flipped
    page.get_by_label("From step").fill("11")
    page.get_by_role("button", name="Show").click()
    assert "only=flipped" in page.url and "first=11" in page.url
    assert 0 < rows.count() < flipped
    page.get_by_role("link", name="Accuracy").click()
    page.get_by_role("link", name="Accuracy").click()
    shares = [int(text.split()[0]) for text in page.locator("tbody .acc").all_inner_texts()]
    assert shares == sorted(shares)
    press(page, "/")
    page.keyboard.type("no such words")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No group is like that")).to_be_visible()


def test_keys_go_through_the_filtered_groups_and_their_responses(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0/groups?only=dropped")
    names = page.locator("tbody .id a").all_inner_texts()
    page.locator("tbody .id a").first.click()
    expect(page.locator("h1")).to_contain_text(names[0])
    press(page, "j")
    expect(page.locator("h1")).to_contain_text(names[1])
    press(page, "k")
    expect(page.locator("h1")).to_contain_text(names[0])
    page.locator(".tile").nth(4).click()
    expect(page.locator("h1")).to_contain_text("Response 5")
    press(page, "j")
    expect(page.locator("h1")).to_contain_text("Response 6")
    press(page, "u")
    expect(page.locator("h1")).to_contain_text(names[0])
    press(page, "u")
    assert page.url.endswith("?only=dropped")


def test_tokens_are_coloured_in_each_way(page: Page, address: str) -> None:
    page.goto(f"{address}/runs/0/groups/g00000002/responses/0")
    colour = "token => getComputedStyle(token).backgroundColor"
    seen = {}
    log_p = "log-probability, "
    for way in (f"{log_p}sampler", f"{log_p}trainer", "mismatch", "advantage", "policy version"):
        page.get_by_text(way, exact=True).click()
        assert page.locator(".scale:visible").count() == 1
        tokens = page.locator(".tokens .token").all()
        seen[way] = tuple(token.evaluate(colour) for token in tokens)
    assert len(set(seen[f"{log_p}sampler"])) > 1
    # Sampler and trainer differ by less than a shade here.
    del seen[f"{log_p}trainer"]
    assert len(set(seen.values())) == 4


def test_the_login_form_opens_the_page(page: Page, tmp_path: Path) -> None:
    write_run(tmp_path, steps=1)
    for address in served(tmp_path, token="secret"):
        page.goto(f"{address}/runs/0/groups")
        assert page.url.endswith("/login")
        page.get_by_label("Token").fill("secret")
        page.get_by_role("button", name="Log in").click()
        page.goto(f"{address}/runs/0/groups/g00000001")
        expect(page.locator(".tile")).to_have_count(6)
