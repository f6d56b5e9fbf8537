"""A small server that answers like the Hugging Face Hub: it has one data set, whose files a test
gives, and takes models.

The Hub's own library talks to it.
"""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

JSON = {"Content-Type": "application/json"}


class ScriptedHub:
    """One data set, ``digits/pairs``, with one commit.

    Args:
        files: content by path in the data set.
    """

    repository = "digits/pairs"
    commit = "c0ffee" + "0" * 34

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[str] = []
        self.pushed: dict[str, bytes] = {}
        """Content by path of what was uploaded."""
        self.visibility: str | None = None
        """Of the repository that was made."""

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve on this machine; gives the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                hub.requests.append(f"{self.command} {path}")
                self._answer(*hub.answer(path))

            do_HEAD = do_GET

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.requests.append(f"POST {self.path}")
                address = f"http://{self.headers['Host']}"
                self._answer(200, json.dumps(hub.take(self.path, body, address)).encode(), JSON)

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def take(self, path: str, body: bytes, address: str) -> dict[str, object]:
        """What a request changes and is answered."""
        if path == "/api/repos/create":
            made = json.loads(body)
            self.visibility = made["visibility"]
            return {"url": f"{address}/{made['organization']}/{made['name']}"}
        if "/preupload/" in path:
            named = [file["path"] for file in json.loads(body)["files"]]
            how = {"uploadMode": "regular", "shouldIgnore": False}
            return {"files": [{"path": one, **how} for one in named]}
        if "/commit/" in path:
            lines = [json.loads(line) for line in body.splitlines()]
            files = [line["value"] for line in lines if line["key"] == "file"]
            self.pushed |= {file["path"]: base64.b64decode(file["content"]) for file in files}
            model = path.removeprefix("/api/models/").partition("/commit/")[0]
            url = f"{address}/{model}/commit/{self.commit}"
            return {"commitUrl": url, "commitOid": self.commit}
        return {"errors": [], "warnings": []}

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        about = f"/api/datasets/{self.repository}"
        if path in (about, f"{about}/revision/main", f"{about}/revision/{self.commit}"):
            files = [{"rfilename": name} for name in self.files]
            body = {"id": self.repository, "sha": self.commit, "siblings": files}
            return 200, json.dumps(body).encode(), JSON
        if path.startswith(f"{about}/revision/"):
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        start = f"/datasets/{self.repository}/resolve/{self.commit}/"
        content = self.files.get(path.removeprefix(start)) if path.startswith(start) else None
        if content is None:
            known = path.startswith(start)
            return 404, b"{}", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"}
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return 200, content, {"ETag": etag, "X-Repo-Commit": self.commit}
