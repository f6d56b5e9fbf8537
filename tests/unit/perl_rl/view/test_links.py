"""Links: relative, and the same pages in an export."""

from urllib.parse import urljoin

import pytest

from perl_rl.view.links import Exported, Links, page_file, part


def test_served_links_are_relative_and_keep_their_filters() -> None:
    link = Links("/runs/0/groups/g1", None).page("/runs/0/groups", text="a&b", first=None)
    assert urljoin("http://host/prefix/runs/0/groups/g1", link) == (
        "http://host/prefix/runs/0/groups?text=a%26b"
    )
    assert urljoin("http://host/", Links("/", None).page("/")) == "http://host/"


def test_exported_links_name_files_that_are_remembered() -> None:
    found = Exported()
    links = Links("/runs/0/groups/g1", found)
    link = links.page("/runs/0/groups", only="flipped", page=2)
    assert (
        urljoin("file:///x/runs/0/groups/g1.html", link)
        == "file:///x/runs/0/groups-page_2-" + (link.rpartition("-")[2])
    )
    assert found.pages == {"/runs/0/groups?page=2": link.removeprefix("../../../")}
    assert links.page("/runs/0/groups", page=1).endswith("/groups.html")
    assert links.file("/static/style.css") == "../../../static/style.css"
    assert found.files == {"/static/style.css": "static/style.css"}


@pytest.mark.parametrize("name", ["..", ".", "a/b", "é" * 300, "CON:", "x" * 400, "a b", "%2e"])
def test_any_name_is_one_file(name: str) -> None:
    file = page_file(f"/runs/0/samples/{part(name)}")
    folder, _, last = file.rpartition("/")
    assert folder == "runs/0/samples"
    assert len(last.encode()) < 120 and last.isascii() and not last.startswith(".")
    assert file != page_file(f"/runs/0/samples/{part(name + '_')}")
