"""Requests made from a service's OpenAPI document, and what it may answer to them."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.schemas import APIOperation

from shared.service.auth import bearer

PATIENCE_S = 20.0
"""For one answer; a client that waits longer fails the test."""

EXAMPLES = 15
"""For each operation and mode."""


def operations(address: str, token: str) -> list[APIOperation]:
    """The service's operations, as a stranger with the token reads of them."""
    document = schemathesis.openapi.from_url(f"{address}/openapi.json", headers=bearer(token))
    return [found.ok() for found in document.get_all_operations()]


def answers(operation: APIOperation, mode: GenerationMode, token: str) -> set[int]:
    """The status codes that one operation answered; fails at one it may not give."""
    seen: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(headers=bearer(token), timeout=PATIENCE_S)
        named = operation.definition.raw["responses"]
        assert answer.status_code < 500 or str(answer.status_code) in named, answer.content
        seen.add(answer.status_code)

    ask()
    return seen
