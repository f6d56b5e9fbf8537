"""A small server that answers like the Hugging Face Hub, for data sets whose files a test gives.

The Hub's own library talks to it.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


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

            def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        about = f"/api/datasets/{self.repository}"
        if path in (about, f"{about}/revision/main", f"{about}/revision/{self.commit}"):
            files = [{"rfilename": name} for name in self.files]
            body = {"id": self.repository, "sha": self.commit, "siblings": files}
            return 200, json.dumps(body).encode(), {"Content-Type": "application/json"}
        if path.startswith(f"{about}/revision/"):
            return 404, b"{}", {"X-Error-Code": "RevisionNotFound"}
        start = f"/datasets/{self.repository}/resolve/{self.commit}/"
        content = self.files.get(path.removeprefix(start)) if path.startswith(start) else None
        if content is None:
            known = path.startswith(start)
            return 404, b"{}", {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound"}
        etag = f'"{hashlib.sha1(content).hexdigest()}"'
        return 200, content, {"ETag": etag, "X-Repo-Commit": self.commit}
