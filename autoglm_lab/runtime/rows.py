"""Several answers written at once: rows of one batch, which read the weights together and come and go between two tokens.

A token's time goes into reading weights, and weights read for one answer serve another as well. Answers of different lengths
stand in one batch because each row knows how many tokens it has; a row that ends makes room at once (continuous batching, Yu
et al. 2022, Orca).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.runtime.host import COVERED

Floats = NDArray[np.float32]


class Rows:
    """The rows graph with the memories and caches of up to `most` answers. Row n is at place n; the last fills a gap.

    Each row has the cells of a picture, a cache of `room` tokens, and as many frames of sound as the longest has. ValueError for a
    batch without rows.
    """

    def __init__(self, session: Any, most: int, room: int) -> None:
        if most < 1:
            raise ValueError(f"most is {most}; a batch has one row at least")
        self._session, self.most, self.room, self.count = session, most, room, 0
        self._shapes = {value.name: value.shape for value in session.get_inputs()}
        self._buffers: dict[str, Floats] = {}
        self._present = np.zeros((most, 2), np.float32)
        self._frames = np.zeros(most, np.int64)
        self.totals = np.zeros(most, np.int32)
        self._scores = np.zeros((most, next(v.shape[-1] for v in session.get_outputs() if v.name == "scores")), np.float32)

    def join(self, states: dict[str, Floats], cache: dict[str, Floats], total: int) -> int:
        """Add a row at the end, with its answer's picture and sound and the cache of the `total` tokens read; return its place.

        ValueError when all rows are taken, or for more tokens than there is room for.
        """
        if self.count == self.most:
            raise ValueError(f"all {self.most} rows are taken")
        if total >= self.room:
            raise ValueError(f"a row has room for {self.room} tokens; {total} are there already")
        row, self.count = self.count, self.count + 1
        self._present[row], self.totals[row] = states["present"], total
        self._frames[row] = states["audio_key_0"].shape[2] if states["present"][1] else 0
        for name, values in states.items():
            modality = {"image": 0, "audio": 1}.get(name.split("_")[0])
            if modality is not None and states["present"][modality]:
                self._buffer(name, values.shape[2])[row, :, : values.shape[2]] = values[0]
        for name, values in cache.items():
            self._buffer(name, self.room)[row, :, :total] = values[0, :, :total]
        return row

    def leave(self, row: int) -> int:
        """Remove the row of an answer that has ended; the last row takes its place. Return the place that the last row had."""
        last = self.count = self.count - 1
        if row != last:
            for name, buffer in self._buffers.items():
                length = int(self.totals[last]) if name.startswith("past") else buffer.shape[2]
                buffer[row, :, :length] = buffer[last, :, :length]
            for facts in (self._present, self._frames, self.totals):
                facts[row] = facts[last]
        if not self._present[:last, 1].any():  # nobody hears any more: the next sound may be shorter
            for name in [name for name in self._buffers if name.startswith("audio")]:
                del self._buffers[name]
        return last

    def step(self, tokens: Sequence[int]) -> Floats:
        """Read one more token for each row; return the scores [rows, V] of what follows. ValueError when a row is full."""
        count = self.count
        if len(tokens) != count or not count:
            raise ValueError(f"there are {count} rows and {len(tokens)} tokens; each row reads one")
        if int(self.totals[:count].max()) >= self.room:
            raise ValueError(f"a row has room for {self.room} tokens, and is full")
        self.totals[:count] += 1
        binding = self._session.io_binding()
        frames = self._buffer("audio_key_0", 1).shape[2]
        inputs = {
            "input_ids": np.array(tokens, np.int64)[:, None],
            "present": self._present[:count],
            "anywhere": self._present[:count].max(0),
            "totals": self.totals[:count],
            "longest": self.totals[:count].max(keepdims=True),
            "covered": np.where(np.arange(frames) < self._frames[:count, None], 0, COVERED).astype(np.float32)[:, None, None],
        }
        for name in self._shapes:
            if name in inputs:
                binding.bind_cpu_input(name, inputs[name])
                continue
            values = self._buffer(name, self.room if name.startswith("past") else 1)[:count]
            place = {"device_type": "cpu", "device_id": 0, "element_type": np.float32, "shape": list(values.shape)}
            binding.bind_input(name, buffer_ptr=values.ctypes.data, **place)
            if name.startswith("past"):
                binding.bind_output(name.replace("past", "present"), buffer_ptr=values.ctypes.data, **place)
        binding.bind_output("scores", "cpu", 0, np.float32, list(self._scores[:count].shape), self._scores.ctypes.data)
        self._session.run_with_iobinding(binding)
        return self._scores[:count]

    def _buffer(self, name: str, length: int) -> Floats:
        """Return a buffer for all rows, at least `length` long; what is there is kept."""
        there = self._buffers.get(name)
        if there is None or there.shape[2] < length:
            shape = [self.most, self._shapes[name][1], length, self._shapes[name][3]]
            buffer = np.zeros(shape, np.float32)  # pages that no row has touched take no memory
            if there is not None:
                buffer[:, :, : there.shape[2]] = there
            self._buffers[name] = buffer
        return self._buffers[name]
