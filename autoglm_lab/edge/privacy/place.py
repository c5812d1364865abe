"""Coarse and noisy places: geohash cells, and noise that is drawn once for each place."""

from __future__ import annotations

import hmac
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

BASE32 = "0123456789bcdefghjkmnpqrstuvwxyz"
BITS = 5  # of a letter
METRES_PER_DEGREE = 111_320.0  # of latitude, and of longitude at the equator


class Place(NamedTuple):
    """A point on the earth in degrees."""

    latitude: float
    longitude: float


class Cell(NamedTuple):
    """A rectangle: its centre, and half its height and width in degrees."""

    centre: Place
    half_latitude: float
    half_longitude: float

    @property
    def metres(self) -> tuple[float, float]:
        """Height and width."""
        shrink = math.cos(math.radians(self.centre.latitude))
        return 2 * self.half_latitude * METRES_PER_DEGREE, 2 * self.half_longitude * METRES_PER_DEGREE * shrink


def geohash(place: Place, length: int) -> str:
    """Name of the cell that holds a place: the longitude is halved, then the latitude, and so on, five halvings a letter.

    ValueError for a place that is not on the earth or a length outside 1 to 12.

    >>> geohash(Place(57.64911, 10.40744), 6)
    'u4pruy'
    """
    if not (-90 <= place.latitude <= 90 and -180 <= place.longitude <= 180) or not 1 <= length <= 12:
        raise ValueError(f"{place} with {length} letters: latitude lies in -90 to 90, longitude in -180 to 180, length in 1 to 12")
    values, spans, bits = (place.longitude, place.latitude), [[-180.0, 180.0], [-90.0, 90.0]], 0
    for number in range(BITS * length):
        span, value = spans[number % 2], values[number % 2]
        middle = (span[0] + span[1]) / 2
        upper = value >= middle
        span[not upper] = middle
        bits = 2 * bits + upper
    return "".join(BASE32[bits >> BITS * (length - 1 - letter) & 31] for letter in range(length))


def cell(code: str) -> Cell:
    """Cell of a geohash. ValueError for letters that geohash does not have, or none."""
    if not code or set(code) - set(BASE32):
        raise ValueError(f"{code!r} is no geohash; its letters are {BASE32}")
    spans, number = [[-180.0, 180.0], [-90.0, 90.0]], 0
    for letter in code:
        for shift in reversed(range(BITS)):
            span = spans[number % 2]
            span[not BASE32.index(letter) >> shift & 1] = (span[0] + span[1]) / 2
            number += 1
    (west, east), (south, north) = spans
    return Cell(Place((south + north) / 2, (west + east) / 2), (north - south) / 2, (east - west) / 2)


def coarse(place: Place, length: int) -> Place:
    """Centre of the cell that holds a place. ValueError as `geohash`."""
    return cell(geohash(place, length)).centre


def shift(place: Place, north_m: float, east_m: float) -> Place:
    """A place so many metres further, kept on the earth."""
    latitude = min(90.0, max(-90.0, place.latitude + north_m / METRES_PER_DEGREE))
    shrink = max(math.cos(math.radians(place.latitude)), 1e-6)
    longitude = (place.longitude + east_m / (METRES_PER_DEGREE * shrink) + 180) % 360 - 180
    return Place(latitude, longitude)


def distance_m(one: Place, other: Place) -> float:
    """Metres between two places of one region, on a flat earth."""
    shrink = math.cos(math.radians((one.latitude + other.latitude) / 2))
    return METRES_PER_DEGREE * math.hypot(
        one.latitude - other.latitude, shrink * ((one.longitude - other.longitude + 180) % 360 - 180)
    )


@dataclass(frozen=True)
class PlaceNoise:
    """Planar Laplace noise (Andrés et al. 2013, geo-indistinguishability): a move in any direction, `scale_m` x 2 far on average.

    Noise that is drawn anew for each report is averaged away. Noise drawn `once` for each cell of `length` letters stays, and needs
    no memory: a keyed hash of the cell is its seed. ValueError for a scale of 0 or less.
    """

    scale_m: float
    key: bytes
    length: int = 7

    def __post_init__(self) -> None:
        if not self.scale_m > 0 or not math.isfinite(self.scale_m):
            raise ValueError(f"scale_m is {self.scale_m}; noise has a scale above 0 m")

    def once(self, place: Place) -> Place:
        """A noisy place, the same for every report from one cell."""
        code = geohash(place, self.length)
        seed = int.from_bytes(hmac.digest(self.key, code.encode(), "sha256"), "big")
        return self.fresh(cell(code).centre, np.random.default_rng(seed))

    def fresh(self, place: Place, rng: np.random.Generator) -> Place:
        """A noisy place, another one for each report."""
        radius, angle = rng.gamma(2, self.scale_m), rng.uniform(0, 2 * math.pi)
        return shift(place, radius * math.sin(angle), radius * math.cos(angle))
