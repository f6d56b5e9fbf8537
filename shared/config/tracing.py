"""Traces: what becomes of single groups on their way through the services."""

from pydantic import field_validator

from shared.config.section import Fraction, Section


class TracingConfig(Section):
    """Spans of groups, sent to a collector by OpenTelemetry's protocol (docs/monitoring.md)."""

    enabled: bool = False
    """Send spans. It needs the packages of ``pip install 'perl-rl[tracing]'`` in every service."""
    endpoint: str = "http://127.0.0.1:4318/v1/traces"
    """Where every service sends them: OTLP over HTTP. A collector that does not answer slows
    nothing down: spans are dropped and counted."""
    share: Fraction = 0.01
    """Share of the groups that have a trace. A group's name decides, the same in all services."""

    @field_validator("endpoint")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url
