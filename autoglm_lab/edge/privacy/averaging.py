"""An attacker who averages the noisy places that one home was reported at."""

from __future__ import annotations

import numpy as np

from autoglm_lab.edge.privacy.personas import CITY, GPS_M, Traces
from autoglm_lab.edge.privacy.place import Place, PlaceNoise, distance_m, shift
from autoglm_lab.edge.privacy.release import Publication

AT_HOME_M = 100.0  # positions nearer than this to a home are reports from it; hours of the night would tell an attacker the same


def home_distance(traces: Traces, publication: Publication, links_sessions: bool) -> float:
    """Median metres between people's homes and what an attacker makes of the places that were published from there.

    Reports under one name are averaged, others stand for themselves. ValueError when no place was published.
    """
    if publication.positions is None:
        raise ValueError("no place was published; there is nothing to look for homes in")
    apart = publication.positions - traces.homes[:, None]
    at_home = np.hypot(*np.moveaxis(traces.positions - traces.homes[:, None], -1, 0)) < AT_HOME_M
    guesses = [own[here] for own, here in zip(apart, at_home, strict=True) if here.any()]
    errors = [guess.mean(axis=0, keepdims=True) if links_sessions else guess for guess in guesses]
    return float(np.median(np.hypot(*np.concatenate(errors).T)))


def home_errors(traces: Traces, reports: int, scale_m: float, once: bool, seed: int) -> list[float]:
    """Metres between each person's home and the mean of so many reports from there, each with noise.

    `once` draws the noise once for each cell, else it is drawn for each report. ValueError for no report, or as `PlaceNoise`.
    """
    if reports < 1:
        raise ValueError(f"reports is {reports}; a mean needs 1 report or more")
    rng = np.random.default_rng([seed, 41])
    errors = []
    for north, east in traces.homes:
        noise = PlaceNoise(scale_m, rng.bytes(32))
        here = [shift(CITY, north + rng.normal(0, GPS_M), east + rng.normal(0, GPS_M)) for _ in range(reports)]
        reported = [noise.once(place) if once else noise.fresh(place, rng) for place in here]
        errors.append(distance_m(Place(*np.mean(reported, axis=0)), shift(CITY, north, east)))
    return errors
