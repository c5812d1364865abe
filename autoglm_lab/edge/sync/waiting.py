"""The time until a message is there, which the network makes: a slot for one packet, the way, and again when the packet is lost."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from autoglm_lab.edge.trace import PACKET_BYTES, Levels, Trace

PAYLOAD_BYTES = 1400  # of a packet, beside the headers of the layers below


@dataclass(frozen=True)
class Way:
    """The part of the way that is no slot: seconds to the other device, share of packets lost, first time-out for another try.

    Time-outs double (RFC 6298; 0.2 s is the least in Linux).
    """

    one_way_s: float = 0.03
    loss: float = 0.01
    timeout_s: float = 0.2

    def __post_init__(self) -> None:
        if not (self.one_way_s >= 0 and 0 <= self.loss < 1 and self.timeout_s > 0):
            raise ValueError(f"{self} cannot be: times are positive, loss is a share below 1")


def trace_of(link: Levels, seconds: int, seed: int, name: str = "sampled") -> Trace:
    """Sample a trace of so many seconds from a chain."""
    passed = np.cumsum(link.sample(seconds, seed)) * 125_000
    return Trace(name, np.arange(seconds + 1, dtype=float), np.concatenate(([0.0], passed)))


def slot_end(trace: Trace, start_s: float, n_packets: int = 1) -> float:
    """The time at which so many packets have passed that were ready at `start_s`; a slot lets one pass, however small it is."""
    passed = trace.bytes_until(start_s)
    n_bytes = (math.floor(passed / PACKET_BYTES) + n_packets) * PACKET_BYTES - passed
    return start_s + trace.seconds_to_send(start_s, n_bytes)


def delay(trace: Trace, start_s: float, n_packets: int, way: Way, rng: np.random.Generator) -> float:
    """The seconds until so many packets are there, lost ones sent again."""
    n_missing, tries, now, arrival = n_packets, 0, start_s, start_s
    while n_missing:
        now = slot_end(trace, now, n_missing)
        n_missing, arrival = int(rng.binomial(n_missing, way.loss)), now + way.one_way_s
        now, tries = now + way.timeout_s * 2**tries, tries + 1
    return arrival - start_s


def delays(trace: Trace, n_bytes: int, way: Way, seed: int, count: int = 400) -> Float[np.ndarray, " count"]:
    """The seconds until messages of so many bytes are there that are ready at random times of a trace.

    Sizes of as many packets have the same times and losses.
    """
    n_packets = max(1, math.ceil(n_bytes / PAYLOAD_BYTES))
    starts, rng = np.random.default_rng([seed, 29]).uniform(0, trace.period_s, count), np.random.default_rng([seed, n_packets])
    return np.array([delay(trace, start, n_packets, way, rng) for start in starts])
