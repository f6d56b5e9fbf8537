"""Says in plain words, in the shape of OpenAI's errors, why the API refuses a request."""

import re
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response
from vllm.entrypoints.serve.engine.protocol import ErrorInfo, ErrorResponse
from vllm.exceptions import VLLMError, VLLMValidationError

from services.rollout.engine.media import ONLY_DATA
from shared.problems import in_words

_Handler = Callable[[Request, Exception], Awaitable[Response]]

_FIELD = re.compile(r"[a-z][a-z0-9_]*")
# Steps on the way to a value that are no field of the request: pydantic's names of its types.
_TYPES = {"body", "str", "int", "float", "bool", "list", "dict", "default", "nullable", "union"}

# vLLM's names for pictures that come in no address, or in an empty one.
_PICTURES = re.compile("multi_modal_|_embeds")

_PART = (
    'must be {"type": "text", "text": ...} or {"type": "image_url", "image_url": {"url": '
    '"data:image/png;base64,..."}}'
)


def refuse_in_words(app: FastAPI) -> None:
    """Answer 400 and one sentence where vLLM's own handlers would show how it was found.

    Call it after vLLM's handlers have been added.
    """
    others = cast(_Handler, app.exception_handlers[VLLMError])

    @app.exception_handler(RequestValidationError)
    async def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = ".".join(_fields(first["loc"]))
        message = in_words(first)
        return _refusal(f"{field}: {message}" if field else message, field)

    # vLLM reads the parts of a message while it answers.
    @app.exception_handler(ValidationError)
    async def malformed_part(request: Request, error: ValidationError) -> Response:
        part = next((one for one in error.errors()[0]["loc"] if isinstance(one, int)), 0)
        return _refusal(f"messages: content part {part} {_PART}", "messages")

    # What vLLM makes of a number where it expects a list.
    @app.exception_handler(TypeError)
    async def mistaken(request: Request, error: TypeError) -> Response:
        return _refusal("a field of the request has a value of the wrong type", None)

    @app.exception_handler(VLLMValidationError)
    @app.exception_handler(ValueError)
    async def refused(request: Request, error: Exception) -> Response:
        if _PICTURES.search(str(error)):
            return _refusal(ONLY_DATA, None)
        return await others(request, error)


def _fields(place: Sequence[Any]) -> list[str]:
    return [
        str(one)
        for one in place
        if isinstance(one, int) or (_FIELD.fullmatch(one) and one not in _TYPES)
    ]


def _refusal(message: str, field: str | None) -> JSONResponse:
    status = HTTPStatus.BAD_REQUEST
    info = ErrorInfo(message=message, type="BadRequestError", param=field or None, code=status)
    return JSONResponse(ErrorResponse(error=info).model_dump(), status_code=status)
