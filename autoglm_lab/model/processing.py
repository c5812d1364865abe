"""The processor: a request as people make it becomes the tensors that PhoneGLM takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerFast, ProcessorMixin

from autoglm_lab.phone.catalog import HOME_SCREEN
from autoglm_lab.phone.goals import plain
from autoglm_lab.runtime.features import image_features, log_mel, mono_16k
from autoglm_lab.runtime.prompt import MAX_TOKENS, TooLongError, write_command, write_prompt


class PhoneGLMProcessor(ProcessorMixin):
    """Tokenizer, picture and sound features in one call.

    >>> processor = PhoneGLMProcessor.from_pretrained("data/model")                     # doctest: +SKIP
    >>> processor(text="open Settings", images=screenshot)["input_ids"].shape           # doctest: +SKIP
    torch.Size([1, 14])
    """

    attributes = ["tokenizer"]  # noqa: RUF012
    tokenizer_class = "PreTrainedTokenizerFast"

    def __init__(self, tokenizer: PreTrainedTokenizerFast, **kwargs: Any) -> None:
        super().__init__(tokenizer, **kwargs)  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(cls, folder: Any, *args: Any, **kwargs: Any) -> PhoneGLMProcessor:  # type: ignore[override]
        """Read the tokenizer of a model folder; features need no settings of their own."""
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, *args, **kwargs)
        return cls(tokenizer)

    def __call__(
        self,
        text: str | Sequence[str] = "",
        images: Any = None,
        audio: Any = None,
        *,
        sampling_rate: int = 16_000,
        current_app: str | Sequence[str] = HOME_SCREEN,
        last: str | Sequence[str] = "",
        think: bool = False,
        command: bool = False,
        **_: Any,
    ) -> BatchFeature:
        """Tensors of one request, or of a batch when `text` is a list (then every other argument may be a list too).

        With `command` they are requests to understand a command (`prompt.write_command`); pictures are not looked at.

        Gives input_ids and attention_mask [B, T] (padded on the left), and where given pixel_values [B, 3, 224, 224],
        input_features [B, M, 80] with feature_attention_mask [B, M]; image_present and audio_present [B] say which requests of
        a batch have them. Raises ValueError for a request with neither text nor sound, and for more than 512 tokens.
        """
        batch = [text] if isinstance(text, str) else list(text)
        many = not isinstance(text, str)
        pictures, sounds = _each(images, len(batch), many), _each(audio, len(batch), many)
        apps, lasts = _each(current_app, len(batch), many), _each(last, len(batch), many)
        prompts = []
        for words, picture, sound, app, before in zip(batch, pictures, sounds, apps, lasts, strict=True):
            if not words.strip() and sound is None:
                raise ValueError("the request is empty; give a text or a sound")
            if command:
                prompts.append(write_command(plain(words.strip()), audio=sound is not None))
                continue
            prompts.append(
                write_prompt(words.strip(), app, before, image=picture is not None, audio=sound is not None, think=think)
            )
        encoded = self.tokenizer(prompts, padding=True, padding_side="left", return_tensors="pt")
        if encoded["input_ids"].shape[1] > MAX_TOKENS:
            raise TooLongError(encoded["input_ids"].shape[1])
        features = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        image_tensors = {} if command else _image_tensors(pictures)
        return BatchFeature(features | image_tensors | _audio_tensors(sounds, sampling_rate))


def _each(value: Any, count: int, many: bool) -> list[Any]:
    """One value for every request of the batch."""
    if many and isinstance(value, list | tuple):
        if len(value) != count:
            raise ValueError(f"{count} texts came with {len(value)} pictures, sounds or app names; give one for each text")
        return list(value)
    return [value] * count


def _image_tensors(pictures: list[Any]) -> dict[str, torch.Tensor]:
    if all(picture is None for picture in pictures):
        return {}
    blank = np.zeros((3, 224, 224), np.float32)
    pixels = np.stack([blank if picture is None else image_features(picture) for picture in pictures])
    present = torch.tensor([float(picture is not None) for picture in pictures])
    return {"pixel_values": torch.from_numpy(pixels), "image_present": present}


def _audio_tensors(sounds: list[Any], rate_hz: int) -> dict[str, torch.Tensor]:
    if all(sound is None for sound in sounds):
        return {}
    mels = [np.zeros((1, 80), np.float32) if sound is None else log_mel(mono_16k(sound, rate_hz)) for sound in sounds]
    longest = max(len(mel) for mel in mels)
    padded = np.zeros((len(mels), longest, 80), np.float32)
    mask = np.zeros((len(mels), longest), np.int64)
    for row, mel in enumerate(mels):
        padded[row, : len(mel)], mask[row, : len(mel)] = mel, 1
    present = torch.tensor([float(sound is not None) for sound in sounds])
    return {
        "input_features": torch.from_numpy(padded),
        "feature_attention_mask": torch.from_numpy(mask),
        "audio_present": present,
    }


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what `PhoneGLMProcessor.from_pretrained` needs beside the model."""
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "PhoneGLMProcessor"}, indent=1) + "\n", "utf-8")
