"""Who is let in, and how many at once; and a request while it arrives."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import MutableMapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.schema import ChatRequest
from autoglm_lab.serve.service import Service

SIGNS = 100_000  # brackets and commas of a request: what it unpacks to may be fifty times as large as itself

# nothing of an answer is shown or run by a page of another origin
HEADERS = ((b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff"))


class Guard:
    """Around the application: who may ask, how many at once, and how requests ended."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service, self.busy = app, service, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, service = scope["path"], self.service
        label = path if path in ("/v1/chat/completions", "/v1/models", "/health", "/metrics") else "other"

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                service.metrics.requests.labels(label, message["status"]).inc()
                message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
            await send(message)

        async def placeless(message: MutableMapping[str, Any]) -> None:
            self.busy -= 1  # who does not read what is sent keeps no place from others
            try:
                await counted(message)
            finally:
                self.busy += 1

        error = self._foreign(scope) or (None if path == "/health" else self._refusal(scope))
        if error is not None:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, counted)
            return
        self.busy += 1
        try:
            await self.app(scope, receive, placeless)
        finally:
            self.busy -= 1

    def _foreign(self, scope: Scope) -> ApiError | None:
        """Refuse whoever asks under another name, or from a page of another origin."""
        headers, server = Headers(scope=scope), scope.get("server") or ("",)
        problem = self.service.hosts.refusal(headers.get("host"), headers.get("origin"), str(server[0]))
        return None if problem is None else ApiError(403, problem, code="foreign_request")

    def _refusal(self, scope: Scope) -> ApiError | None:
        key, most = self.service.api_key, self.service.limits.connections
        if key is not None and not _knows(scope, key):
            return ApiError(401, "the API key is missing or wrong; send Authorization: Bearer KEY", code="invalid_api_key")
        if self.busy >= most:
            return ApiError(503, f"{most} requests are being answered; come again in a second", code="busy")
        return None


def _knows(scope: Scope, key: str) -> bool:
    """Whether a request has the key; as long as it takes is no hint how much of it was right."""
    scheme, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("latin-1"), key.encode())


class Body:
    """A request on its way in; while it is open, its bytes count among those that the server holds."""

    def __init__(self, request: Request, service: Service) -> None:
        self._request, self._service, self._held = request, service, 0

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._service.hold(-self._held)

    async def read(self) -> ChatRequest:
        """The request, once it is there whole. ApiError 400, 408, 413, 415 or 429."""
        kind = self._request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # what a page of another origin may post without being asked first is none
            raise ApiError(415, f"the body is {kind[:60]!r}; send Content-Type: application/json")
        patience_s = self._service.limits.upload_s
        try:
            async with asyncio.timeout(patience_s):
                content = await self._whole()
        except TimeoutError:
            raise ApiError(408, f"the request did not arrive within {patience_s:g} s") from None
        except ClientDisconnect:
            raise ApiError(408, "the client went away") from None
        if sum(content.count(sign) for sign in (b"{", b"[", b",")) > SIGNS:
            raise ApiError(413, "the request has too many values", code="request_too_large")
        try:
            return ChatRequest.model_validate_json(content)
        except ValidationError as error:
            problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(str(part) for part in problem["loc"])[:100] or None
            raise ApiError(400, f"{where or 'the body'}: {problem['msg'][:300]}", param=where, code="invalid_value") from None

    async def _whole(self) -> bytes:
        most = self._service.limits.body_bytes
        too_much = ApiError(413, f"the request has more than {most:,} bytes", code="request_too_large")
        length = self._request.headers.get("content-length", "")
        if length.isdigit() and int(length) > most:
            raise too_much
        content = bytearray()
        async for part in self._request.stream():
            if len(content) + len(part) > most:
                raise too_much
            self._service.hold(len(part))
            self._held += len(part)
            content += part
        return bytes(content)
