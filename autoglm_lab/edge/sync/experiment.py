"""The claim of 87 bytes and 120 ms, measured: what a message takes, what a break costs, what the network adds, what clocks lose."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from autoglm_lab.edge.privacy.sealer import OVERHEAD
from autoglm_lab.edge.race import Interval
from autoglm_lab.edge.sync.catch_up import catch_up_bytes, count_wrong_orders, same_key_bytes
from autoglm_lab.edge.sync.codecs import as_cbor, as_json, plain, rename_replicas, sizes
from autoglm_lab.edge.sync.framing import frame, pack
from autoglm_lab.edge.sync.message import Changes, Heartbeat, Message
from autoglm_lab.edge.sync.operation import Entry, Version
from autoglm_lab.edge.sync.schedules import tally
from autoglm_lab.edge.sync.traffic import Operation, model_of, operations, text_of
from autoglm_lab.edge.sync.two_phones import Habits, count_by_clock, count_by_dots
from autoglm_lab.edge.sync.version_vector import Dot, VersionVector
from autoglm_lab.edge.sync.waiting import Way, delays, trace_of
from autoglm_lab.edge.trace import LTE, UMTS, Trace

CLAIMED_BYTES, CLAIMED_P95_MS, ASKED_BYTES = 87, 120.0, 80
SKEWS_S = (0.0, 5.0, 60.0)
MESSAGE_BYTES = (45, 87, 1400, 4200)
LEARNING_SEED = 997  # of the texts that a coder knows before
WAYS = (Way(loss=0.0), Way(), Way(loss=0.05))
N_BEFORE = 300  # writes of each phone before those that are measured: counters take two bytes
WHY_P95 = (
    "One slot of a mobile uplink lets one packet pass, of 45 or of 1,400 bytes. The wait for it, the way and the time-out of a "
    "lost packet are the network's: two networks differ more than any two formats do. A P95 without its network cannot be judged."
)


def one_write(operation: Operation, n_replicas: int = 2) -> Changes:
    """Make the message about one write, to a peer that knows all writes before."""
    end = VersionVector(dict.fromkeys(range(n_replicas), N_BEFORE) | {0: N_BEFORE + 1})
    version = Version(Dot(0, N_BEFORE + 1), operation.value)
    return Changes(0, VersionVector(dict.fromkeys(range(n_replicas), N_BEFORE)), end, (Entry(operation.key, (version,)),))


def _several_writes(writes: Sequence[Operation]) -> Changes:
    """Make the message about several writes, to a key each."""
    base = VersionVector({0: N_BEFORE, 1: N_BEFORE})
    entries = [Entry(write.key, (Version(Dot(0, N_BEFORE + n), write.value),)) for n, write in enumerate(writes, 1)]
    return Changes(0, base, VersionVector({0: N_BEFORE + len(writes), 1: N_BEFORE}), tuple(sorted(entries, key=lambda e: e.key)))


def examples() -> dict[str, Message]:
    """The messages of the table of formats."""
    vector = VersionVector({0: N_BEFORE, 1: N_BEFORE})
    line = Operation("chat line", "chat/mum/57", b"I am here in ten minutes")
    ten = [line._replace(key=f"chat/mum/{number}") for number in range(50, 60)]
    return {
        "heartbeat": Heartbeat(0, vector, 2**63),
        "one switch": one_write(Operation("switch", "set/wifi", b"1")),
        "one chat line": one_write(line),
        "one chat line, 8 replicas": one_write(line, 8),
        "ten chat lines": _several_writes(ten),
    }


def table() -> dict[str, dict[str, Any]]:
    """Measure each example in each format; packed by hand, also sealed, and framed for a stream."""
    rows = {}
    for name, message in examples().items():
        envelope = len(pack(message)) + OVERHEAD
        rows[name] = {**sizes(message), "sealed_bytes": envelope, "framed_bytes": len(frame(bytes(envelope)))}
    names = {replica: f"3f2b8c1e-9d47-4a6b-8e21-0c5d7a91e4{replica:02x}" for replica in range(8)}
    values = rename_replicas(plain(examples()["one chat line"]), names)
    long_names = {"JSON": {"bytes": len(as_json(values))}, "CBOR, names": {"bytes": len(as_cbor(values))}}
    return {**rows, "one chat line, long names": long_names}


def traffic(seeds: Iterable[int], count: int = 200) -> dict[str, Any]:
    """Measure sealed writes as a phone's owner makes them, and the least that a coder who knows such texts would need."""
    model = model_of(operations(1000, LEARNING_SEED))
    runs = {seed: operations(count, seed) for seed in seeds}
    sizes_by_seed = {seed: np.array([len(pack(one_write(write))) + OVERHEAD for write in writes]) for seed, writes in runs.items()}
    least = [math.fsum(1 + model.bits(text_of(write)) for write in writes) / 8 / count for writes in runs.values()]
    all_sizes = np.concatenate(list(sizes_by_seed.values()))
    kinds = np.array([write.kind for writes in runs.values() for write in writes])
    return {
        "n": len(all_sizes),
        "seeds": list(runs),
        "seal_bytes": OVERHEAD,
        "overhead_bytes": len(pack(one_write(Operation("", "k", b"")))) - 1 + OVERHEAD,
        "mean_bytes": asdict(Interval.of(sizes.mean() for sizes in sizes_by_seed.values())),
        "p50_bytes": float(np.median(all_sizes)),
        "p95_bytes": float(np.percentile(all_sizes, 95)),
        "most_bytes": int(all_sizes.max()),
        "share_to_80": float((all_sizes <= ASKED_BYTES).mean()),
        "share_to_87": float((all_sizes <= CLAIMED_BYTES).mean()),
        "mean_by_kind": {str(kind): float(all_sizes[kinds == kind].mean()) for kind in np.unique(kinds)},
        "least_bytes": asdict(Interval.of(least)),
    }


def clocks(seeds: Sequence[int], count: int = 400) -> dict[str, Any]:
    """Measure the shares of writes that last-writer-wins loses, by skew of the clocks; and the same timelines with dots."""
    habits, rows = Habits(), []
    for skew_s in SKEWS_S:
        counts = [count_by_clock(habits, skew_s, count, seed) for seed in seeds]
        rows.append(
            {
                "skew_s": skew_s,
                "lost": asdict(Interval.of(each.n_lost / each.n_writes for each in counts)),
                "later_lost_of_concurrent": asdict(Interval.of(each.n_later_lost / max(1, each.n_pairs) for each in counts)),
                "reverted_of_ordered": asdict(Interval.of(each.n_reverted / max(1, each.n_ordered) for each in counts)),
                "pairs": sum(each.n_pairs for each in counts),
            }
        )
    dots = [count_by_dots(habits, count, seed) for seed in seeds]
    conflict_share = asdict(Interval.of(each.n_conflicts / each.n_writes for each in dots))
    return {
        "habits": asdict(habits),
        "n": count * len(seeds),
        "seeds": list(seeds),
        "by_clock": rows,
        "by_dots": {"lost": sum(each.n_lost for each in dots), "conflicts": conflict_share},
    }


def network(seeds: Sequence[int], traces: Sequence[Trace] = ()) -> list[dict[str, Any]]:
    """Measure P50 and P95 until a message is there, by network, loss and size; on `traces` of the reader too."""
    links = {name: [trace_of(link, 600, seed, name) for seed in seeds] for name, link in (("LTE", LTE), ("UMTS", UMTS))}
    rows = []
    for name, of_link in (links | {trace.name: [trace] * len(seeds) for trace in traces}).items():
        for way in WAYS:
            for n_bytes in MESSAGE_BYTES:
                runs = [1000 * delays(trace, n_bytes, way, seed) for trace, seed in zip(of_link, seeds, strict=True)]
                p50, p95 = (asdict(Interval.of(float(np.percentile(run, q)) for run in runs)) for q in (50, 95))
                rows.append({"link": name, **asdict(way), "bytes": n_bytes, "p50_ms": p50, "p95_ms": p95})
    return rows


def report(seeds: int = 20, schedules: int = 10_000, traces: Sequence[Trace] = ()) -> dict[str, Any]:
    """Measure all that chapter 13 shows of the sync protocol, for claim K49; the same figures for the same seeds."""
    some = range(seeds)
    return {
        "claim": {"bytes": CLAIMED_BYTES, "p95_ms": CLAIMED_P95_MS, "why_p95_is_the_networks": WHY_P95},
        "formats": table(),
        "traffic": traffic(some),
        "catch_up": [catch_up_bytes(1000, (1, 3, 10, 30, 100, 300, 1000), seed) for seed in range(min(seeds, 5))],
        "one_switch_missed": same_key_bytes((1, 10, 100, 1000)),
        "network": network(range(min(seeds, 10)), traces),
        "clocks": clocks(some),
        "pruned": [count_wrong_orders(8, most, 1000, 0) for most in (2, 4, 6, 8)],
        "schedules": tally(range(schedules)).data(),
        "schedules_without_mark": tally(range(schedules), has_marks=False).data(),
    }
