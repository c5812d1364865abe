"""Verdicts on what the articles claim of offloading and of intent, computed from `data/reports/edge`."""

from __future__ import annotations

from collections.abc import Mapping

from autoglm_lab.benchmarks.verdicts import HOLDS, IN_PART, NOT, UNKNOWABLE, Judgement, Reports, Verdict

PREDICTOR = "Markov-3, mixed"


def _spread(interval: Mapping[str, float], times: float = 1.0) -> tuple[float, float, float]:
    return times * interval["mean"], times * interval["low"], times * interval["high"]


def _offloading(reports: Reports) -> Judgement:
    figures = reports["offload"]
    worse = figures["worlds"]["worse"]
    learners, fixed, waiting = worse["learners"], worse["fixed"], worse["free_waiting"]
    theirs, whole = learners["DQN, the articles' three numbers"], learners["DQN"]
    best_rule = max(fixed[name] for name in ("tuned threshold", "greedy", "least latency"))
    reason = (
        f"no result is given. On a bad network a DQN with their three numbers earns {theirs['mean']:.1f} a request, a rule "
        f"of one line {best_rule:.1f}, a DQN with the whole state {whole['mean']:.1f}, the optimum {fixed['optimum']:.1f}. Their "
        f"rewards let waiting cost nothing: the best policy for them serves {waiting['ends']['in time']:.0%} in time instead of "
        f"{waiting['honest_ends']['in time']:.0%}"
    )
    verdict = HOLDS if theirs["low"] > best_rule else IN_PART if whole["low"] > best_rule else NOT
    return Judgement(verdict, reason, "reward a request", _spread(theirs), figures["seeds"], "offload")


def _gate(reports: Reports) -> Judgement:
    figures = reports["intent"]
    facts, rows = figures["verdicts"]["K50"], figures["value"][PREDICTOR]["new"]
    losses = len(facts["ratios_where_it_loses"])
    at_one = next(row for row in rows if row["ratio"] == 1)["all"]["calibrated - raw 0.8"]
    reason = (
        f"0.8 is the gate where a miss costs {facts['ratio_it_fits']:.0f} times what a hit saves; of guesses above "
        f"it {facts['precision']['mean']:.0%} are right here, {facts['precision_first_steps']['mean']:.0%} at the first step of a "
        f"task. The gate cost / (cost + saving) on calibrated guesses gains more at {losses} of {len(rows)} ratios"
    )
    verdict = NOT if losses == len(rows) else IN_PART if losses else HOLDS
    return Judgement(verdict, reason, "ms a step that 0.8 loses, equal costs", _spread(at_one), figures["seeds"], "intent")


def _no_prediction(reports: Reports) -> Judgement:
    facts = reports["intent"]["verdicts"]["K51"]
    reason = (
        f"hits of what, if nothing is predicted? Taken with the last row it makes a hit {facts['hit_ms']:.0f} ms and a miss "
        f"{facts['miss_ms']:.0f} ms; device, model and number of users are not named"
    )
    return Judgement(UNKNOWABLE, reason, how="arithmetic")


def _rules(reports: Reports) -> Judgement:
    facts = reports["intent"]["verdicts"]["K52"]
    off = abs(facts["follows_ms"] / facts["claimed_ms"] - 1)
    reason = f"the two other rows give {facts['follows_ms']:.0f} ms for 73% of hits, {off:.0%} off: they fit each other, no more"
    return Judgement(IN_PART if off < 0.1 else NOT, reason, how="arithmetic")


def _intent(reports: Reports) -> Judgement:
    figures = reports["intent"]
    facts = figures["verdicts"]["K53"]
    needed, first = facts["misses_to_foresee"], facts["top1_first_steps"]
    reason = (
        f"{needed:.0%} of what was missed before has to be foreseen. Here {facts['top1']['mean']:.0%} of all steps are, of "
        f"the first steps of tasks {first['mean']:.0%}, and {facts['top1_control_first_steps']['mean']:.0%} where tasks do not "
        "depend on each other; wasted work is not reported"
    )
    verdict = HOLDS if first["low"] >= needed else NOT
    return Judgement(verdict, reason, "first steps foreseen, %", _spread(first, 100), figures["seeds"], "intent")


def _message(reports: Reports) -> Judgement:
    figures, waits = reports["sync"], reports["traces"]["waits"]
    claim, mean = figures["claim"], figures["traffic"]["mean_bytes"]
    quiet = [row["p95_ms"]["mean"] for row in (*figures["network"], *waits) if not row["loss"] and row["bytes"] == claim["bytes"]]
    reason = (
        f"a sealed write takes {mean['mean']:.0f} bytes, {figures['traffic']['share_to_87']:.0%} of them at most {claim['bytes']}: "
        f"that holds. The time is the network's, which is not named: 95% are there within {min(quiet):.0f} ms on one and "
        f"{max(quiet):.0f} ms on another, whatever the bytes"
    )
    verdict = IN_PART if mean["high"] <= claim["bytes"] else NOT
    return Judgement(verdict, reason, "bytes a write, sealed", _spread(mean), figures["traffic"]["n"], "sync")


def _sealing(reports: Reports) -> Judgement:
    figures = reports["privacy"]
    sealing, nonces = figures["sealing"], figures["nonces"]
    is_sealed = sealing["changes_refused"] == sealing["changes"] and sealing["swap_refused"]
    bare = "it is" if sealing["swap_refused_without_associated_data"] else "an exchange is not"
    reason = (
        f"sealed with a label {sealing['changes_refused']} of {sealing['changes']} changed bits are refused, and an exchange of "
        f"two records; without associated data, as it is shown, {bare} refused. A stored counter "
        f"gives {nonces['used_again_after_restore']['stored counter']:.0%} of its nonces twice after a backup. And a server that "
        "cannot read cannot answer: this is a backup, no inference"
    )
    return Judgement(IN_PART if is_sealed else NOT, reason, how="measured", report="privacy")


NETWORK = (
    Verdict("K48", "F1", "DQN on load, bandwidth, queue; +10, -5, -8", _offloading),
    Verdict("K49", "F4", "87 bytes a message, 95 % within 120 ms", _message),
    Verdict("K50", "F3", "prepare above a confidence of 0.8", _gate),
    Verdict("K51", "F3", "without prediction 320 ms, 61 % hits", _no_prediction),
    Verdict("K52", "F3", "warmed by rules 210 ms, 73 % hits", _rules),
    Verdict("K53", "F3", "driven by intent 98 ms, 89 % hits", _intent),
    Verdict("K54", "F5", "AES-GCM before the upload; the server sees ciphertext", _sealing),
)
