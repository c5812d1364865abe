"""Bytes after a break: the keys that changed, against a copy of everything; and a vector that grows, or is pruned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from autoglm_lab.edge.sync.framing import pack
from autoglm_lab.edge.sync.store import Store
from autoglm_lab.edge.sync.traffic import operations
from autoglm_lab.edge.sync.two_phones import exchange
from autoglm_lab.edge.sync.version_vector import NOTHING, Order, VersionVector


def catch_up_bytes(n_keys: int, counts: Sequence[int], seed: int) -> list[dict[str, float]]:
    """Bytes for a phone that missed so many writes to a store of `n_keys`, each to another key, and those of a full copy."""
    writes = operations(n_keys, seed)
    here, there = Store(0, [1]), Store(1, [0])
    for number, write in enumerate(writes):
        here.put(f"{number}/{write.key}", write.value)
    exchange(here, there)
    order, rows, start = np.random.default_rng([seed, 37]).permutation(n_keys), list[dict[str, float]](), 0
    for count in sorted(counts):
        for number in order[start:count]:
            here.put(f"{number}/{writes[number].key}", writes[(number + 1) % n_keys].value)
        start = count
        delta, copy = (len(pack(here.changes_since(vector))) for vector in (there.vector, NOTHING))
        rows.append({"missed": count, "delta_bytes": delta, "copy_bytes": copy, "share": delta / copy})
    return rows


def same_key_bytes(counts: Sequence[int]) -> list[dict[str, int]]:
    """Bytes for a phone that missed so many writes to one and the same switch."""
    rows = []
    for count in counts:
        here, there = Store(0, [1]), Store(1, [0])
        for number in range(count):
            here.put("set/wifi", b"%d" % (number % 2))
        rows.append({"missed": count, "delta_bytes": len(pack(here.changes_since(there.vector)))})
    return rows


def prune(vector: VersionVector, most: int) -> VersionVector:
    """Keep the `most` entries of those who write most: a shorter vector, which knows nothing of the others any more."""
    busiest = sorted(vector.counters, key=lambda replica: (-vector[replica], replica))[:most]
    return VersionVector({replica: vector[replica] for replica in busiest})


def count_wrong_orders(n_replicas: int, most: int, count: int, seed: int) -> dict[str, float]:
    """Measure the shares of pairs of writes with a common past that pruned vectors judge wrongly.

    `hidden`: concurrent ones that are called ordered or equal, so that one would be dropped; `invented`: ordered ones that are
    called concurrent, so that the user would be asked for nothing. Counters are 1 to 1,000, few of them large.
    """
    rng, hidden, invented = np.random.default_rng([seed, 41]), 0, 0
    for _ in range(count):
        past = {replica: int(10 ** rng.uniform(0, 3)) for replica in range(n_replicas)}
        one, other = (int(replica) for replica in rng.choice(n_replicas, 2, replace=False))
        first, second = ({**past, writer: past[writer] + 1} for writer in (one, other))
        successor = {**first, other: past[other] + 1}
        short = [prune(VersionVector(counters), most) for counters in (first, second, successor)]
        hidden += short[0].compare(short[1]) is not Order.CONCURRENT
        invented += short[0].compare(short[2]) is Order.CONCURRENT
    return {"replicas": n_replicas, "entries": most, "pairs": count, "hidden": hidden / count, "invented": invented / count}
