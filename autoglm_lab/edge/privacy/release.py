"""Publication of sessions: which fields leave the phone, how exact, under which name, and how long the messages are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.edge.privacy.padding import padded_length
from autoglm_lab.edge.privacy.personas import CITY, Traces
from autoglm_lab.edge.privacy.place import METRES_PER_DEGREE, Place, PlaceNoise, cell, geohash, shift
from autoglm_lab.edge.privacy.sealer import OVERHEAD

Identity = Literal["plain hash", "one key", "key per purpose", "new key each day"]
Noise = Literal["none", "each report", "once per place"]
IDENTITIES: tuple[Identity, ...] = get_args(Identity)
NOISES: tuple[Noise, ...] = get_args(Noise)
FINEST, COARSEST = 8, 3  # letters of a geohash


@dataclass(frozen=True)
class Release:
    """Choices of an app. Requests go out sealed, so that their length is on the wire whatever the fields are.

    ValueError for a choice that there is not.
    """

    place: bool = True  # published for "nearby"
    apps: bool = True  # published for "next app"
    precision: int = 7  # letters of the geohash
    noise: Noise = "none"
    noise_m: float = 300.0
    identity: Identity = "one key"
    padding: bool = False

    def __post_init__(self) -> None:
        if self.identity not in IDENTITIES or self.noise not in NOISES:
            raise ValueError(f"identity is {self.identity!r} and noise {self.noise!r}; of {IDENTITIES} and {NOISES}")
        if not COARSEST <= self.precision <= FINEST or not 0 < self.noise_m <= 10_000:
            raise ValueError(f"precision is {self.precision}, noise_m {self.noise_m}; {COARSEST} to {FINEST}, and up to 10,000")

    @property
    def links_sessions(self) -> bool:
        """True if the sessions of a person carry one name."""
        return self.identity != "new key each day"

    @property
    def joins_purposes(self) -> bool:
        """True if both purposes carry the same name."""
        return self.identity in ("plain hash", "one key")

    @property
    def spread_m(self) -> float:
        """Standard deviation, north and east, of what precision and noise do to a place that is published twice."""
        half = max(cell(geohash(CITY, self.precision)).metres) / 2
        each = math.sqrt(6) * self.noise_m if self.noise == "each report" else 0.0
        return math.hypot(40.0, half, each)


@dataclass(frozen=True)
class Publication:
    """Observations of an attacker: P people, S sessions each. Positions are metres north and east of the city's centre."""

    positions: NDArray[np.float64] | None  # [P, S, 2]
    symbols: NDArray[np.int64]  # [P, S, T]: the apps, or else the sealed lengths of the requests
    bytes: float  # mean of a sealed request


def publish(traces: Traces, release: Release, seed: int) -> Publication:
    """Apply the choices to everybody's sessions. `seed` draws noise and the keys of phones."""
    wire = np.array([padded_length(length) if release.padding else length for length in range(traces.lengths.max() + 1)])
    lengths = OVERHEAD + wire[traces.lengths]
    positions = _blur(traces.positions, release, seed) if release.place else None
    return Publication(positions, traces.apps if release.apps else lengths, float(lengths.mean()))


def _blur(positions: NDArray[np.float64], release: Release, seed: int) -> NDArray[np.float64]:
    """Noise first, then the centre of the cell."""
    rng, noisy = np.random.default_rng([seed, 37]), positions
    if release.noise == "each report":
        radius, angle = rng.gamma(2, release.noise_m, positions.shape[:2]), rng.uniform(0, 2 * np.pi, positions.shape[:2])
        noisy = positions + radius[..., None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    elif release.noise == "once per place":
        noisy = np.stack([_once(own, PlaceNoise(release.noise_m, rng.bytes(32))) for own in positions])
    codes = [geohash(shift(CITY, north, east), release.precision) for north, east in noisy.reshape(-1, 2)]
    centres = {code: _metres(cell(code).centre) for code in set(codes)}
    return np.array([centres[code] for code in codes]).reshape(positions.shape)


def _once(positions: NDArray[np.float64], noise: PlaceNoise) -> NDArray[np.float64]:
    points: dict[str, tuple[float, float]] = {}
    codes = []
    for north, east in positions:
        place = shift(CITY, north, east)
        codes.append(geohash(place, noise.length))
        if codes[-1] not in points:
            points[codes[-1]] = _metres(noise.once(place))
    return np.array([points[code] for code in codes])


def _metres(place: Place) -> tuple[float, float]:
    shrink = math.cos(math.radians(CITY.latitude))
    north, east = place.latitude - CITY.latitude, place.longitude - CITY.longitude
    return METRES_PER_DEGREE * north, METRES_PER_DEGREE * shrink * east
