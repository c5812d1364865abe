"""An attacker's desk: how surely each person is named from what an app publishes, and what use is left of it. No browser."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from textwrap import fill
from typing import Any

import numpy as np
from PIL import Image

from autoglm_lab.edge.privacy.averaging import home_distance
from autoglm_lab.edge.privacy.enumeration import enumerate_hashes
from autoglm_lab.edge.privacy.linking import name_people
from autoglm_lab.edge.privacy.padding import STEP
from autoglm_lab.edge.privacy.personas import NUMBERS, Traces
from autoglm_lab.edge.privacy.pseudonym import plain_hash
from autoglm_lab.edge.privacy.release import COARSEST, FINEST, IDENTITIES, NOISES, Release, publish
from autoglm_lab.edge.privacy.utility import nearest_shop, next_app
from autoglm_lab.widgets.charts import COLOURS, canvas, drawn

CHOICES = {"identity": IDENTITIES, "noise": NOISES}
LIMITS = {"precision": (COARSEST, FINEST), "noise_m": (100, 1000)}


@dataclass(frozen=True)
class Desk:
    """Names that an attacker puts on P people of a release, and its utility as shares of answers that are right."""

    release: Release
    certainty: tuple[float, ...]  # P, the probability on the right name
    right: tuple[float, ...]  # P, how often the first guess is right
    utility: dict[str, float]
    home_m: float | None  # median distance of the homes that the attacker finds, None when no place is published
    bytes: float  # of a sealed request

    @property
    def top_1(self) -> float:
        """Share of first guesses that are right."""
        return float(np.mean(self.right))

    @property
    def home(self) -> str:
        """The distance to the homes in words."""
        return "not published" if self.home_m is None else f"found to {self.home_m:,.0f} m"

    def data(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "certainty": [round(share, 3) for share in self.certainty],
            "right": [round(share, 3) for share in self.right],
            "chance": 1 / len(self.right),
            "top_1": round(self.top_1, 4),
            "utility": [[name, round(share, 2)] for name, share in self.utility.items()],
            "home": self.home,
            "bytes": round(self.bytes),
        }

    def sentence(self) -> str:
        """Say what is published, how many the attacker names, and what use is left."""
        use = ", ".join(f"{name} {round(100 * round(share, 2))}%" for name, share in self.utility.items())
        return (
            f"{_words(self.release)} {self.top_1:.1%} of first guesses are right (by chance {1 / len(self.right):.1%}), with "
            f"{np.mean(self.certainty):.0%} on the right name. Homes: {self.home}. Right answers: {use}. "
            f"A sealed request has {self.bytes:.0f} bytes."
        )


def _words(release: Release) -> str:
    noise = "" if release.noise == "none" else f" and {release.noise_m:.0f} m of noise, {release.noise}"
    place = f"places of {release.precision} letters{noise}" if release.place else ""
    fields = " and ".join(filter(None, (place, "apps" if release.apps else ""))) or "no field"
    padding = f"padded to {STEP} bytes" if release.padding else "of bare length"
    return f"Published: {fields}; names: {release.identity}; requests {padding}."


def desk(people: Traces, release: Release, seed: int = 0) -> Desk:
    """Publish everybody's sessions and attack them; plain hashes are undone by hashing all numbers."""
    publication = publish(people, release, seed)
    naming = name_people(publication, release)
    certainty, right = naming.certainty, naming.right
    if release.identity == "plain hash":
        hashes = [plain_hash(number) for number in people.numbers]
        numbers = enumerate_hashes(hashes, NUMBERS, 4)
        undone = np.array([numbers.get(name) == number for name, number in zip(hashes, people.numbers, strict=True)])
        certainty, right = np.where(undone, 1.0, certainty), np.where(undone, 1.0, right)
    utility = {"the nearest shop": nearest_shop(people, publication), "the next app, of three": next_app(people, release)}
    home_m = home_distance(people, publication, release.links_sessions) if release.place else None
    return Desk(release, tuple(certainty.tolist()), tuple(right.tolist()), utility, home_m, publication.bytes)


def with_choice(release: Release, name: str, value: Any) -> Release:
    """A release with one choice changed, as a page sends it. ValueError for an unknown choice or value."""
    kinds: dict[str, type] = {name: type(value) for name, value in asdict(release).items()}
    if name not in kinds:
        raise ValueError(f"{name!r} is no choice; there are {', '.join(kinds)}")
    if name in LIMITS and not LIMITS[name][0] <= value <= LIMITS[name][1]:
        raise ValueError(f"{name} is {value}; the slider goes from {LIMITS[name][0]} to {LIMITS[name][1]}")
    return Release(**{**asdict(release), name: kinds[name](value)})


def picture(now: Desk) -> Image.Image:
    """A bar for each person, how surely the attacker names them, and one for each use."""
    drawing, axes = canvas("How surely the attacker names each person, and what use is left", "person", height=3.0)
    places = np.arange(len(now.certainty))
    colours = [COLOURS[1] if right > 0.5 else COLOURS[0] for right in now.right]
    axes.bar(places + 1, now.certainty, color=colours)
    axes.axhline(1 / len(places), color="#808890", linestyle="--", linewidth=1)
    for number, (name, share) in enumerate(now.utility.items()):
        place = len(places) + 5 + 8 * number
        axes.bar(place, share, width=4, color=COLOURS[2])
        axes.text(place, share + 0.02, f"{fill(name, 12)}\n{share:.0%}", ha="center", va="bottom", fontsize=8)
    axes.set_ylim(0, 1.35)
    axes.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
    axes.set_xticks([1, 10, 20, 30, 40][: 1 + len(places) // 10])
    return drawn(drawing)
