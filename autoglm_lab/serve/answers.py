"""The answers to one request: at once or piece by piece, and no longer than somebody waits for them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.queue import Done, Event, Job, too_late
from autoglm_lab.serve.reading import read_request
from autoglm_lab.serve.schema import ChatRequest
from autoglm_lab.serve.service import Service
from autoglm_lab.serve.stream_parser import Piece

WATCH_S = 0.05  # between two looks whether a client that waits is still there


class Answer:
    """One request's answers on their way: what they have in common, and how they are written as JSON."""

    def __init__(self, service: Service, request: ChatRequest, client: str) -> None:
        self.service, self.request = service, request
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._deadline = time.monotonic() + service.limits.deadline_s
        self.jobs = [
            Job(asking, _Numbered(number, self._events), client, self._deadline, share=service.share(service.limits.queue))
            for number, asking in enumerate(read_request(request, service.limits))
        ]
        self.id, self.created = f"chatcmpl-{uuid.uuid4().hex}", int(time.time())
        self.model = service.name
        self._thought = [False] * len(self.jobs)  # whether a thought stands before the action

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """Events of all answers, each with the number of its answer, until all have ended. ApiError for what went wrong."""
        remaining = len(self.jobs)
        while remaining:
            try:  # an engine that hangs must not keep its clients
                async with asyncio.timeout(max(0.0, self._deadline - time.monotonic())):
                    number, event = await self._events.get()
            except TimeoutError:
                raise too_late() from None
            if isinstance(event, ApiError):
                raise event
            if isinstance(event, Done):
                remaining -= 1
                self._measure(self.jobs[number], event)
            yield number, event

    def give_up(self) -> None:
        """Cancel all jobs: the client waits no longer."""
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
        prompt_tokens, completion_tokens = done[0].prompt_tokens, sum(each.tokens for each in done)
        thought = sum(each.thought_tokens for each in done)
        return {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens_details": {"reasoning_tokens": thought},
        }

    def _measure(self, job: Job, end: Done) -> None:
        metrics, now = self.service.metrics, time.monotonic()
        metrics.read.inc(end.prompt_tokens)
        metrics.written.inc(end.tokens)
        metrics.whole.observe(now - job.began)
        if job.first is not None:
            metrics.first.observe(job.first - job.began)
            if end.tokens > 1 and now > job.first:
                metrics.speed.observe((end.tokens - 1) / (now - job.first))


class _Numbered:
    """A mailbox that says which answer an event belongs to."""

    def __init__(self, number: int, merged: asyncio.Queue[tuple[int, Event]]) -> None:
        self._number, self._merged = number, merged

    def put_nowait(self, event: Event) -> None:
        """Pass on an event, with the number of its answer."""
        self._merged.put_nowait((self._number, event))


async def whole(answer: Answer, request: Request) -> Response:
    """All answers at once; they stop when the client goes away."""
    messages: list[dict[str, Any]] = [{"role": "assistant", "content": ""} for _ in answer.jobs]
    ends: list[Done | None] = [None] * len(answer.jobs)

    async def listen() -> None:
        async for number, event in answer.events():
            if isinstance(event, Done):
                ends[number] = event
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
    ended = [each for each in ends if each is not None]
    choices = [
        {"index": number, "message": messages[number] | goal_fields(each), "logprobs": None, "finish_reason": each.reason}
        for number, each in enumerate(ended)
    ]
    return JSONResponse(
        {
            "id": answer.id,
            "object": "chat.completion",
            "created": answer.created,
            "model": answer.model,
            "choices": choices,
            "usage": answer.usage(ended),
        }
    )


def goal_fields(done: Done) -> dict[str, str | bool]:
    """The goal of an answer, a field beside those of OpenAI; and `unsure` where a person should confirm it.

    An agent hands back one of two wishes (`reading.current_goal`).
    """
    return ({"goal": done.goal} if done.goal else {}) | ({"unsure": True} if done.unsure else {})


async def _gone(request: Request) -> None:
    """Wait until the client has gone away."""
    while not await request.is_disconnected():
        await asyncio.sleep(WATCH_S)


async def streamed(answer: Answer, request: Request) -> Response:
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
        """Send the stream; cancel its jobs when it ends."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.answer.give_up()
            _drop(self.first)


def _drop(coming: asyncio.Future[Any]) -> None:
    """Cancel the next event, and retrieve its error, if any, so that asyncio does not report it."""
    coming.cancel()
    if coming.done() and not coming.cancelled():
        coming.exception()


async def _chunks(answer: Answer, events: AsyncIterator[tuple[int, Event]], coming: asyncio.Future[Any]) -> AsyncIterator[str]:
    """Server-sent events: a chunk with the role, the pieces, the reason for the end, the usage if asked for, and [DONE]."""
    usage = answer.request.stream_options is not None and answer.request.stream_options.include_usage
    ends: list[Done] = []

    def chunk(choices: list[dict[str, Any]], **more: Any) -> str:
        facts = {"id": answer.id, "object": "chat.completion.chunk", "created": answer.created, "model": answer.model}
        body = {**facts, "choices": choices, **({"usage": None} if usage else {}), **more}
        return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"

    def choice(number: int, delta: Mapping[str, str | bool], reason: str | None = None) -> dict[str, Any]:
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
                ends.append(event)
                yield chunk([choice(number, goal_fields(event), event.reason)])
            else:
                yield chunk([choice(number, answer.shown(number, event))])
        if usage:
            yield chunk([], usage=answer.usage(ends))
        yield "data: [DONE]\n\n"
    except ApiError as error:
        yield f"data: {json.dumps(error.body, ensure_ascii=False)}\n\n"
    finally:
        answer.give_up()
        _drop(coming)
