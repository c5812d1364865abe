"""Reads a conversation into a request for the engine: the task, the screen, the sound, the app in front, the last actions.

Phone agents send their whole history each time: a long system prompt, the task with the first screenshot, then turn by turn what
the agent did and a message that holds only the new screen. The model has a template of its own and takes what it needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.phone.packages import TOLD
from autoglm_lab.runtime.engine import GREEDY, Request, is_unchanged
from autoglm_lab.runtime.prompt import MAX_MEMORY, SPECIAL_TOKENS, write_memory
from autoglm_lab.runtime.sampling import Sampling
from autoglm_lab.serve.errors import ApiError
from autoglm_lab.serve.limits import Limits
from autoglm_lab.serve.media import open_picture, open_sound, read_picture, unpacked
from autoglm_lab.serve.pixels import Take
from autoglm_lab.serve.schema import AudioPart, ChatRequest, ImagePart, Message, TextPart

DEFAULT_TOKENS = 96
SCREEN = "** Screen Info **"  # how the public phone agent begins a turn without words of the user
LONGEST = 20_000  # characters of a task that are looked at; 512 tokens are far fewer
LONGEST_GOAL = 2000  # characters of a goal that an agent hands back
_ACTION = re.compile(r'do\(action="([^"]+)"')


@dataclass(frozen=True)
class GenerationRequest:
    """One answer that is asked for. Picture and sound are opened where it is computed, not where requests are received."""

    task: str
    image: Callable[..., Any] | None = None  # of `media.open_picture`, all but `take`
    audio: Callable[[], Any] | None = None
    current_app: str = HOME_SCREEN
    steps: tuple[tuple[str, bool], ...] = ()  # name of each action so far, and whether it changed the screen
    think: bool = False
    max_new_tokens: int = DEFAULT_TOKENS
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    goal: str = ""  # one wish of the task, as an answer of this server has told it

    @property
    def last(self) -> str:
        """Name of the last action, "" at the start of a task."""
        return write_memory(self.steps, 1)

    def opened(self, take: Take | None = None, memory: int = 1) -> Request:
        """Open picture and sound: the request to an engine that is told of its last `memory` actions.

        ApiError for a picture or sound that cannot be read. `take` as in `read_picture`.
        """
        image = self.image and (self.image(take=take) if take else self.image())
        sound, last = self.audio and self.audio(), write_memory(self.steps, memory)
        return Request(
            self.task, image, sound, self.current_app, last, self.think, self.max_new_tokens, self.sampling, goal=self.goal
        )


def read_request(request: ChatRequest, limits: Limits) -> list[GenerationRequest]:
    """The answers that a request asks for: `n` of them, each with a seed of its own. ApiError says what is missing or too much."""
    if (request.n or 1) > limits.choices:
        raise ApiError(400, f"n is {request.n}; at most {limits.choices} answers are given to one request", param="n")
    if len(request.stops) > 4:
        raise ApiError(400, f"stop holds {len(request.stops)} texts; at most 4 are looked for", param="stop")
    conversation = _conversation(request, limits)
    max_tokens = request.max_completion_tokens or request.max_tokens or DEFAULT_TOKENS
    sampling = Sampling(
        request.temperature or 0.0, 1.0 if request.top_p is None else request.top_p, request.frequency_penalty or 0.0, request.seed
    )
    if sampling.temperature == 0 and not sampling.frequency_penalty:
        sampling = GREEDY
    return [
        GenerationRequest(
            **conversation,
            think=request.thinks,
            max_new_tokens=min(max_tokens, limits.max_tokens),
            stop=request.stops,
            sampling=_seeded(sampling, number),
        )
        for number in range(request.n or 1)
    ]


def _seeded(sampling: Sampling, number: int) -> Sampling:
    if sampling.seed is None or sampling == GREEDY:
        return sampling
    return Sampling(sampling.temperature, sampling.top_p, sampling.frequency_penalty, abs(sampling.seed) + number)


def _conversation(request: ChatRequest, limits: Limits) -> dict[str, Any]:
    """Task, picture, sound, app and actions so far."""
    users = [(place, message) for place, message in enumerate(request.messages) if message.role == "user"]
    if not users and request.query is None:
        raise ApiError(400, "messages holds no message of the user; send one with the task", param="messages")
    spoken = [(place, *entry) for place, message in users for entry in _parts(message, AudioPart, place)]
    worded = [(place, words) for place, message in users if (words := task_words(message))]
    if request.query is not None:
        task, begins = _plain(request.query), len(request.messages)
    else:
        task, begins = worded[-1][1] if worded else "", worded[-1][0] if worded else -1
    audio = None
    if spoken and spoken[-1][0] >= begins:  # a sound that came before the words was an older task
        begins, where, part = spoken[-1]
        if part.input_audio.format.lower() not in ("wav", "wave", "x-wav", "flac"):
            raise ApiError(415, f"a sound in {part.input_audio.format[:20]!r} is not read; send wav", param=where)
        audio = partial(open_sound, part.input_audio.data, limits, where)
    image = None
    pictures = list(_parts(users[-1][1], ImagePart, users[-1][0])) if users else []
    if request.image is not None:
        image = partial(_flat_picture, request.image, limits)
    elif pictures:
        where, part = pictures[-1]
        image = partial(open_picture, part.image_url.url, limits, where)
    if not task and audio is None:
        raise ApiError(400, "there is no task: the user's messages hold neither words nor sound", param="messages")
    if len(task) > LONGEST:
        raise ApiError(
            400, f"the task has {len(task):,} characters; at most 512 tokens fit", param="messages", code="context_length_exceeded"
        )
    app = current_app(users[-1][1]) if users else HOME_SCREEN
    goal = current_goal(users[-1][1]) if users else ""
    steps = _steps(request.messages[begins:])
    return {"task": task, "image": image, "audio": audio, "current_app": app, "steps": steps, "goal": goal}


def _parts(message: Message, kind: type[Any], place: int) -> list[tuple[str, Any]]:
    """The parts of one kind in a message, each with where it stands."""
    content = message.content if isinstance(message.content, list) else []
    return [(f"messages[{place}].content[{at}]", part) for at, part in enumerate(content) if isinstance(part, kind)]


def _words(message: Message) -> str:
    if isinstance(message.content, list):
        return "\n".join(part.text for part in message.content if isinstance(part, TextPart))
    return message.content or ""


def task_words(message: Message) -> str:
    r"""Words of a user's message, without the information about the screen.

    >>> task_words(Message(role="user", content='open Chrome\n\n{"current_app": "System Home"}'))
    'open Chrome'
    """
    return _plain(_halves(message)[0])


def _plain(words: str) -> str:
    for token in SPECIAL_TOKENS:  # nobody speaks for the template
        words = words.replace(token, " ")
    return words.strip()


def current_app(message: Message) -> str:
    """The app in front, by the name that the model knows; the home screen where phone agents do not say it."""
    _, screen = _halves(message)
    name = screen.get("current_app", HOME_SCREEN)
    usual = isinstance(name, str) and 0 < len(name) <= 100 and not set(name) & set('"\n<>')
    return TOLD.get(name, name) if usual else HOME_SCREEN


def current_goal(message: Message) -> str:
    """The one wish of the task that the agent works at, "" where it does not say so. ApiError for what can be no goal."""
    goal = _halves(message)[1].get("goal", "")
    if not isinstance(goal, str) or len(goal) > LONGEST_GOAL:
        raise ApiError(400, f"goal is one wish of the task, as an answer told it: a text of at most {LONGEST_GOAL} characters")
    return _plain(goal)


def _halves(message: Message) -> tuple[str, dict[str, Any]]:
    """The words of a message, and what follows them about the screen."""
    text = _words(message).strip()
    start = text.rfind('{"current_app"')
    if start < 0 or not text.endswith("}"):
        return text, {}
    try:
        screen = json.loads(text[start:])
    except (ValueError, RecursionError):
        return text, {}
    return text[:start].strip().removesuffix(SCREEN), screen


def _steps(messages: Sequence[Message]) -> tuple[tuple[str, bool], ...]:
    """Read the agent's latest actions, and whether each changed the screen, from the task's messages; a turn without one is ""."""
    turns = [place for place, message in enumerate(messages) if message.role == "assistant"][-MAX_MEMORY:]
    return tuple((_action(messages[place]), _changed(messages, place)) for place in turns)


def _action(message: Message) -> str:
    """The name of the action in an answer, "" if there is none."""
    names = _ACTION.findall(_words(message))
    return names[-1] if names and re.fullmatch(r"[A-Za-z_ ]{1,20}", names[-1]) else ""


def _changed(messages: Sequence[Message], place: int) -> bool:
    """True unless the message after an action says that nothing changed, or brings the very screenshot that was there before."""
    after = messages[place + 1] if place + 1 < len(messages) else None
    if after is None or after.role == "assistant":
        return True
    words, screen = _halves(after)
    result = screen.get("last_action") if after.role == "user" else words
    if isinstance(result, str) and result:
        return not is_unchanged(result)
    before, now = _screenshot(messages[place - 1]), _screenshot(after)
    return not now or before != now


def _screenshot(message: Message) -> str:
    """The data URL of the last picture in a message of the user, "" if it has none: an address may show another one each time."""
    urls = [part.image_url.url for _, part in _parts(message, ImagePart, 0)] if message.role == "user" else []
    return urls[-1] if urls and urls[-1].startswith("data:") else ""


def _flat_picture(data: str, limits: Limits, **options: Take) -> Any:
    if data.startswith(("data:", "http:", "https:", "file:")):
        return open_picture(data, limits, "image", **options)
    return read_picture(unpacked(data, "image"), limits, "image", **options)
