"""An attacker who has some sessions under people's names and gives the later ones, which carry pseudonyms, a name each.

Naive Bayes: how likely are a session's place and its sequence of apps for each person, when all people are alike before. The first
guess (top 1) counts, against the chance of one in so many people. Four points of a trajectory single out 95 % of 1.5 million people
(de Montjoye et al. 2013).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autoglm_lab.edge.privacy.personas import N_TRAINING, SIDE_M
from autoglm_lab.edge.privacy.release import Publication, Release

ELSEWHERE = 0.05  # share of sessions that an attacker expects at a place where the person never was
PRIOR = 4.0  # uses of an app that the taste of all people counts for
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Naming:
    """Probability that an attacker puts on the right name of each of P people, and how often it is the first guess."""

    certainty: Floats  # [P]
    right: Floats  # [P]
    confidence: float  # mean probability of the first guesses: the attacker knows this without knowing who is right


def name_people(publication: Publication, release: Release, n_training: int = N_TRAINING) -> Naming:
    """Name the sessions after the first `n_training` of each person.

    Sessions of one pseudonym are named together. Purposes with pseudonyms of their own are named apart; the one counts in which the
    attacker is more confident. ValueError when no session is left to learn from or to be named.
    """
    sessions = publication.symbols.shape[1]
    if not 0 < n_training < sessions:
        raise ValueError(f"n_training is {n_training}; of {sessions} sessions some are learned from and some left to be named")
    evidence = [symbol_scores(publication.symbols, n_training)]
    if publication.positions is not None:
        evidence.append(place_scores(publication.positions, n_training, release.spread_m))
    if release.joins_purposes:
        evidence = [np.sum(evidence, axis=0)]
    if release.links_sessions:
        evidence = [scores.sum(axis=1, keepdims=True) for scores in evidence]
    return max((_name(scores) for scores in evidence), key=lambda naming: naming.confidence)


def _name(scores: Floats) -> Naming:
    """Posterior of each person's own name, and share of first guesses that are right, over the sessions [P, S, candidates]."""
    likely = np.exp(scores - scores.max(axis=-1, keepdims=True))
    posterior = likely / likely.sum(axis=-1, keepdims=True)
    own = np.arange(len(scores))
    right = (scores.argmax(axis=-1) == own[:, None]).mean(axis=1)
    return Naming(posterior[own, :, own].mean(axis=1), right, float(posterior.max(axis=-1).mean()))


def place_scores(positions: Floats, n_training: int, spread_m: float) -> Floats:
    """Log-likelihood of the place of each later session [P, S - n_training] for each candidate [P]: [P, S - n_training, P].

    A candidate is where the training sessions were, blurred by `spread_m`, or anywhere in the city.
    """
    later, training = positions[:, n_training:, None, None], positions[None, None, :, :n_training]
    squares = ((later - training) ** 2).sum(axis=-1)
    near = np.exp(-squares / (2 * spread_m**2)).mean(axis=-1) / (2 * np.pi * spread_m**2)
    scores: Floats = np.log((1 - ELSEWHERE) * near + ELSEWHERE / SIDE_M**2)
    return scores


def symbol_scores(symbols: NDArray[np.int64], n_training: int) -> Floats:
    """Log-likelihood of the symbols of each later session for each candidate: [P, S - n_training, P].

    Counts of pairs in a row, backed off to the person's taste, backed off to everybody's.
    """
    people = len(symbols)
    _, numbers = np.unique(symbols, return_inverse=True)
    numbers = numbers.reshape(symbols.shape)
    kinds = int(numbers.max()) + 1
    training, later = numbers[:, :n_training], numbers[:, n_training:]
    uses, pairs = np.zeros((people, kinds)), np.zeros((people, kinds, kinds))
    person = np.arange(people)[:, None, None]
    np.add.at(uses, (person, training), 1)
    np.add.at(pairs, (person, training[..., :-1], training[..., 1:]), 1)
    everybody = (uses.sum(axis=0) + 1) / (uses.sum() + kinds)
    taste = (uses + PRIOR * everybody) / (uses.sum(axis=1, keepdims=True) + PRIOR)
    follows = (pairs + PRIOR * taste[:, None]) / (pairs.sum(axis=2, keepdims=True) + PRIOR)
    first = np.log(taste)[:, later[..., 0]]
    rest = np.log(follows)[:, later[..., :-1], later[..., 1:]].sum(axis=-1)
    return np.moveaxis(first + rest, 0, -1)
