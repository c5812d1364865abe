"""The worlds of the offloading experiment, from measured times: a kind network and a worse one."""

from __future__ import annotations

import math
from functools import cache
from io import BytesIO

from autoglm_lab.edge.measured import CLOUD_FACTOR, PHONE_FACTOR, variant
from autoglm_lab.edge.offload.world import Rewards, World
from autoglm_lab.edge.trace import LTE, UMTS
from autoglm_lab.phone.draw import draw
from autoglm_lab.phone.simulator import SimulatedPhone

SLOT_S = 0.2
DEADLINE_S = 0.6  # with a whole second the phone alone is nearly always in time, and there is nothing to decide
ROUND_TRIP_S = 0.1  # of a mobile network: assumed
OTHER_WORK = (0.0, 0.4, 0.6)  # of the processor, under the three loads
ARRIVAL_PER_S = 1.5
JPEG_QUALITY = 80
NETWORKS = {"kind": LTE, "worse": UMTS}
DEFAULT = Rewards()


@cache
def picture_bytes(side: int | None = None, seeds: int = 12) -> int:
    """The median size of a screenshot as a JPEG; `side` pixels a side, or as it is on the phone."""
    sizes = []
    for seed in range(seeds):
        image, file = draw(SimulatedPhone(seed).state), BytesIO()
        (image.resize((side, side)) if side else image).convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
        sizes.append(len(file.getvalue()))
    return sorted(sizes)[seeds // 2]


def slots(seconds: float) -> int:
    """The slots that begin within a time."""
    return max(1, math.ceil(round(seconds / SLOT_S, 6)))


def network_world(
    name: str, *, rewards: Rewards = DEFAULT, deadline_s: float = DEADLINE_S, name_of_variant: str = "whole"
) -> World:
    """The `kind` world, on LTE, or the `worse` one, on UMTS. For each request the whole screenshot is sent.

    ValueError for another name, or where a measured figure is missing.
    """
    if name not in NETWORKS:
        raise ValueError(f"there is no world {name!r}; there are {' and '.join(map(repr, NETWORKS))}")
    answer_s = variant(name_of_variant).answer_ms / 1000
    return World(
        arrival=ARRIVAL_PER_S * SLOT_S,
        deadline=slots(deadline_s),
        service=tuple(slots(PHONE_FACTOR * answer_s / (1 - share)) for share in OTHER_WORK),
        link=NETWORKS[name],
        kbit=picture_bytes() * 8 / 1000,
        away=slots(ROUND_TRIP_S + CLOUD_FACTOR * answer_s),
        most_local=slots(deadline_s),
        most_radio=slots(deadline_s),
        slot_s=SLOT_S,
        rewards=rewards,
    )
