"""Spans of groups, sent by OTLP; off, it imports nothing and does nothing.

Nothing travels in the messages: a trace's id and its root's are digests of run, incarnation and
group, so every service puts its spans into the same trace, also of work that is delivered twice.
When an entry was queued is the time in its id, which is Redis' clock.
"""

import hashlib
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from prometheus_client.core import CounterMetricFamily, Metric

from shared.config.tracing import TracingConfig
from shared.errors import UserError
from shared.wire.messages import PolicyVersion

if TYPE_CHECKING:
    from shared.service.otlp import Exporter

PACKAGES = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")

_CLOSE_S = 3.0

Attribute = str | int | float


class Named(Protocol):
    """What names a group: a task."""

    @property
    def group_id(self) -> str:
        """The group."""

    @property
    def issued_at(self) -> PolicyVersion:
        """Policy version at its issue."""


class Spans:
    """One process's spans.

    Args:
        run: the run's name.
        service: which one it is, as collectors show it.
        node: its name.

    Raises:
        UserError: when tracing is on and its packages are missing.
    """

    def __init__(self, run: str, tracing: TracingConfig, service: str, node: str) -> None:
        self._run, self._share = run, tracing.share
        self._exporter: Exporter | None = None
        if tracing.enabled:
            check_packages(tracing)
            from shared.service import otlp

            self._exporter = otlp.Exporter(tracing.endpoint, f"perl-{service}", node)

    def of(self, task: Named) -> "GroupTrace | None":
        """The trace of a group; None when it has none."""
        if self._exporter is None:
            return None
        name = f"{self._run}/{task.issued_at.incarnation}/{task.group_id}"
        digest = hashlib.sha256(name.encode()).digest()
        if int.from_bytes(digest[24:]) >= self._share * 2**64:
            return None
        trace, root = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
        return GroupTrace(self._exporter, trace, root, task.group_id)

    @property
    def on(self) -> bool:
        """Whether there are traces at all."""
        return self._exporter is not None

    @property
    def dropped(self) -> int:
        """Spans that were lost, because the collector did not take them."""
        return 0 if self._exporter is None else self._exporter.dropped

    def collect(self) -> Iterator[Metric]:
        """Prometheus metrics of this process's spans; none when tracing is off."""
        if self._exporter is not None:
            yield CounterMetricFamily(
                "perl_spans_sent", "Spans that the collector took", value=self._exporter.sent
            )
            yield CounterMetricFamily(
                "perl_spans_dropped", "Spans that were lost", value=self._exporter.dropped
            )

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        if self._exporter is not None:
            # Not on the caller's thread, and a daemon: a collector that hangs must not hold it.
            closing = threading.Thread(target=self._exporter.close, daemon=True)
            closing.start()
            closing.join(_CLOSE_S)


NO_SPANS = Spans("", TracingConfig(), "", "")
"""For who traces nothing."""


class GroupTrace:
    """The trace of one group. Times are in seconds since 1970."""

    def __init__(self, exporter: "Exporter", trace: int, root: int, group_id: str) -> None:
        self._exporter, self._trace, self._root = exporter, trace, root
        self._group_id = group_id

    def span(self, name: str, began: float, ended: float, **attributes: Attribute) -> None:
        """Add a part of the group's way."""
        self._exporter.send(name, self._trace, self._root, False, began, ended, attributes)

    def whole(self, began: float, ended: float, **attributes: Attribute) -> None:
        """Add the group's whole way, from its issue until it was settled: the parent of all."""
        attributes = {"perl.group": self._group_id, **attributes}
        self._exporter.send("group", self._trace, self._root, True, began, ended, attributes)


def check_packages(tracing: TracingConfig) -> None:
    """Check that the packages for traces are there, when tracing is on.

    Raises:
        UserError: naming the first that is not.
    """
    missing = _first_missing(PACKAGES) if tracing.enabled else None
    if missing is not None:
        raise UserError(
            f"tracing.enabled: the package {missing} is missing; pip install 'perl-rl[tracing]', "
            "or set tracing.enabled to false"
        )


def _first_missing(modules: Sequence[str]) -> str | None:
    for module in modules:
        try:
            found = find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            return module
    return None
