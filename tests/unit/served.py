"""What the tests of the server share: an engine that says what it is told, and requests."""

import base64
import io
import threading
import time

import numpy as np
import soundfile
from PIL import Image

from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.runtime.prompt import TooLongError

ACTION = ["do(action=", '"Launch"', ', app="', "设置", '")', " and more"]
THOUGHT = ["It ", "is 设", "置.", "</think>"]


class Fake:
    """Says some pieces, a little time apart, and remembers what it was asked and how much it has said."""

    def __init__(self, pieces=tuple(ACTION), *, apart_s=0.0, before_s=0.0, error=None):
        self.pieces, self.apart_s, self.before_s, self.error = list(pieces), apart_s, before_s, error
        self.asked, self.said, self.running = [], 0, 0
        self._lock = threading.Lock()

    def answer(self, task="", image=None, audio=None, **given):
        self.asked.append({"task": task, "image": image, "audio": audio, **given})
        time.sleep(self.before_s)
        if task == "too long":
            raise TooLongError(600)
        return Stream(self._spoken(given), prompt_tokens=7)

    def _spoken(self, given):
        with self._lock:
            self.running += 1
        try:
            pieces = [*(THOUGHT if given.get("think") else []), *self.pieces][: given.get("max_new_tokens", 96)]
            for piece in pieces:
                time.sleep(self.apart_s)
                self.said += 1
                yield piece
            if self.error is not None:
                raise self.error
            yield Answer("".join(pieces))
        finally:
            with self._lock:
                self.running -= 1


def coded(content):
    return base64.b64encode(content).decode()


def picture(kind="PNG", size=(8, 12), mode="RGB"):
    """The bytes of a small picture."""
    file, rng = io.BytesIO(), np.random.default_rng(0)
    made = Image.fromarray(rng.integers(0, 255, (*size[::-1], 4)).astype(np.uint8), "RGBA" if mode == "RGBA" else None)
    made.convert(mode).save(file, kind)
    return file.getvalue()


def sound(seconds=0.1, rate=16_000, kind="WAV"):
    """The bytes of a short sound."""
    file = io.BytesIO()
    soundfile.write(file, np.random.default_rng(0).normal(0, 0.1, int(seconds * rate)), rate, format=kind)
    return file.getvalue()


def data_url(content, kind="image/png"):
    return f"data:{kind};base64,{coded(content)}"


def image_part(url):
    return {"type": "image_url", "image_url": {"url": url}}


def audio_part(content, kind="wav"):
    return {"type": "input_audio", "input_audio": {"data": coded(content), "format": kind}}


def text_part(words):
    return {"type": "text", "text": words}


def user(*parts):
    """A message of the user: words, or parts."""
    return {"role": "user", "content": parts[0] if len(parts) == 1 and isinstance(parts[0], str) else list(parts)}


def asked(*parts, **fields):
    """The body of a request."""
    return {"model": "m", "messages": [user(*(parts or ("open Settings",)))], **fields}
