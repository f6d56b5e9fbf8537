"""A real Prometheus that scrapes services of a test, with the project's own configuration."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from shared.service.ports import free_port
from tests.paths import ROOT
from tests.waiting import wait_until

MONITORING = ROOT / "monitoring"
MISSING = "Prometheus is not installed: apt-get install prometheus, which brings promtool too"
_TIMEOUT_S = 60.0
_EVERY = "1s"


def promtool(*words: str, folder: Path = MONITORING) -> str:
    """Run promtool; fails when it finds a mistake, and skips the test where it is missing."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip(MISSING)
    done = subprocess.run(
        [found, *words], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """A server with ``monitoring/prometheus.yml``, and other addresses, in its own process.

    Args:
        targets: by job, the address that is scraped.
        token: the bearer token of the services.
    """

    def __init__(self, folder: Path, targets: Mapping[str, str], token: str) -> None:
        folder.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        self._targets = set(targets)
        file = folder / "prometheus.yml"
        file.write_text(yaml.safe_dump(_configured(folder, targets, token)))
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("prometheus", f"--config.file={file}"),
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address={self.url.removeprefix('http://')}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def until_up(self) -> None:
        """Wait until it answers."""
        wait_until(self._ready, lambda: self._log.read_text(), _TIMEOUT_S)

    def _ready(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"{self.url}/-/ready", timeout=5.0).is_success
        except httpx.TransportError:
            return False

    def ask(self, expression: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series that an expression gives, now or at a time in seconds since 1970.

        Raises:
            AssertionError: when it is no valid expression.
        """
        form = {"query": expression} | ({} if at is None else {"time": str(at)})
        answer = httpx.post(f"{self.url}/api/v1/query", data=form, timeout=30.0).json()
        assert answer["status"] == "success", (expression, answer)
        result = answer["data"]["result"]
        # A scalar comes as the time and its value.
        return result if answer["data"]["resultType"] != "scalar" else [{"value": result}]

    def rules(self) -> list[dict[str, Any]]:
        """The alert rules with their state."""
        groups = httpx.get(f"{self.url}/api/v1/rules", timeout=30.0).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def close(self) -> None:
        """End the server."""
        self._process.terminate()
        self._process.wait(timeout=_TIMEOUT_S)


def _configured(folder: Path, targets: Mapping[str, str], token: str) -> dict[str, Any]:
    """The project's configuration with these addresses, and short intervals."""
    config: dict[str, Any] = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    (folder / "token").write_text(token)
    for name in ("scrape_interval", "evaluation_interval"):
        config["global"][name] = _EVERY
    config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
    assert {job["job_name"] for job in config["scrape_configs"]} == set(targets)
    for job in config["scrape_configs"]:
        job["authorization"]["credentials_file"] = str(folder / "token")
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    return config
