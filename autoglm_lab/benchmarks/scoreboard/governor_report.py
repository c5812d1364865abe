"""The report on governors and smaller models, `data/reports/edge/power.json`: with all rules and twenty seeds, or with fewer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from autoglm_lab.edge import governors
from autoglm_lab.edge.measured import PHONE_FACTOR, variant
from autoglm_lab.edge.power import SNAPDRAGON_835, SNAPDRAGON_835_BOTH, Governor, PowerTable
from autoglm_lab.edge.race import RULES, modes, pareto_front, race, tasks, worlds
from autoglm_lab.paths import data_dir

SEEDS = 20
RATES = (0.4, 0.8)  # requests a second
LOWEST_MHZ, FASTEST_MHZ = 800.0, 2457.6  # the articles' floor, and the fastest clock of that chip's fast cores
FLOOR = "ondemand, 800 MHz at least"
TABLES: Mapping[str, PowerTable] = {"fast": SNAPDRAGON_835, "both": SNAPDRAGON_835_BOTH}
VARIANTS = ("whole", "int8_static", "phone", "small", "student")
Progress = Callable[[Iterable[str]], Iterable[str]]


def rules() -> dict[str, Callable[[], Governor]]:
    """The rules of the race, and `ondemand` that never goes below 800 MHz, as the articles set it, on one fast core."""
    floor = LOWEST_MHZ / FASTEST_MHZ
    return RULES | {FLOOR: lambda: lambda phone: max(floor, governors.ondemand(phone))}


def report(
    seeds: int = SEEDS,
    rates: Sequence[float] = RATES,
    names: Mapping[str, Sequence[str]] | None = None,
    smaller: Sequence[str] = VARIANTS,
    progress: Progress = iter,
) -> dict[str, Any]:
    """Race governors on the simulated phone, and smaller models under the best of them; the same figures for the same seeds.

    `names` are the rules that race on each table (default: all on both); the baseline is one of them, or it is a KeyError. With all
    smaller models one takes part that leaves out a layer and was not trained. Errors as `race.modes`.
    """
    whole, every = variant("whole"), rules()
    work = tasks(whole.answer_ms)
    rules_by_table = {table: every if names is None else {name: every[name] for name in names[table]} for table in TABLES}
    races = {
        f"{rate:g}": {name: race(TABLES[name], worlds(rate, seeds, work), rules_by_table[name], progress) for name in TABLES}
        for rate in rates
    }
    variants = [variant(name) for name in smaller]
    if smaller == VARIANTS:
        variants.append(variant("skip_last", data_dir() / "reports" / "edge"))
    return {
        "tables": {name: table.name for name, table in TABLES.items()},
        "answer_s": work[0][0],
        "phone_factor": PHONE_FACTOR,
        "seeds": seeds,
        "rates": {
            rate: {name: [asdict(each) for each in standings] for name, standings in by_table.items()}
            for rate, by_table in races.items()
        },
        "fronts": {
            rate: {name: pareto_front(standings) for name, standings in by_table.items()} for rate, by_table in races.items()
        },
        "modes": [asdict(each) for each in modes(SNAPDRAGON_835, RATES[-1], seeds, variants)],
    }
