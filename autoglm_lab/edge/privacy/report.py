"""Measures every attack and what protection costs; each figure has its interval over seeds of people or phones."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from autoglm_lab.edge.privacy.averaging import home_errors
from autoglm_lab.edge.privacy.enumeration import enumerate_hashes, hashes_per_second
from autoglm_lab.edge.privacy.keystream import recovery, reuse_after_restore
from autoglm_lab.edge.privacy.lengths import exchanges, guess_by_length
from autoglm_lab.edge.privacy.linking import name_people
from autoglm_lab.edge.privacy.nonces import NONCE_BYTES, Draw
from autoglm_lab.edge.privacy.padding import STEP
from autoglm_lab.edge.privacy.personas import N_TRAINING, NUMBERS, PEOPLE, request, traces
from autoglm_lab.edge.privacy.pseudonym import Pseudonyms, plain_hash
from autoglm_lab.edge.privacy.release import Identity, Release, publish
from autoglm_lab.edge.privacy.sealer import GCM, GCM_SIV, KEY_BYTES, OVERHEAD, Label, Sealer, decrypt, encrypt
from autoglm_lab.edge.privacy.utility import REDUCTIONS, nearest_shop, next_app, requests, still_right, wilson
from autoglm_lab.edge.race import Interval
from autoglm_lab.runtime.engine import Engine

SINGLE = Release(identity="new key each day")  # each session has to be named by itself
RELEASES: dict[str, Release] = {
    **{f"place, {letters} letters": replace(SINGLE, apps=False, padding=True, precision=letters) for letters in (8, 7, 6, 5, 4, 3)},
    "apps": replace(SINGLE, place=False, padding=True),
    "lengths only": replace(SINGLE, place=False, apps=False),
    "lengths, padded": replace(SINGLE, place=False, apps=False, padding=True),
    "place, 6 letters, noise each report": replace(SINGLE, apps=False, padding=True, precision=6, noise="each report"),
    "place, 6 letters, noise once per place": replace(SINGLE, apps=False, padding=True, precision=6, noise="once per place"),
    "place and apps, 5 letters, new key each day": replace(SINGLE, precision=5),
    "place and apps, 5 letters, key per purpose": Release(precision=5, identity="key per purpose"),
    "place and apps, 5 letters, one key": Release(precision=5),
    "apps, key per purpose": Release(place=False, padding=True, identity="key per purpose"),
    "lengths only, key per purpose": Release(place=False, apps=False, identity="key per purpose"),
    "lengths, padded, key per purpose": Release(place=False, apps=False, padding=True, identity="key per purpose"),
}
ALL_NUMBERS = 10**8  # of one prefix in a country with eleven digits
REPORTS = (1, 4, 16, 64)

Progress = Callable[[Iterable[str]], Iterable[str]]


def report(
    seeds: int = 12,
    clock: Callable[[], float] = perf_counter,
    engine: Engine | None = None,
    n_requests: int = 150,
    progress: Progress = iter,
) -> dict[str, Any]:
    """Measure all attacks over so many seeds, as JSON; with an `engine`, also commands that are right when less of them is sent.

    Everything is the same for the same seeds but the rate of hashing, which `clock` measures. ValueError for fewer than two seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds is {seeds}; an interval needs two or more")
    parts: dict[str, Callable[[], Any]] = {
        "sealing": sealing,
        "enumeration": lambda: enumeration(seeds, clock),
        "linking": lambda: linking(seeds),
        "joining": lambda: joining(seeds),
        "linking_with_other_tastes": lambda: {f"{skew:g}": linking(seeds, skew, ("apps", "lengths only")) for skew in (0.5, 2.0)},
        "averaging": lambda: averaging(seeds),
        "nonces": lambda: nonces(seeds),
        "lengths": lambda: lengths(seeds),
    }
    if engine is not None:
        parts["commands"] = lambda: commands(engine, n_requests)
    return {"seeds": seeds, "people": PEOPLE, "chance": 1 / PEOPLE} | {name: parts[name]() for name in progress(list(parts))}


def over(seeds: int, attack: Callable[[int], float]) -> dict[str, float]:
    """Mean and 95 % interval of an attack over seeds."""
    return asdict(Interval.of(attack(seed) for seed in range(seeds)))


def sealing() -> dict[str, Any]:
    """Count what a sealer refuses, and whether two records can be swapped with associated data and without (claim K54)."""
    sealer, key = Sealer({1: secrets.token_bytes(KEY_BYTES)}), secrets.token_bytes(KEY_BYTES)
    label, other = Label("chat", "1", 1), Label("chat", "2", 1)
    text = request("open Maps")
    envelope = sealer.seal(text, label)
    as_number = int.from_bytes(envelope, "big")
    flips = [(as_number ^ 1 << bit).to_bytes(len(envelope), "big") for bit in range(8 * len(envelope))]
    nonce = secrets.token_bytes(NONCE_BYTES)
    bare = nonce + encrypt(GCM, key, nonce, text, b"")  # the same bytes whatever record they are stored as
    return {
        "bytes": {"text": len(text), "overhead": OVERHEAD, "envelope": len(envelope)},
        "changes": len(flips),
        "changes_refused": sum(_refuses(sealer.open, changed, label) for changed in flips),
        "refused_without_the_key": _refuses(Sealer({1: key}).open, envelope, label),
        "swap_refused": _refuses(sealer.open, envelope, other),
        "swap_refused_without_associated_data": _refuses(decrypt, GCM, key, bare[:NONCE_BYTES], bare[NONCE_BYTES:], b""),
    }


def _refuses(read: Callable[..., bytes], *arguments: object) -> bool:
    try:
        read(*arguments)
    except ValueError:
        return True
    return False


def enumeration(seeds: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Share of people whose number comes back from its hash, and the time for all numbers of a prefix at this process's rate."""
    rate = Interval.of(hashes_per_second(clock) for _ in range(5))

    def recovered(seed: int, name: Callable[[str], str]) -> float:
        people = traces(seed).numbers
        return len(enumerate_hashes([name(number) for number in people], NUMBERS, 4)) / len(people)

    def keyed(seed: int) -> Callable[[str], str]:
        names = Pseudonyms(np.random.default_rng([seed, 59]).bytes(KEY_BYTES))
        return lambda number: names("nearby", number)

    return {
        "plain_hash": over(seeds, lambda seed: recovered(seed, plain_hash)),
        "keyed_hash": over(seeds, lambda seed: recovered(seed, keyed(seed))),
        "hashes_per_second": asdict(rate),
        "minutes_for_all_numbers": ALL_NUMBERS / rate.mean / 60,
    }


def linking(seeds: int, skew: float = 1.0, names: Iterable[str] = tuple(RELEASES)) -> dict[str, Any]:
    """Share of first guesses that are right for each release, the probability on the right name, and the utility that is left."""
    people = [traces(seed, skew=skew) for seed in range(seeds)]

    def row(release: Release) -> dict[str, Any]:
        publications = [publish(each, release, seed) for seed, each in enumerate(people)]
        namings = [name_people(each, release) for each in publications]
        return {
            "top_1": asdict(Interval.of(float(each.right.mean()) for each in namings)),
            "certainty": asdict(Interval.of(float(each.certainty.mean()) for each in namings)),
            "nearest_shop": asdict(Interval.of(nearest_shop(*pair) for pair in zip(people, publications, strict=True))),
            "next_app": asdict(Interval.of(next_app(each, release) for each in people)),
            "bytes": float(np.mean([each.bytes for each in publications])),
        }

    return {name: row(RELEASES[name]) for name in names}


def joining(seeds: int, precision: int = 6) -> dict[str, Any]:
    """Top-1 naming of one later session when both purposes carry one pseudonym, and when each has its own."""

    def top_1(identity: Identity) -> dict[str, float]:
        release = Release(precision=precision, identity=identity)
        people = [traces(seed, sessions=N_TRAINING + 1) for seed in range(seeds)]
        publications = [publish(each, release, seed) for seed, each in enumerate(people)]
        return asdict(Interval.of(float(name_people(each, release).right.mean()) for each in publications))

    return {"precision": precision, "one key": top_1("one key"), "key per purpose": top_1("key per purpose")}


def averaging(seeds: int, scale_m: float = 300.0) -> dict[str, Any]:
    """Median metres between a home and the mean of so many noisy reports."""

    def errors(reports: int, once: bool) -> dict[str, float]:
        return over(seeds, lambda seed: float(np.median(home_errors(traces(seed), reports, scale_m, once, seed))))

    ways = {"each report": False, "once per place": True}
    return {"scale_m": scale_m} | {way: {str(n): errors(n, once) for n in REPORTS} for way, once in ways.items()}


def nonces(seeds: int) -> dict[str, Any]:
    """Messages that a crib reads when a nonce is used twice, and nonces that come again after a backup was put back."""
    with tempfile.TemporaryDirectory() as folder:
        starts: dict[str, Draw] = {"stored counter": bytes, "random start": secrets.token_bytes}
        restored = {name: reuse_after_restore(draw, Path(folder) / name) for name, draw in starts.items()}
    return {
        "read_by_a_crib": {
            "AES-GCM, one nonce": over(seeds, recovery),
            "AES-GCM, a nonce each": over(seeds, lambda seed: recovery(seed, reuse=False)),
            "AES-GCM-SIV, one nonce": over(seeds, lambda seed: recovery(seed, cipher=GCM_SIV)),
        },
        "used_again_after_restore": restored,
    }


def lengths(seeds: int) -> dict[str, Any]:
    """Share of commands whose kind or app is guessed right from the length of their messages, and the bytes that padding costs."""
    rows = [exchanges(seed) for seed in range(seeds)]
    result: dict[str, Any] = {}
    for name, step in (("bare", 0), ("padded to 16", 16), (f"padded to {STEP}", STEP), ("padded to 256", 256)):
        by_kind, by_app = ([guess_by_length(each, target, step) for each in rows] for target in ("kind", "app"))
        result[name] = {
            "kind": asdict(Interval.of(each.right for each in by_kind)),
            "app": asdict(Interval.of(each.right for each in by_app)),
            "bytes": asdict(Interval.of(each.bytes for each in by_kind)),
        }
        result["chance"] = {
            target: float(np.mean([each.chance for each in guesses])) for target, guesses in (("kind", by_kind), ("app", by_app))
        }
    return result


def commands(engine: Engine, count: int) -> dict[str, Any]:
    """Share of steps that an engine does right when part of its request stays on the phone, with intervals over steps."""
    rows = requests(0, count)
    shares = {name: asdict(wilson(still_right(engine, rows, reduce))) for name, reduce in REDUCTIONS.items()}
    return {"n": count, **shares}
