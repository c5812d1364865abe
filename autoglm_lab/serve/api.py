"""The server: OpenAI's chat completions, health, models and metrics, around anything that schedules answers."""

from __future__ import annotations

import asyncio
import hmac
import json
import time
import uuid
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.jobs import TOO_LATE, Done, Event, Job, Scheduler, Told
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.reading import read_request
from autoglm_lab.serve.schema import ChatRequest, Completion, Refusal
from autoglm_lab.serve.speech import Piece

SIGNS = 100_000  # brackets and commas of a request: what it unpacks to may be fifty times as large as itself
WATCH_S = 0.05  # between two looks whether a client that waits is still there
REFUSALS: dict[int | str, dict[str, Any]] = {status: {"model": Refusal} for status in (400, 401, 404, 408, 413, 415, 429, 503)}
BODY = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/ChatRequest"}}}}


class Service:
    """A scheduler that can be exchanged under load, and the limits that hold for all requests."""

    def __init__(self, scheduler: Scheduler, limits: Limits | None = None, api_key: str | None = None) -> None:
        self.scheduler, self.limits, self.api_key = scheduler, limits or Limits(), api_key
        self.metrics = scheduler.metrics
        self.held = 0  # bytes of requests that wait for their first word
        self._loop: asyncio.AbstractEventLoop | None = None

    def attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """From now on events go to mailboxes of this loop; None when it ends."""
        self._loop = loop
        self.scheduler.post = self._post

    def swap(self, scheduler: Scheduler) -> None:
        """Another engine from the next request on; what the old one has begun it still ends. No request fails."""
        scheduler.metrics, scheduler.post = self.metrics, self._post
        old, self.scheduler = self.scheduler, scheduler
        old.close()

    def submit(self, jobs: list[Job]) -> None:
        """Give jobs to the scheduler; if it was just exchanged, to the one that came."""
        scheduler = self.scheduler
        try:
            scheduler.submit(jobs)
        except ApiError as error:
            if error.code != "closing" or scheduler is self.scheduler:
                raise
            self.scheduler.submit(jobs)

    def hold(self, count: int) -> None:
        """Make room for so many more bytes of requests; a negative number gives it back. ApiError 429 when too many are there."""
        if count > 0 and self.held + count > self.limits.held_bytes:
            raise ApiError(429, f"requests of {self.held:,} bytes are being read; come again in a second", code="memory_full")
        self.held += count

    def measure(self) -> None:
        """Bring the gauges up to date."""
        state = self.scheduler.state()
        self.metrics.waiting.set(state["waiting"])
        self.metrics.writing.set(state["writing"])

    def _post(self, told: Told) -> None:
        with suppress(RuntimeError):  # the loop has ended, and nobody reads any more
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_deliver, told)


def _deliver(told: Told) -> None:
    for job, event in told:
        job.mailbox.put_nowait(event)


def application(service: Service) -> FastAPI:
    """The ASGI application around a service."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.attach(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(service.scheduler.close)
        service.attach(None)

    app = FastAPI(title="AutoGLM Lab", summary="A tiny phone agent, as OpenAI's clients expect it.", lifespan=lifespan)

    app.add_middleware(Guard, service=service)

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        return JSONResponse(ApiError(400, str(error.errors()[0]["msg"])).body, 400)

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        told = {404: f"there is no {request.url.path[:80]} here; there are /v1/chat/completions, /v1/models, /health, /metrics",
                405: f"{request.url.path[:80]} is not asked with {request.method}"}  # fmt: skip
        body = ApiError(error.status_code, told.get(error.status_code, str(error.detail))).body
        return JSONResponse(body, error.status_code, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return JSONResponse(ApiError(500, f"the server failed ({type(error).__name__})", code="server_failed").body, 500)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Whether it serves, and what."""
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
            "data": [{"id": service.scheduler.name, "object": "model", "created": 0, "owned_by": "autoglm-lab"}],
        }

    @app.post("/v1/chat/completions", response_model=Completion, responses=REFUSALS, openapi_extra={"requestBody": BODY})
    async def chat(request: Request) -> Response:
        """An answer to a conversation that ends in a screen, a command or a question."""
        with Body(request, service) as body:
            asked = await body.read()
            answer = Answer(service, asked, request.client.host if request.client else "")
            service.submit(answer.jobs)
            if asked.stream:
                return await _streamed(answer, request)
            return await _whole(answer, request)

    _describe(app)
    return app


class Answer:
    """One request's answers on their way: what they have in common, and how they are written as JSON."""

    def __init__(self, service: Service, request: ChatRequest, client: str) -> None:
        self.service, self.request = service, request
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._deadline = time.monotonic() + service.limits.deadline_s
        self.jobs = [Job(asking, _Numbered(number, self._events), client, self._deadline)
                     for number, asking in enumerate(read_request(request, service.limits))]  # fmt: skip
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.model = service.scheduler.name
        self._thought = [False] * len(self.jobs)  # whether a thought stands before the action

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Everything that happens, with the number of the answer, until all have ended. ApiError for what went wrong."""
        left = len(self.jobs)
        while left:
            try:  # an engine that hangs must not keep its clients
                async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                    number, event = await self._events.get()
            except TimeoutError:
                raise TOO_LATE from None
            if isinstance(event, ApiError):
                raise event
            if isinstance(event, Done):
                left -= 1
                self._measure(self.jobs[number], event)
            yield number, event

    def give_up(self) -> None:
        """Nobody waits any more: what is not finished stops."""
        for job in self.jobs:
            job.cancelled = True

    def shown(self, number: int, piece: Piece) -> dict[str, str]:
        """A piece as fields of a message: a thought apart if that was asked for, otherwise before the action."""
        if piece.channel == "reasoning" and self.request.return_reasoning:
            return {"reasoning_content": piece.text, "reasoning": piece.text}
        between = "\n" if piece.channel == "content" and self._thought[number] else ""
        self._thought[number] = piece.channel == "reasoning"
        return {"content": between + piece.text}

    def usage(self, done: list[Done]) -> dict[str, Any]:
        """Tokens that were read and written."""
        read, written = done[0].prompt_tokens, sum(each.tokens for each in done)
        thought = sum(each.thought_tokens for each in done)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written,
                "completion_tokens_details": {"reasoning_tokens": thought}}  # fmt: skip

    def _measure(self, job: Job, done: Done) -> None:
        metrics, now = self.service.metrics, time.monotonic()
        metrics.read.inc(done.prompt_tokens)
        metrics.written.inc(done.tokens)
        metrics.whole.observe(now - job.began)
        if job.first is not None:
            metrics.first.observe(job.first - job.began)
            if done.tokens > 1 and now > job.first:
                metrics.speed.observe((done.tokens - 1) / (now - job.first))


class _Numbered:
    """A mailbox that says which answer an event belongs to."""

    def __init__(self, number: int, merged: asyncio.Queue[tuple[int, Event]]) -> None:
        self._number, self._merged = number, merged

    def put_nowait(self, event: Event) -> None:
        """Take one more."""
        self._merged.put_nowait((self._number, event))


async def _whole(answer: Answer, request: Request) -> Response:
    """All answers at once; they stop when the client goes away."""
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": ""} for _ in answer.jobs]
    done: list[Done | None] = [None] * len(answer.jobs)

    async def listen() -> None:
        async for number, event in answer.events():
            if isinstance(event, Done):
                done[number] = event
            elif isinstance(event, Piece):
                for field, text in answer.shown(number, event).items():
                    messages[number][field] = messages[number].get(field, "") + text

    listening, watching = asyncio.ensure_future(listen()), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((listening, watching), return_when=asyncio.FIRST_COMPLETED)
        if not listening.done():
            return Response(status_code=408)  # nobody reads it
        listening.result()
    finally:
        answer.give_up()
        for task in (listening, watching):
            task.cancel()
    ended = [each for each in done if each is not None]
    choices = [{"index": number, "message": messages[number], "logprobs": None, "finish_reason": each.reason}
               for number, each in enumerate(ended)]  # fmt: skip
    return JSONResponse({"id": answer.id, "object": "chat.completion", "created": answer.created, "model": answer.model,
                         "choices": choices, "usage": answer.usage(ended)})  # fmt: skip


async def _gone(request: Request) -> None:
    """Wait until the client has gone away."""
    while not await request.is_disconnected():
        await asyncio.sleep(WATCH_S)


async def _streamed(answer: Answer, request: Request) -> Response:
    """Answers piece by piece. What is wrong with a request is found before the first piece, and is still a proper refusal."""
    events = aiter(answer.events())
    first: asyncio.Future[Any] = asyncio.ensure_future(anext(events))
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((first, watching), timeout=answer.service.limits.keep_alive_s, return_when=asyncio.FIRST_COMPLETED)
        if first.done():
            first.result()
        elif watching.done():
            raise ApiError(408, "the client went away")
    except BaseException:
        answer.give_up()
        first.cancel()
        raise
    finally:
        watching.cancel()
    return Events(answer, _chunks(answer, events, first), first)


class Events(StreamingResponse):
    """A stream of server-sent events. However it ends, nothing is computed for it any more."""

    def __init__(self, answer: Answer, chunks: AsyncIterator[str], first: asyncio.Future[Any]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(chunks, media_type="text/event-stream", headers=headers)
        self.answer, self.first = answer, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answer.give_up()
            _drop(self.first)


def _drop(coming: asyncio.Future[Any]) -> None:
    """Nobody wants to know any more, nor whether it went wrong."""
    coming.cancel()
    if coming.done() and not coming.cancelled():
        coming.exception()


async def _chunks(answer: Answer, events: AsyncIterator[tuple[int, Event]], coming: asyncio.Future[Any]) -> AsyncIterator[str]:
    """Server-sent events: a chunk with the role, the pieces, the reason for the end, the usage if asked for, and [DONE]."""
    usage = answer.request.stream_options is not None and answer.request.stream_options.include_usage
    done: list[Done] = []

    def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
        facts = {"id": answer.id, "object": "chat.completion.chunk", "created": answer.created, "model": answer.model}
        body = {**facts, "choices": choices, **({"usage": None} if usage else {}), **more}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    def choice(number: int, delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
        return {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}

    try:
        for number in range(len(answer.jobs)):
            yield chunk([choice(number, {"role": "assistant"})])
        while True:
            await asyncio.wait((coming,), timeout=answer.service.limits.keep_alive_s)
            if not coming.done():
                yield ": still writing\n\n"
                continue
            try:
                number, event = coming.result()
            except StopAsyncIteration:
                break
            coming = asyncio.ensure_future(anext(events))
            if isinstance(event, Done):
                done.append(event)
                yield chunk([choice(number, {}, event.reason)])
            else:
                yield chunk([choice(number, answer.shown(number, event))])
        if usage:
            yield chunk([], usage=answer.usage(done))
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body, ensure_ascii=False)}\n\n"
    finally:
        answer.give_up()
        _drop(coming)


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
        kind = self._request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ApiError(415, f"the body is {kind[:60]!r}; send application/json")
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


def _describe(app: FastAPI) -> None:
    """Put the parts of a request, which is read by hand, into the description of the interface."""
    schema = ChatRequest.model_json_schema(ref_template="#/components/schemas/{model}")
    parts = schema.pop("$defs", {})
    app.openapi()["components"]["schemas"] |= {**parts, "ChatRequest": schema}


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
            await send(message)

        error = None if path == "/health" else self._refusal(scope)
        if error is not None:
            await JSONResponse(error.body, error.status, error.headers)(scope, receive, counted)
            return
        self.busy += 1
        try:
            await self.app(scope, receive, counted)
        finally:
            self.busy -= 1

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
