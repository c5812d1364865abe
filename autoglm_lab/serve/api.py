"""The server: OpenAI's chat completions, health, models and metrics, around anything that schedules answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from autoglm_lab.serve.answers import Answer, streamed, whole
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.guard import Body, Guard
from autoglm_lab.serve.schema import ChatRequest, Completion, Refusal
from autoglm_lab.serve.service import Service

REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Refusal} for status in (400, 401, 403, 404, 408, 413, 415, 429, 503)}
BODY = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}}}


def application(service: Service) -> FastAPI:
    """The ASGI application around a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.attach(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(service.close)
        service.attach(None)

    app = FastAPI(
        title="AutoGLM Lab",
        summary="A tiny phone agent, as OpenAI's clients expect it.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,  # their pages run what other hosts send
        redirect_slashes=False,
    )

    app.add_middleware(Guard, service=service)
    _answer_errors(app)
    _add_routes(app, service)
    _describe(app)
    return app


def _answer_errors(app: FastAPI) -> None:
    """Let every error be answered in OpenAI's shape."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(ApiError(400, str(error.errors()[0]["msg"])).body, 400)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        messages = {
            404: f"there is no {request.url.path[:80]} here; there are /v1/chat/completions, /v1/models, /health, /metrics",
            405: f"{request.url.path[:80]} is not asked with {request.method}",
        }
        body = ApiError(error.status_code, messages.get(error.status_code, str(error.detail))).body
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return JSONResponse(ApiError(500, f"the server failed ({type(error).__name__})", code="server_failed").body, 500)


def _add_routes(app: FastAPI, service: Service) -> None:
    """Add what can be asked: health, metrics, models, and answers."""

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Say that it serves, and what; 503 while it cannot."""
        return {"status": "ok", "model": service.scheduler.name}

    @app.get("/metrics", response_class=Response)
    async def metrics() -> Response:
        """Measurements, as Prometheus reads them."""
        service.measure()
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")

    @app.get("/v1/models", responses={401: REFUSALS[401]})
    async def models() -> dict[str, Any]:
        """The one model that is served."""
        return {
            "object": "list",
            "data": [{"id": service.name, "object": "model", "created": 0, "owned_by": "autoglm-lab"}],
        }

    @app.post("/v1/chat/completions", response_model=Completion, responses=REFUSALS, openapi_extra={"requestBody": BODY})
    async def chat(request: Request) -> Response:
        """An answer to a conversation that ends in a screen, a command or a question."""
        with Body(request, service) as body:
            chat_request = await body.read()
            answer = Answer(service, chat_request, request.state.client)
            await service.submit_soon(answer.jobs)
            if chat_request.stream:
                return await streamed(answer, request)
            return await whole(answer, request)


def _describe(app: FastAPI) -> None:
    """Put the parts of a request, which is read by hand, into the description of the interface."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    app.openapi()["components"]["schemas"] |= {**parts, "ChatRequest": schema}
