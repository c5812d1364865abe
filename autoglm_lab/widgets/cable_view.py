"""Requests over a cable that may be cut: which pieces came when, who answered, what was thrown away. No browser, no network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from PIL import Image

from autoglm_lab.edge.hybrid.coordinator import CLOUD, DEVICE, Route
from autoglm_lab.phone.actions import Action
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

LANES = (CLOUD, DEVICE)
CABLE = "cable"
START, PIECE, END, FAILURE, CUT, MEND = "start", "piece", "end", "failure", "cut", "mend"
SHOWN = 8  # of the last requests


class Event(NamedTuple):
    """One event `ms` after a request began: of an engine (`cloud`, `device`) or of the `cable`."""

    ms: float
    lane: str
    kind: str
    text: str = ""


@dataclass(frozen=True)
class Request:
    """One request: its policy, its fault, its events, and the route and milliseconds of its answer (None while under way)."""

    number: int
    policy: str
    fault: str
    events: tuple[Event, ...] = ()
    route: Route | None = None
    ms: float | None = None
    reasons: Mapping[Route, str] = field(default_factory=dict)  # why an engine gave no answer
    error: str = ""  # why there is none at all

    def pieces(self, lane: str) -> list[Event]:
        """The pieces of an engine's answer, as they came."""
        return [event for event in self.events if (event.lane, event.kind) == (lane, PIECE)]

    @property
    def discarded(self) -> dict[str, int]:
        """The number of pieces of each engine that came for nothing: its answer was not taken."""
        if self.ms is None:
            return {}
        return {lane: count for lane in LANES if lane != self.route and (count := len(self.pieces(lane)))}

    def sentence(self) -> str:
        """Say how the request went."""
        head = f"Request {self.number} ({self.policy}; {self.fault}): "
        if self.ms is None:
            return head + "under way."
        first = f"the {self.route} answered after {self.ms:.0f} ms" if self.route else f"no answer after {self.ms:.0f} ms"
        cuts = [f"the cable was cut at {event.ms:.0f} ms" for event in self.events if event.kind == CUT]
        failures = [f"the {lane} gave none ({_short(why)})" for lane, why in self.reasons.items()]
        waste = [f"{count} pieces of the {lane} were thrown away" for lane, count in self.discarded.items()]
        return head + "; ".join([first, *cuts, *failures, *waste]) + "."

    def data(self) -> dict[str, Any]:
        """The request as plain JSON values."""
        return {
            "number": self.number,
            "policy": self.policy,
            "fault": self.fault,
            "route": self.route,
            "reasons": dict(self.reasons),
            "ms": None if self.ms is None else round(self.ms, 1),
            "events": [[round(event.ms, 1), event.lane, event.kind, event.text] for event in self.events],
            "texts": {lane: "".join(event.text for event in self.pieces(lane)) for lane in LANES},
            "words": self.sentence(),
        }


def _short(reason: str, most: int = 90) -> str:
    return reason if len(reason) <= most else reason[: most - 1] + "…"


@dataclass(frozen=True)
class Tally:
    """Counts of requests by their end: an answer, an error, or neither (lost); and of those whose action was done twice."""

    asked: int
    answered: int
    errors: int
    lost: int
    done_twice: int

    def sentence(self) -> str:
        """Say the five numbers."""
        return (
            f"Asked {self.asked}, answered {self.answered}, errors {self.errors}, lost {self.lost}, done twice {self.done_twice}."
        )


class Executor:
    """Performs the action of each answer that it gets, without asking if it did so before, and counts them by request.

    So an engine that answers twice, or not at all, shows up.
    """

    def __init__(self, perform: Callable[[Action], object]) -> None:
        self._perform = perform
        self._begun: list[str] = []
        self._ends: dict[str, Counter[str]] = {"answer": Counter(), "error": Counter()}

    def begin(self, request_id: str) -> None:
        """Note that a request is asked."""
        self._begun.append(request_id)

    def act(self, request_id: str, action: Action) -> None:
        """Perform the action of an answer."""
        self._ends["answer"][request_id] += 1
        self._perform(action)

    def fail(self, request_id: str) -> None:
        """Note that a request ended in an error."""
        self._ends["error"][request_id] += 1

    def tally(self, running: Collection[str] = ()) -> Tally:
        """Count the requests, all but those that are still `running`."""
        answers, errors = self._ends["answer"], self._ends["error"]
        lost_ids = [each for each in self._begun if each not in running and not answers[each] and not errors[each]]
        twice = [each for each, count in answers.items() if count > 1]
        return Tally(len(self._begun), len(answers), len(errors), len(lost_ids), len(twice))


def sentence(requests: Sequence[Request], tally: Tally) -> str:
    """Say how the last requests went, and the five numbers of all of them."""
    return " ".join([*(request.sentence() for request in requests[-SHOWN:]), tally.sentence()])


def picture(requests: Sequence[Request], tally: Tally) -> Image.Image:
    """The pieces of both engines over time, request by request; a cross where the cable was cut, a square where the answer was."""
    last_requests = requests[-SHOWN:]
    drawing, axes = canvas(tally.sentence(), "ms since the request", height=1.2 + 0.5 * max(1, len(last_requests)))
    for place, request in enumerate(last_requests):
        for offset, lane, colour in ((-0.17, CLOUD, COLOURS[0]), (0.17, DEVICE, COLOURS[2])):
            points = [event.ms for event in request.pieces(lane)]
            face = colour if request.route == lane else "none"
            axes.scatter(points, [place + offset] * len(points), s=22, facecolors=face, edgecolors=colour, label=lane)
            if request.route == lane and request.ms is not None:
                axes.scatter([request.ms], [place + offset], marker="s", s=46, color=colour)
        for event in request.events:
            if event.kind == CUT:
                axes.scatter([event.ms], [place], marker="x", s=70, color=COLOURS[4], label="cut")
        if request.ms is not None and request.route is None:
            axes.text(request.ms + 8, place, "no answer", va="center", fontsize=9)
    axes.set_yticks(
        range(len(last_requests)), [f"{request.number}: {request.policy}, {request.fault}" for request in last_requests]
    )
    axes.set_ylim(len(last_requests) - 0.4, -0.6)
    axes.set_xlim(left=0)
    names = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if names:
        axes.legend(names.values(), names, frameon=False, fontsize=9)
    return drawn(drawing)
