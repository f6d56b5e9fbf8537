"""Sends spans with OpenTelemetry's SDK, in a thread, from a bounded queue.

Imported only when tracing is on (``tracing.py``). A collector that fails costs spans, not time:
whoever adds a span never waits.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

logger = logging.getLogger(__name__)

_QUEUE = 2048
"""Spans that wait to be sent; of more the newest are dropped."""
_BATCH = 256
_EVERY_MS = 1000
_TIMEOUT_S = 5.0
"""For one batch, with the library's repetitions."""


class Exporter:
    """Spans on their way to the collector; any thread may add some.

    Args:
        endpoint: where they are posted.
        service: the name that collectors show.
        node: of this process.
    """

    def __init__(self, endpoint: str, service: str, node: str) -> None:
        self._lock = threading.Lock()
        self._waiting = self.sent = self.dropped = 0
        self._ids = _GivenIds()
        # The failures are told in one line of ours, not one a batch.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._provider = TracerProvider(
            # Which groups have a trace is decided already; no variable of the environment may.
            sampler=ALWAYS_ON,
            resource=Resource.create({"service.name": service, "service.instance.id": node}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        counted = _Counted(OTLPSpanExporter(endpoint, timeout=_TIMEOUT_S), endpoint, self._done)
        self._provider.add_span_processor(
            BatchSpanProcessor(
                counted,
                # It never fills up: `send` drops first, and counts.
                max_queue_size=2 * _QUEUE,
                schedule_delay_millis=_EVERY_MS,
                max_export_batch_size=_BATCH,
            )
        )
        self._tracer = self._provider.get_tracer("perl")

    def send(
        self,
        name: str,
        trace: int,
        root: int,
        is_root: bool,
        began: float,
        ended: float,
        attributes: Mapping[str, str | int | float],
    ) -> None:
        """Queue one span of `trace`, a child of the span `root` or that span itself.

        Args:
            began, ended: seconds since 1970; one that ends before it begins has no length.
        """
        with self._lock:
            if self._waiting >= _QUEUE:
                self.dropped += 1
                return
            self._waiting += 1
            self._ids.given = (trace, root) if is_root else None
            span = self._tracer.start_span(
                name,
                context=Context() if is_root else _below(trace, root),
                start_time=int(began * 1e9),
                attributes=attributes,
            )
        span.end(int(max(began, ended) * 1e9))

    def _done(self, number: int, taken: bool) -> None:
        with self._lock:
            self._waiting -= number
            self.sent += number * taken
            self.dropped += number * (not taken)

    def close(self) -> None:
        """Send what waits, and end the thread."""
        self._provider.shutdown()


def _below(trace: int, root: int) -> Context:
    """As if the span `root` were the current one."""
    parent = SpanContext(trace, root, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(parent), Context())


class _GivenIds(RandomIdGenerator):
    """The ids of a root are given; other spans get a random id."""

    given: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.given is None else self.given[0]

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self.given is None else self.given[1]


class _Counted(SpanExporter):
    """Counts what is sent and what fails, and says so when that changes."""

    def __init__(
        self, exporter: SpanExporter, endpoint: str, done: Callable[[int, bool], None]
    ) -> None:
        self._exporter, self._endpoint, self._done = exporter, endpoint, done
        self._fails = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        fails = result is not SpanExportResult.SUCCESS
        self._done(len(spans), not fails)
        if fails and not self._fails:
            logger.warning(
                "tracing.endpoint %s takes no spans; they are dropped, and the run goes on",
                self._endpoint,
            )
        elif self._fails and not fails:
            logger.info("tracing.endpoint %s takes spans again", self._endpoint)
        self._fails = fails
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
