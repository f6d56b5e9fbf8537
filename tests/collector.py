"""A real OTLP/HTTP collector: it decodes what exporters post, and keeps the spans."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from tests.served import served


@dataclass(frozen=True)
class Span:
    """One span as it arrived; times in seconds since 1970."""

    service: str
    node: str
    name: str
    trace: bytes
    id: bytes
    parent: bytes
    began: float
    ended: float
    attributes: dict[str, Any]


class Collector:
    """What has arrived, and how it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.answers = 200
        """The status of its answers; spans are kept only with 200."""


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector behind a free port."""
    collector = Collector()

    @asynccontextmanager
    async def opened() -> AsyncIterator[FastAPI]:
        app = FastAPI()

        @app.post("/v1/traces")
        async def traces(request: Request) -> Response:
            body = await request.body()
            if collector.answers == 200:
                collector.spans += _spans(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            return Response(answer, collector.answers, media_type="application/x-protobuf")

        yield app

    with served(opened) as url:
        collector.url = f"{url}/v1/traces"
        yield collector


def _spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in message.resource_spans:
        about = {one.key: one.value.string_value for one in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=about["service.name"],
                    node=about["service.instance.id"],
                    name=span.name,
                    trace=span.trace_id,
                    id=span.span_id,
                    parent=span.parent_span_id,
                    began=span.start_time_unix_nano / 1e9,
                    ended=span.end_time_unix_nano / 1e9,
                    attributes={
                        one.key: one.value.string_value or one.value.int_value
                        for one in span.attributes
                    },
                )
