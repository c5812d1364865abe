"""Admission of requests: hosts, API keys, a bound on how many are answered at once, and the reading of their bodies."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
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

PATHS = frozenset({"/v1/chat/completions", "/v1/models", "/health", "/metrics"})  # others may hold anything
# nothing of an answer is shown or run by a page of another origin
HEADERS = ((b"cross-origin-resource-policy", b"same-origin"), (b"x-content-type-options", b"nosniff"))


class Guard:
    """ASGI middleware: checks who may ask and how many at once, and counts how requests ended."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self.app, self.service, self.busy = app, service, Counter[str]()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with self.service.settled():
            await self._visit(scope, receive, send)

    async def _visit(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"] if scope["path"] in PATHS else "other"
        visit = Visit(receive, send)
        key_holder = self.service.keys.holder(Headers(scope=scope).get("authorization", ""))
        address = str((scope.get("client") or ("",))[0])
        # a single key is everybody's: then addresses take turns
        client = key_holder if key_holder and len(self.service.keys) > 1 else address
        error = self._refusal(scope, path, key_holder, client)
        try:
            if error is not None:
                await JSONResponse(error.body, error.status, error.headers)(scope, visit.receive, visit.send)
            else:
                scope.setdefault("state", {})["client"] = client
                await self._answer(scope, visit, client)
        finally:
            self.service.metrics.requests.labels(path, visit.status).inc()
            if self.service.log is not None:
                who = key_holder or address
                self.service.log.write(who, scope["method"], path, visit.status, visit.began, visit.bytes_in, visit.bytes_out)

    async def _answer(self, scope: Scope, visit: Visit, client: str) -> None:
        async def placeless(message: MutableMapping[str, Any]) -> None:
            self.busy[client] -= 1  # who does not read what is sent keeps no place from others
            try:
                await visit.send(message)
            finally:
                self.busy[client] += 1

        self.busy[client] += 1
        try:
            await self.app(scope, visit.receive, placeless)
        finally:
            self.busy[client] -= 1
            if not self.busy[client]:
                del self.busy[client]

    def _refusal(self, scope: Scope, path: str, key_holder: str | None, client: str) -> ApiError | None:
        headers, server = Headers(scope=scope), scope.get("server") or ("",)
        problem = self.service.hosts.refusal(headers.get("host"), headers.get("origin"), str(server[0]))
        if problem is not None:
            return ApiError(403, problem, code="foreign_request")
        if path == "/health":
            return None
        if len(self.service.keys) and key_holder is None:
            return ApiError(401, "the API key is missing or wrong; send Authorization: Bearer KEY", code="invalid_api_key")
        most = self.service.limits.connections
        if self.busy.total() >= most or (client == key_holder and self.busy[client] >= self.service.share(most)):
            return ApiError(503, f"{self.busy.total()} requests are being answered; come again in a second", code="busy")
        return None


class Visit:
    """Measurements of one request: its start, its status, and the bytes in and out."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self.began, self.status, self.bytes_in, self.bytes_out = time.monotonic(), 0, 0, 0

    async def receive(self) -> MutableMapping[str, Any]:
        """A part of the request."""
        message = await self._receive()
        self.bytes_in += len(message.get("body", b""))
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """A part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *HEADERS]}
        self.bytes_out += len(message.get("body", b""))
        await self._send(message)


class Body:
    """A request on its way in; while it is open, its bytes count among those that the server holds."""

    def __init__(self, request: Request, service: Service) -> None:
        self._request, self._service, self._body_bytes = request, service, 0
        self._client = str(getattr(request.state, "client", ""))

    def __enter__(self) -> Body:
        return self

    def __exit__(self, *_: object) -> None:
        self._service.hold(-self._body_bytes, self._client)

    async def read(self) -> ChatRequest:
        """Read the whole request. ApiError 400, 408, 413, 415 or 429."""
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
            self._service.hold(len(part), self._client)
            self._body_bytes += len(part)
            content += part
        return bytes(content)
