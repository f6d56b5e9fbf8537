"""Requests made from the OpenAPI document of a rollout node that samples: no 5xx, and no hang."""

import pytest
from schemathesis.generation import GenerationMode

from tests.integration.live_node import TOKEN, LiveNode
from tests.integration.rollout_tasks import answers as task_answers
from tests.integration.rollout_tasks import ask
from tests.openapi_cases import answers, operations

pytestmark = pytest.mark.timeout(600)


def test_no_request_brings_down_a_node_that_samples(live_node: LiveNode) -> None:
    found = operations(live_node.node.url, TOKEN)
    for operation in found:
        answers(operation, GenerationMode.POSITIVE, TOKEN)
        # A request without parameters cannot be a wrong one.
        if operation.body or operation.path_parameters:
            assert answers(operation, GenerationMode.NEGATIVE, TOKEN) - {503}
    assert "/v1/chat/completions" in {operation.path for operation in found}
    assert live_node.node.ready
    assert len(task_answers(live_node, ask(live_node, 2))) == 2
