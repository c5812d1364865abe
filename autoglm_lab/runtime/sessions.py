"""The graphs of a bundle in ONNX Runtime, by name: opened at once, or the encoders when they are first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime

from autoglm_lab.memory import trim_heap
from autoglm_lab.runtime.bundle import GRAPHS, Bundle
from autoglm_lab.runtime.shelf import Shelf

ENCODERS = tuple(name for name in GRAPHS if name != "step")
STEP_INPUTS = ("input_ids", "total", "places", "present")  # by the step graph
ONE_CALL_INPUTS = ("first_input_ids", "first_total", "max_new_tokens", "present")


def quiet(threads: int | None = None) -> Any:
    """Session options for running beside others: warnings off, no threads that spin, no memory that is kept."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # threads that spin on between two calls, waiting for work, slow down everything else: numpy ten times
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.enable_cpu_mem_arena = False  # an arena grows in powers of two and gives nothing back; no answer got slower without
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def open_graph(path: Path, options: Any) -> Any:
    """Open one graph of a bundle in ONNX Runtime. ValueError when that refuses it."""
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common class
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path.name} of {path.parent.name} cannot be run: {reason}; export the bundle anew") from None


def _check_decoder(decoder: Any, bundle: Bundle, *, one_call: bool) -> None:
    """Raise ValueError unless a graph takes tokens and a flag for each modality, and scores the token that ends an answer."""
    expected = ONE_CALL_INPUTS if one_call else STEP_INPUTS
    _check_inputs(expected, decoder, bundle)
    logits_shape = () if one_call else next((value.shape for value in decoder.get_outputs() if value.name == "scores"), ())
    if not one_call and not (logits_shape and type(logits_shape[-1]) is int and logits_shape[-1] > bundle.end):
        raise ValueError(f"step.onnx of {bundle.folder.name} has no score for token {bundle.end}, which ends answers")


def _check_encoder(encoder: Any, decoder: Any, bundle: Bundle) -> None:
    """Raise ValueError unless an encoder has one input, and the decoder takes all that it gives."""
    if len(encoder.get_inputs()) != 1:
        raise ValueError(f"the graphs of {bundle.folder.name} do not fit together: an encoder has several inputs")
    _check_inputs([value.name for value in encoder.get_outputs()], decoder, bundle)


def _check_inputs(names: Iterable[str], decoder: Any, bundle: Bundle) -> None:
    inputs = {value.name for value in decoder.get_inputs()}
    if missing := sorted(set(names) - inputs):
        raise ValueError(f"the graphs of {bundle.folder.name} do not fit together: {', '.join(missing)}")


class Sessions(Mapping[str, Any]):
    """Open graphs by name: the one that writes, `image` and `audio`.

    With `lazy` an encoder is opened when it is first used; with `idle_s` it is dropped after so many seconds without use, which
    `sweep` looks after. Looking an encoder up opens it; `lease` keeps it meanwhile. What opening it raises comes out of both.
    """

    def __init__(
        self,
        bundle: Bundle,
        open_session: Callable[[str], Any],
        *,
        one_call: bool = False,
        lazy: bool = False,
        idle_s: float | None = None,
    ) -> None:
        def encoder(name: str) -> Any:
            session = open_session(name)
            _check_encoder(session, self.decoder, bundle)
            return session

        # the largest first: while a file is read its weights are there twice
        self._name = "answer" if one_call else "step"
        self.decoder = open_session(self._name)
        _check_decoder(self.decoder, bundle, one_call=one_call)
        self._eager = {} if lazy else {name: encoder(name) for name in ENCODERS}
        self._shelf = Shelf(idle_s=idle_s)
        for name in ENCODERS if lazy else ():
            self._shelf.offer(name, partial(encoder, name), bundle.path(name).stat().st_size)
        trim_heap()

    @contextmanager
    def lease(self, name: str) -> Iterator[Any]:
        """Use a graph; it stays open until the end. KeyError for a name that there is not."""
        if name in self._eager or name == self._name:
            yield self[name]
            return
        with self._shelf.lease(name) as session:
            yield session

    def sweep(self) -> None:
        """Drop what was not used for `idle_s`."""
        if self._shelf.sweep():
            trim_heap()

    @property
    def open(self) -> tuple[str, ...]:
        """The names of the graphs that are open now."""
        return (self._name, *self._eager, *self._shelf.built)

    def __getitem__(self, name: str) -> Any:
        """Return a graph, opened first when it is not open."""
        if name == self._name:
            return self.decoder
        if name in self._eager:
            return self._eager[name]
        with self._shelf.lease(name) as session:
            return session

    def __contains__(self, name: object) -> bool:
        """True for a name of this bundle; nothing is opened."""
        return name in (self._name, *ENCODERS)

    def __iter__(self) -> Iterator[str]:
        """The names, the graph that writes first."""
        return iter((self._name, *ENCODERS))

    def __len__(self) -> int:
        """Number of graphs: three."""
        return 1 + len(ENCODERS)
