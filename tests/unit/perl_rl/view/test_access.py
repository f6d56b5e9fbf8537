"""Who may see the pages."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from perl_rl.view.app import create_app
from tests.group_records import write_run

HTML = {"accept": "text/html"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, steps=1)
    return folder


def client(run: Path, token: str | None = None, host: str = "127.0.0.1:8770") -> TestClient:
    return TestClient(create_app([run], token), base_url=f"http://{host}", follow_redirects=False)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8770", "localhost", "LOCALHOST:80", "[::1]:8770", "10.1.2.3:8770"]
)
def test_addresses_and_this_machine_are_answered(run: Path, host: str) -> None:
    assert client(run, host=host).get("/").status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8770", "localhost.x", ""])
def test_another_name_is_refused_without_a_token(run: Path, host: str) -> None:
    answer = client(run).get("/", headers={"host": host})
    assert answer.status_code == 421 and "perl-rl view printed" in answer.text


def test_with_a_token_any_name_is_answered_and_nothing_without_it(run: Path) -> None:
    pages = client(run, "secret", "node.cluster")
    for path in ("/", "/static/../runs/0/groups", "/runs/0/groups/g00000000", "/no"):
        assert pages.get(path).status_code == 401, path
    answer = pages.get("/runs/0/groups", headers=HTML)
    assert answer.status_code == 303 and answer.headers["location"] == "/login"
    assert pages.get("/healthz").json() == {"status": "ok"}


def test_the_header_and_the_form_let_in(run: Path) -> None:
    pages = client(run, "secret")
    assert pages.get("/", headers={"authorization": "Bearer secret"}).status_code == 200
    assert pages.get("/", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert "not the token" in pages.post("/login", data={"token": "wrong"}).text
    assert pages.get("/").status_code == 401
    answer = pages.post("/login", data={"token": "secret"})
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "secret" not in cookie
    assert pages.get("/").status_code == 200


def test_a_cookie_with_any_bytes_is_no_token(run: Path) -> None:
    pages = client(run, "secret")
    for cookie in (r'perl_view="\351"', "perl_view=\xe9", "perl_view"):
        answer = pages.get("/", headers={"cookie": cookie.encode("latin-1")})
        assert answer.status_code == 401, cookie


def test_a_form_that_is_too_large_is_refused(run: Path) -> None:
    assert client(run, "secret").post("/login", data={"token": "x" * 10_000}).status_code == 413


@pytest.mark.parametrize("path", ["/", "/runs/0/groups", "/static/style.css", "/no", "/login"])
def test_every_answer_forbids_what_is_not_from_here(run: Path, path: str) -> None:
    headers = client(run).get(path).headers
    assert headers["content-security-policy"].startswith("default-src 'none'; img-src 'self'")
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_the_pages_only_read(run: Path, method: str) -> None:
    assert client(run).request(method, "/runs/0/groups").status_code == 405
