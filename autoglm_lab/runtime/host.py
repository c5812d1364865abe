"""The host of a fixed-length graph: it keeps the cache, writes what each token adds, and picks the next token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]
COVERED = -1e4  # what a place that holds nothing yet adds to its score
Call = Callable[[Arrays], Arrays]  # runs a graph: inputs by name to outputs by name


def with_look_ups(audio: Call, step: Call, tables: Mapping[str, NDArray[np.float32]]) -> tuple[Call, Call]:
    """Make `audio` and `step` of their bodies (`export.portable`), which know no integers: here `tables` [V, ...] are looked up."""

    def hear(inputs: Arrays) -> Arrays:
        mel, count = inputs["input_features"], int(inputs["mel_frames"][0])
        places = [(np.arange(0, mel.shape[1], step) < count).astype(np.float32) for step in (1, 2, 4)]
        masks = {"every": places[0][None, None], "half": places[1][None, None], "quarter": places[2][None, :, None]}
        return audio({"input_features": mel, **masks})

    def read(inputs: Arrays) -> Arrays:
        place, states = inputs["place"], {name: values for name, values in inputs.items() if "_key_" in name or "_value_" in name}
        lengths = {kind: states[f"{kind}_key_0"].shape[2] for kind in ("past", "audio")}
        counts = {"past": int(place[0]), "audio": int(inputs["audio_frames"][0])}
        covered = {kind: np.where(np.arange(lengths[kind]) < counts[kind], 0, COVERED).astype(np.float32) for kind in lengths}
        present = inputs["present"]
        return step(
            {
                "hidden": tables["embedding"][inputs["token"]],
                "cos": tables["cos"][place],
                "sin": tables["sin"][place],
                "read": covered["past"],
                "heard": covered["audio"],
                "image_present": present[:1],
                "audio_present": present[1:],
                **states,
            }
        )

    return hear, read


@dataclass
class Host:
    """An agent whose three portable graphs (`export.portable`) are computed by some runtime."""

    image: Call
    audio: Call
    step: Call
    shapes: Mapping[str, tuple[int, ...]]  # of every input of the step

    def remember(self, pixels: NDArray[np.float32], mel: NDArray[np.float32] | None) -> tuple[Arrays, Arrays]:
        """Encode a picture [1, 3, S, S] and sound [M, 80]; return the inputs of the step, and the outputs of the two encoders.

        ValueError for a sound that is longer than the graphs.
        """
        states: Arrays = {
            name: np.zeros(shape, np.float32) for name, shape in self.shapes.items() if "_key_" in name or "_value_" in name
        }
        outputs: Arrays = self.image({"pixel_values": pixels})
        frames = 0
        if mel is not None:
            longest = 4 * next(shape[2] for name, shape in self.shapes.items() if name.startswith("audio_key"))
            if len(mel) > longest:
                raise ValueError(f"the sound has {len(mel)} frames; at most {longest} fit")
            padded = np.zeros((1, longest, mel.shape[1]), np.float32)
            padded[0, : len(mel)] = mel
            frames = -(-len(mel) // 4)
            outputs |= {
                name: values[:, :, :frames]
                for name, values in self.audio({"input_features": padded, "mel_frames": np.array([len(mel)], np.int32)}).items()
            }
        for name, values in outputs.items():
            states[name][:, :, : values.shape[2]] = values
        states["present"] = np.array([1, mel is not None], np.float32)
        states["audio_frames"] = np.array([frames], np.int32)
        return states, outputs

    def scores(self, states: Arrays, token: int, place: int) -> NDArray[np.float32]:
        """Scores [V] after one more token; its key and value are written into `states`, in place."""
        outputs = self.step({"token": np.array([[token]], np.int32), "place": np.array([place], np.int32), **states})
        for name, values in outputs.items():
            if name.startswith("new"):
                states[name.replace("new", "past")][:, :, place] = values[:, :, 0]
        return np.asarray(outputs["scores"], np.float32).reshape(-1)

    def read(self, states: Arrays, ids: list[int], place: int = 0) -> NDArray[np.float32]:
        """Scores [T, V] after each of some tokens."""
        return np.stack([self.scores(states, token, place + at) for at, token in enumerate(ids)])

    def write(self, states: Arrays, prompt: list[int], end: int, most: int) -> list[int]:
        """The greedy answer to a prompt: tokens up to `end`, or until there is no room for more."""
        scores, place = self.read(states, prompt)[-1], len(prompt)
        tokens: list[int] = []
        while len(tokens) < most and (token := int(scores.argmax())) != end:
            tokens.append(token)
            if place == most:
                break
            scores, place = self.scores(states, token, place), place + 1
        return tokens
