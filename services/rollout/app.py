"""The rollout service's routes: health, metrics, and vLLM's OpenAI API on the current policy."""

from argparse import Namespace
from collections.abc import Iterator

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Metric
from pydantic import BaseModel
from vllm.entrypoints.openai.chat_completion.api_router import router as chat_router
from vllm.entrypoints.openai.chat_completion.batch_serving import OpenAIServingChatBatch
from vllm.entrypoints.openai.chat_completion.serving import OpenAIServingChat
from vllm.entrypoints.openai.models.api_router import router as models_router
from vllm.entrypoints.openai.models.protocol import BaseModelPath
from vllm.entrypoints.openai.models.serving import OpenAIServingModels
from vllm.entrypoints.serve.exception_handling.register import init_exception_handler
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM

from services.rollout.node import Node
from services.rollout.refusals import refuse_in_words
from services.rollout.versions import NamesVersions
from shared.config import Config
from shared.service.app import metrics_route, service_app
from shared.service.tracing import NO_SPANS, Spans
from shared.wire.registry import NodeState


class Readiness(BaseModel):
    """Answer of ``/readyz``; 503 while the state is not "ready"."""

    state: NodeState
    version: str | None


def create_app(node: Node, config: Config, spans: Spans = NO_SPANS) -> FastAPI:
    """The routes of one node; all but health want the token when one is configured.

    The OpenAI routes answer 503 until `open_api` has been called and the node is ready.
    """
    app, token_required = service_app(
        "PeRL rollout",
        config.security,
        {503: {"description": "The node is not ready to sample"}},
        max_body=config.rollout.max_request_mib * 2**20,
        body_setting="rollout.max_request_mib",
    )

    app.add_middleware(NamesVersions, node=node)

    async def ready() -> None:
        if not node.ready:
            raise HTTPException(503, f"the node is {node.state}; wait until /readyz answers 200")

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        info = node.info()
        body = Readiness(state=info.state, version=info.version)
        return JSONResponse(body.model_dump(), status_code=200 if node.ready else 503)

    for router in (models_router, chat_router):
        app.include_router(router, dependencies=[*token_required, Depends(ready)])
    # vLLM's routes and handlers read their options here.
    app.state.args = Namespace(log_error_stack=False, sse_keep_alive_interval=0)
    init_exception_handler(app)
    refuse_in_words(app)
    registry = CollectorRegistry()
    registry.register(node)
    registry.register(spans)
    registry.register(_EngineMetrics())
    metrics_route(app, registry, dependencies=token_required)
    return app


def open_api(app: FastAPI, engine: AsyncLLM, config: Config) -> None:
    """Put vLLM's OpenAI API around the engine; the model is called by the run's name."""
    models = OpenAIServingModels(
        engine, [BaseModelPath(name=config.run, model_path=str(config.model.path))]
    )
    template = {"chat_template": None, "chat_template_content_format": "auto"}
    renderer = OnlineRenderer(engine.model_config, engine.renderer, request_logger=None, **template)
    common = {"online_renderer": renderer, "request_logger": None, **template}
    app.state.openai_serving_models = models
    app.state.openai_serving_chat = OpenAIServingChat(engine, models, "assistant", **common)
    app.state.openai_serving_chat_batch = OpenAIServingChatBatch(
        engine, models, "assistant", **common
    )


class _EngineMetrics:
    """vLLM's own metrics, which it keeps in the process-wide registry."""

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield from REGISTRY.collect()
