"""People of a made-up city: where each one is, which apps they use one after the other, and how long the requests are.

Everything is drawn from a seed. How much people differ is an assumption (`skew`), so attacks are reported for more than one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.edge.privacy.place import Place
from autoglm_lab.phone.catalog import APPS, HOME_SCREEN
from autoglm_lab.phone.phrasing import PHRASINGS

PEOPLE, SESSIONS, USES = 40, 30, 5  # sessions of a person, apps that are opened in one
N_TRAINING = 20  # of the sessions an attacker has under people's names, from an older leak
CITY, SIDE_M = Place(31.23, 121.47), 20_000.0
OFFICES, SHOPS, HAUNTS = 8, 60, 2  # people work at few places; of the shops each one has two that they like
GPS_M = 15.0  # standard deviation of a position, north and east
AT_HOME, AT_WORK = 0.5, 0.3  # shares of the sessions; the others are at a haunt
HABIT = 0.4  # how often the app that is opened next is the one that this person always opens then
NUMBERS = "1380013"  # prefix of everybody's phone number, before four digits


@dataclass(frozen=True)
class Traces:
    """Sessions of P people, S each, of T uses. Positions are metres north and east of `CITY`."""

    numbers: tuple[str, ...]  # phone numbers, P
    homes: NDArray[np.float64]  # [P, 2]
    shops: NDArray[np.float64]  # [shops, 2]
    positions: NDArray[np.float64]  # [P, S, 2]
    apps: NDArray[np.int64]  # [P, S, T], places in the catalogue
    lengths: NDArray[np.int64]  # [P, S, T], bytes of each request as JSON


def request(task: str, current_app: str = HOME_SCREEN, last: str = "") -> bytes:
    """The record of a typed request as it goes over the wire, without its picture.

    >>> request("open Maps")
    b'{"current_app": "System Home", "last": "", "task": "open Maps"}'
    """
    return json.dumps({"current_app": current_app, "last": last, "task": task}, ensure_ascii=False).encode()


@cache
def request_lengths() -> NDArray[np.int64]:
    """Bytes of the request that opens each app, in each English wording: [apps, wordings]."""
    wordings = PHRASINGS["open_app"]["en"]
    return np.array([[len(request(wording.format(app=app.en))) for wording in wordings] for app in APPS], np.int64)


def traces(seed: int, people: int = PEOPLE, sessions: int = SESSIONS, skew: float = 1.0) -> Traces:
    """Draw the people of a seed and their sessions. ValueError unless there are two people or more and `skew` is above 0.

    With a larger `skew` people's tastes in apps differ more.
    """
    if not 2 <= people <= 10_000 or sessions < 1 or not skew > 0:
        raise ValueError(f"people is {people}, sessions {sessions}, skew {skew}; 2 to 10,000, 1 or more, and above 0")
    rng = np.random.default_rng([seed, 31])
    homes, offices, shops = (rng.uniform(-SIDE_M / 2, SIDE_M / 2, (count, 2)) for count in (people, OFFICES, SHOPS))
    own = np.stack(
        [homes, offices[rng.integers(OFFICES, size=people)], *shops[rng.integers(SHOPS, size=(HAUNTS, people))]], axis=1
    )  # [P, places, 2]
    share = [AT_HOME, AT_WORK, *[(1 - AT_HOME - AT_WORK) / HAUNTS] * HAUNTS]
    where = rng.choice(own.shape[1], (people, sessions), p=share)
    positions = own[np.arange(people)[:, None], where] + rng.normal(0, GPS_M, (people, sessions, 2))
    apps = np.stack([_apps(rng, sessions, skew) for _ in range(people)])
    lengths = request_lengths()[apps, rng.integers(request_lengths().shape[1], size=apps.shape)]
    numbers = tuple(f"{NUMBERS}{digits:04d}" for digits in rng.choice(10_000, people, replace=False))
    return Traces(numbers, homes, shops, positions, apps, lengths)


def _apps(rng: np.random.Generator, sessions: int, skew: float) -> NDArray[np.int64]:
    """One person's uses [S, T]: a taste of their own around what is popular, and habits of what follows what."""
    popular = 1 / np.arange(1, len(APPS) + 1)
    taste = rng.dirichlet(8 / skew * popular / popular.sum() + 1e-3)
    follows = rng.choice(len(APPS), len(APPS), p=taste)
    uses = rng.choice(len(APPS), (sessions, USES), p=taste)
    habitual = rng.random((sessions, USES)) < HABIT
    for place in range(1, USES):
        uses[:, place] = np.where(habitual[:, place], follows[uses[:, place - 1]], uses[:, place])
    return uses
