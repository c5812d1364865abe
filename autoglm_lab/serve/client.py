"""The engine that is somewhere else: any server with OpenAI's interface, this package's own or one with the real model."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import numpy as np
import soundfile
from PIL import Image

from autoglm_lab.phone.actions import PHONE_ACTIONS, SIGNATURES
from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.phone.tolerant import read_tolerantly
from autoglm_lab.runtime.engine import UNCHANGED, Answer, Engine, Request, Stream, Turn
from autoglm_lab.runtime.features import mono_16k
from autoglm_lab.runtime.prompt import MAX_MEMORY, read_memory
from autoglm_lab.serve.reading import SCREEN

RATE_HZ = 16_000


class RemoteEngine(Engine):
    """Answers come from `url`, which ends in /v1. `model` is the name that the server asks for; its first one by default.

    The messages are those of the public phone agent, so that a server with its model understands them as well. `system` tells a
    large model what actions there are; the small one knows. An agent tells it of every turn and of what came of it. What failed is
    sent again up to `retries` times. ValueError for an address that is none.
    """

    reads_history = True
    memory = MAX_MEMORY  # all are sent; the server takes as many as its model reads

    def __init__(
        self,
        url: str,
        *,
        api_key: str = "EMPTY",
        model: str | None = None,
        system: str | None = None,
        timeout_s: float = 120,
        retries: int = 2,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"{url!r} is no address; give one such as http://127.0.0.1:8000/v1")
        try:
            from openai import OpenAI
        except ImportError as error:
            raise ImportError("a server is asked through openai: pip install 'autoglm-lab[client]'") from error
        self.url, self.system = url, _described_actions() if system is None else system
        self._client, self._model = OpenAI(base_url=url, api_key=api_key, timeout=timeout_s, max_retries=retries), model

    @property
    def model(self) -> str:
        """The model that is asked. ConnectionError when there is no server, ValueError when it has no model."""
        if self._model is None:
            with _plain_errors(self.url):
                names = [model.id for model in self._client.models.list()]
            if not names:
                raise ValueError(f"{self.url} serves no model")
            self._model = names[0]
        return self._model

    def stream(self, request: Request) -> Stream:
        """See `runtime.engine.Engine.stream`. ConnectionError when there is no server, ValueError for what it refuses.

        What an agent did for this task so far is told as turns of the conversation and replaces `last`.
        """
        if not request.task.strip() and request.audio is None:
            raise ValueError("the request is empty; give a text or a sound")
        sampling = request.sampling
        options = {
            "model": self.model,
            "messages": self._messages(
                request.task, request.image, request.audio, request.current_app, request.last, request.history, request.goal
            ),
            "max_tokens": request.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "frequency_penalty": sampling.frequency_penalty,
            "stream": True,
            "stream_options": {"include_usage": True},
            "extra_body": {"chat_template_kwargs": {"enable_thinking": request.think}},
            **({} if sampling.seed is None else {"seed": sampling.seed}),
        }
        return Stream(self._pieces(options))

    def _pieces(self, request: dict[str, Any]) -> Iterator[str | Answer]:
        began, thought, content, goal, unsure, usage = time.perf_counter(), "", "", "", False, None
        ms: dict[str, float] = {}
        with _plain_errors(self.url):
            for chunk in self._client.chat.completions.create(**request):
                usage = chunk.usage or usage
                delta = chunk.choices[0].delta if chunk.choices else None
                if delta is None:
                    continue
                reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
                words, goal = delta.content or "", getattr(delta, "goal", None) or goal
                unsure = unsure or getattr(delta, "unsure", None) is True
                if reasoning or words:
                    ms.setdefault("first", (time.perf_counter() - began) * 1000)
                    thought, content = thought + reasoning, content + words
                    yield _printable(reasoning + words)
        ms["total"] = (time.perf_counter() - began) * 1000
        answer = _read(thought, content)
        yield replace(
            answer,
            goal=_printable(str(goal)),
            unsure=unsure,
            ms=ms,
            tokens=usage.completion_tokens if usage else 0,
            prompt_tokens=usage.prompt_tokens if usage else 0,
        )

    def _messages(self, *request: Any) -> list[dict[str, Any]]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *conversation(*request)]


def _read(thought: str, content: str) -> Answer:
    """Read an answer of any model. Where the server keeps the thought apart, no action is looked for in it."""
    text = _printable(thought + content)
    try:
        thinking, action, irregularities = read_tolerantly(content)
    except ValueError as problem:
        return Answer(text, _printable(thought).strip(), error=_printable(str(problem)))
    thinking = "\n".join(filter(None, (thought.strip(), thinking)))
    return Answer(text, _printable(thinking), action, irregularities=irregularities)


def _printable(text: str) -> str:
    """The text with a mark in the place of each lone half of a character, which no file and no terminal takes."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def conversation(
    task: str = "",
    image: Any = None,
    audio: Any = None,
    current_app: str = HOME_SCREEN,
    last: str = "",
    history: Sequence[Turn] = (),
    goal: str = "",
) -> list[dict[str, Any]]:
    """A request as the messages of the public phone agent: the task, what was done, and the screen as it is now.

    Of earlier turns there is what was said and what came of it (`last_action`), not their screens. `goal` is one wish of the task
    that an answer has told, if the agent works at that one; a server of this package reads it.
    """
    sound = [] if audio is None else [{"type": "input_audio", "input_audio": {"data": wav(audio), "format": "wav"}}]
    picture = [] if image is None else [{"type": "image_url", "image_url": {"url": data_url(image)}}]
    turns = history or [Turn("", f'do(action="{name}")', "" if changed else UNCHANGED) for name, changed in read_memory(last)]
    begun_in = turns[0].app if turns else current_app
    now = "" if turns else goal
    words = [part for part in (task.strip(), (begun_in or now) and _screen(begun_in, goal=now)) if part]
    first = [*sound, {"type": "text", "text": "\n\n".join(words or [_screen(current_app)])}]
    messages: list[dict[str, Any]] = [{"role": "user", "content": first if turns else [*picture, *first]}]
    for turn, after in zip_longest(turns, turns[1:]):
        app, now = (after.app, "") if after else (current_app, goal)
        screen = f"{SCREEN}\n\n{_screen(app, turn.result, now)}"
        messages += [
            {"role": "assistant", "content": turn.said},
            {"role": "user", "content": [*([] if after else picture), {"type": "text", "text": screen}]},
        ]
    return messages


def _screen(app: str, result: str = "", goal: str = "") -> str:
    """Information about a screen beside its picture, as JSON."""
    more = {"last_action": result, "goal": goal}
    return json.dumps({"current_app": app} | {name: text for name, text in more.items() if text}, ensure_ascii=False)


@contextmanager
def _plain_errors(url: str) -> Iterator[None]:
    """Turn errors of the client into errors that say what to do."""
    from openai import APIConnectionError, APIError, APIStatusError

    try:
        yield
    except APIConnectionError as error:
        raise ConnectionError(f"there is no answer from {url}; is the server running?") from error
    except APIStatusError as error:
        body = error.body if isinstance(error.body, dict) else {}
        raise ValueError(f"{url} refused ({error.status_code}): {body.get('message') or error.message}") from error
    except APIError as error:
        raise ValueError(f"{url} broke off: {error.message}") from error


def data_url(image: Any) -> str:
    """A picture, as Pillow or numpy have it, as the data URL of a PNG."""
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def wav(audio: Any) -> str:
    """A waveform of 16 kHz as a WAV file in base64."""
    out = io.BytesIO()
    soundfile.write(out, mono_16k(audio, RATE_HZ), RATE_HZ, format="WAV", subtype="PCM_16")
    return base64.b64encode(out.getvalue()).decode()


def _described_actions() -> str:
    """System prompt for a large model: the actions that there are, and how an answer is written."""
    lines = []
    for name in PHONE_ACTIONS:
        needed, optional = SIGNATURES[name]
        fields = [f"{field}=[x,y]" if field in ("element", "start", "end") else f'{field}="..."' for field in needed]
        arguments = ", ".join(fields if name == "finish" else [f'action="{name}"', *fields])
        extra = f"   (may also have {', '.join(optional)})" if optional else ""
        lines.append((f"finish({arguments})" if name == "finish" else f"do({arguments})") + extra)
    return (
        "You operate a phone. You are given a task and a picture of the screen, and answer with one short thought and then "
        "exactly one action. Coordinates go from 0 to 999, from the top left. The actions are:\n" + "\n".join(lines)
    )
