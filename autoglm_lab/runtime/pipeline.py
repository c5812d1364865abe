"""A stream of screens: while one answer is being written, the next screen is already being looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from autoglm_lab.runtime.engine import Answer
from autoglm_lab.runtime.onnx_engine import OnnxEngine, PreparedRequest


def answers(engine: OnnxEngine, requests: Iterable[Mapping[str, Any]]) -> Iterator[Answer]:
    """The answers to requests (arguments of `engine.answer`), in their order and as they would be one after the other.

    Seeing and hearing run in a thread of their own, one request ahead. The errors of `answer` come when it is their turn.
    """
    with ThreadPoolExecutor(1) as ahead:
        coming: Future[PreparedRequest] | None = None
        for request in requests:
            before, coming = coming, ahead.submit(engine.prepare, **request)
            if before is not None:
                yield engine.write(before.result()).answer
        if coming is not None:
            yield engine.write(coming.result()).answer
