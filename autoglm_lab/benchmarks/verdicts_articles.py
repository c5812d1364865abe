"""Verdicts on everything else that the articles claim: by figures of this repository, by arithmetic, or not at all.

What falls by arithmetic is computed here in a line or two; chapter 14 shows the same cells.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autoglm_lab.benchmarks.verdicts import HOLDS, IN_PART, NONE, NOT, UNKNOWABLE, Judgement, Reports, Verdict

Judge = Callable[[Reports], Judgement]
RESNET18_PARAMETERS, RESNET18_LAST_LAYER = 11.69e6, 512 * 1000 + 1000  # of torchvision's, and of its only linear layer
PARAMETERS_9B = 9e9


def says(verdict: str, reason: str) -> Judge:
    """Judge by a reason that no figure decides."""
    return lambda reports: Judgement(verdict, reason)


def computed(verdict: str, reason: str) -> Judge:
    """Judge by arithmetic that is done here."""
    return lambda reports: Judgement(verdict, reason, how="arithmetic")


def megabytes(parameters: float, bits: float) -> float:
    """The size of so many parameters at so many bits each, in MB."""
    return parameters * bits / 8 / 1e6


def _latency(name: str, claimed_saving: float, claimed_loss: float) -> Judge:
    """Judge a saving of latency and a loss of points by a bundle that was measured beside the whole agent."""

    def judge(reports: Reports) -> Judgement:
        each, whole = reports["onnx"][name], reports["onnx"]["whole"]
        saving, loss = 100 * (1 - each["answer_ms"] / each["whole_ms"]), 100 * (whole["success"] - each["success"])
        is_fast, is_right = saving >= claimed_saving, loss <= claimed_loss
        verdict = HOLDS if is_fast and is_right else IN_PART if is_fast or is_right else NOT
        reason = f"{name}: an answer takes {saving:.0f}% less, {loss:.1f} points are lost (n = {each['n']}), in ONNX Runtime"
        return Judgement(verdict, reason, how="measured", command=f"make figures ONLY=onnx:{name}")

    return judge


def _int8_size(reports: Reports) -> Judgement:
    ratio = reports["onnx"]["int8_static"]["bytes"] / reports["onnx"]["whole"]["bytes"]
    memory = reports["memory"]["ways"]
    reason = (
        f"the INT8 bundle has {ratio:.0%} of the bytes. Memory is another matter: what the runtime keeps beside the weights stays, "
        f"{memory['read']['peak_mb']['median']:.0f} MB at the peak for the floats"
    )
    return Judgement(IN_PART if ratio < 0.28 else NOT, reason, how="measured", command="make figures ONLY=onnx:int8_static")


def _four_bits(reports: Reports) -> Judgement:
    ratio = reports["torch"]["int4"]["bytes"] / reports["torch"]["whole"]["bytes"]
    reason = (
        f"4 of 16 bits are 25%, with scales {ratio:.0%} here; 40% means that a part stayed as it was. The call that is shown, "
        "`model.quantize(4)`, is in no class of transformers"
    )
    return Judgement(IN_PART if ratio <= 0.4 else NOT, reason, how="measured", command="make figures ONLY=report:int4")


def _times_faster(name: str, claimed: float, loss: float) -> Judge:
    def judge(reports: Reports) -> Judgement:
        each, whole = reports["torch"][name], reports["torch"]["whole"]
        times, points = each["whole_ms"] / each["answer_ms"], 100 * (whole["success"] - each["success"])
        is_fast, is_right = times >= claimed, points <= loss
        reason = (
            f"{name}: {points:.1f} points lost, {times:.2f} times as fast in PyTorch: "
            f"{'as claimed' if is_fast else 'kernels for dense matrices gain nothing from zeros'}"
        )
        verdict = HOLDS if is_fast and is_right else IN_PART if is_fast or is_right else NOT
        return Judgement(verdict, reason, how="measured", command=f"make figures ONLY=report:{name}")

    return judge


def _channels(reports: Reports) -> Judgement:
    cut, more = reports["onnx"]["channels45"], reports["torch"]["channels60"]
    whole, times = reports["onnx"]["whole"], cut["whole_ms"] / cut["answer_ms"]
    loss, larger_loss = (100 * (whole["success"] - each["success"]) for each in (cut, more))
    saved = 1 - cut["macs"] / reports["torch"]["whole"]["macs"]
    reason = (
        f"with {saved:.0%} of the MACs gone {loss:.1f} points are lost and an answer is {times:.1f} times as fast; with 60% of the "
        f"channels gone {larger_loss:.0f} points are"
    )
    verdict = HOLDS if larger_loss <= 1.2 and times >= 2.3 else IN_PART if loss <= 1.2 else NOT
    return Judgement(verdict, reason, how="measured", command="make figures ONLY=onnx:channels45")


def _thirty_per_cent(reports: Reports) -> Judgement:
    each, whole = reports["torch"]["fisher30"], reports["torch"]["whole"]
    saved, loss = 100 * (1 - each["macs"] / whole["macs"]), 100 * (whole["success"] - each["success"])
    verdict = HOLDS if saved >= 30 and loss <= 1.5 else IN_PART if saved >= 30 or loss <= 1.5 else NOT
    reason = f"fisher30: {saved:.0f}% of the MACs gone, {loss:.1f} points lost (n = {each['n']}), after training"
    return Judgement(verdict, reason, how="measured", command="make figures ONLY=report:fisher30")


def _aware(reports: Reports) -> Judgement:
    each, whole = reports["torch"]["int8_static"], reports["torch"]["whole"]
    loss = 100 * (whole["success"] - each["success"])
    reason = f"INT8 with calibrated activations loses {loss:.1f} points here without any training; at 2 bits it is needed"
    return Judgement(HOLDS if loss < 1 else NOT, reason, how="measured", command="make figures ONLY=report:int8_static")


def _cache(reports: Reports) -> Judgement:
    spread = reports["race"]["whole"]["ratios"]["cache_vs_recompute"]
    reason = (
        f"a cache saves more the longer the text is: {spread['median']:.1f} times at 128 tokens here. 3.4 times belong to one "
        "length, which is not given"
    )
    verdict = HOLDS if spread["lo"] <= 3.4 <= spread["hi"] else IN_PART if spread["median"] > 3.4 else NOT
    return Judgement(
        verdict,
        reason,
        "times faster",
        (spread["median"], spread["lo"], spread["hi"]),
        spread["runs"],
        how="measured",
        command="make figures ONLY=race:whole",
    )


def _rank(reports: Reports) -> Judgement:
    each, rank, wide = reports["torch"]["rank40"], 64, 640
    times = each["whole_ms"] / each["answer_ms"]
    reason = (
        f"2 x {wide} x {rank} = {2 * wide * rank // 1000} K wants {wide} x {wide} = {wide * wide // 1000} K, not 512 K; 512 x "
        f"1,024 give {(512 + 1024) * rank // 1000} K. Measured, rank40 is {times:.2f} times as fast in PyTorch"
    )
    return Judgement(NOT, reason, how="arithmetic")


ARTICLES: tuple[Verdict, ...] = (
    Verdict("K01", "", "99 % fail", says(NONE, "no source, no count, no definition of failing")),
    Verdict("K02", "B8", "4 bits: 40 % of the size", _four_bits),
    Verdict(
        "K03",
        "E1",
        "9 B in 4 GB of free memory",
        computed(
            NOT, f"9 B parameters at 4 bits are {megabytes(PARAMETERS_9B, 4) / 1000:.1f} GB before scales, cache and pictures"
        ),
    ),
    Verdict(
        "K04",
        "E1",
        "2 to 4 cores, 4 to 8 GB, 50 to 100 GB",
        says(NONE, "a list for a server with a database, in an article on phones; it contradicts the list before it"),
    ),
    Verdict(
        "K05",
        "",
        "torch 1.13.0+cpu installs in Termux",
        says(NOT, "those wheels are for x86-64 and glibc; Termux is ARM64 and bionic"),
    ),
    Verdict("K06", "", "API level 21 is Android 5.0", says(HOLDS, "it is; the same article asks for Android 10, level 29")),
    Verdict("K08", "B1", "prune the smallest 20 %", says(NONE, "a setting, no result")),
    Verdict(
        "K09",
        "C1",
        "opset 13 and a dynamic batch",
        says(NONE, "a setting; at a fixed length of 512 every short request pays for a long one (chapter 08)"),
    ),
    Verdict("K10", "C8", "TensorRT on a T4: 8.2 ms", says(UNKNOWABLE, "model, input and runs are not named")),
    Verdict(
        "K11",
        "C6",
        "NCNN on a phone's core: 15.4 ms",
        says(UNKNOWABLE, "the model is not named; 65 TFLOPS would be only 1.9 times as fast as one core of a phone"),
    ),
    Verdict(
        "K12",
        "D4",
        "one by one 120 ms, 85/s; threads 45 ms, 210/s",
        computed(
            IN_PART,
            f"by Little's law {0.120 * 85:.1f} and {0.045 * 210:.1f} requests are under way: ten clients; but one worker of 120 ms "
            f"answers {1 / 0.120:.1f}/s, not 85",
        ),
    ),
    Verdict("K17", "", "Hailo-8: 26 TOPS at 0.5 W", says(NOT, "its maker gives 2.5 W as typical: five times as much")),
    Verdict("K18", "B7", "INT8: a quarter of the memory", _int8_size),
    Verdict("K19", "B6", "r = 64: 512 K -> 82 K, 1.7 times as fast", _rank),
    Verdict("K20", "B10", "pruned: -40 % latency, 2.1 % loss", _latency("answers40", 40, 2.1)),
    Verdict("K21", "B10", "quantised: -55 % latency, 3.8 % loss", _latency("int8_static", 55, 3.8)),
    Verdict("K22", "B10", "both: -62 % latency, 1.5 % loss", _latency("small", 62, 1.5)),
    Verdict("K23", "B5", "T = 3, alpha = 0.7", says(NONE, "settings, no result")),
    Verdict(
        "K24",
        "B7",
        "ResNet-18: 98 MB",
        computed(NOT, f"11.7 M parameters of 32 bits are {megabytes(RESNET18_PARAMETERS, 32):.0f} MB; 98 MB is ResNet-50"),
    ),
    Verdict(
        "K25",
        "B7",
        "static INT8: 69.8 %, 42.1 ms, 24 MB",
        computed(
            NOT, f"a quarter of its floats are {megabytes(RESNET18_PARAMETERS, 8):.0f} MB; 24 MB is a quarter of another network's"
        ),
    ),
    Verdict(
        "K26",
        "B7",
        "dynamic INT8: 48.7 ms, 24 MB",
        computed(
            NOT,
            "the code rounds linear layers; ResNet-18 has one, "
            f"{RESNET18_LAST_LAYER / RESNET18_PARAMETERS:.0%} of its weights, so "
            f"{megabytes(RESNET18_PARAMETERS, 32) - 0.75 * megabytes(RESNET18_LAST_LAYER, 32):.0f} MB remain",
        ),
    ),
    Verdict("K27", "B7", "180 -> 45 MB", computed(HOLDS, f"{45 / 180:.0%}: what 8 of 32 bits are")),
    Verdict("K28", "B7", "120 -> 68 ms", _latency("int8_static", 100 * (1 - 68 / 120), 1.0)),
    Verdict(
        "K30",
        "D5",
        "4 streams: 18.2 ms, 220/s",
        computed(HOLDS, f"4 / 18.2 ms = {4 / 0.0182:.0f}/s: consistent; the model is not named"),
    ),
    Verdict(
        "K31",
        "D5",
        "8 streams: 15.7 ms, 305/s",
        computed(
            NOT,
            f"8 / 15.7 ms = {8 / 0.0157:.0f}/s, not 305; and an answer does not get quicker when twice as many share the device",
        ),
    ),
    Verdict("K37", "", "mesh 38 %, serverless 42 %, AIOps 25 %", says(NONE, "of other subjects, without a source")),
    Verdict("K38", "", "pods of 128 and 256 MiB", says(NONE, "an example")),
    Verdict(
        "K39",
        "",
        "100 billion parameters in real time on a phone",
        computed(NOT, f"at 4 bits they are {megabytes(100e9, 4) / 1000:.0f} GB, and every token reads them all"),
    ),
    Verdict("K40", "C9", "start 1.8 -> 0.9 s", says(UNKNOWABLE, "of what, on which device, from when to when is not said")),
    Verdict(
        "K41",
        "C9",
        "memory 420 -> 280 MB",
        computed(
            UNKNOWABLE,
            f"280 MB hold {280e6 * 2 / 1e9:.2f} B parameters at 4 bits, the agent is said to have 9; the model is not named",
        ),
    ),
    Verdict("K42", "C9", "P95 1,200 -> 680 ms", says(UNKNOWABLE, "load, device and model are not named")),
    Verdict("K43", "B1", "80 % zeros: < 1 % loss, 1.5 times as fast", _times_faster("sparse80", 1.5, 1.0)),
    Verdict("K44", "B2", "60 % of the channels: 1.2 % loss, 2.3 times as fast", _channels),
    Verdict("K45", "B7", "400 -> 100 MB, 120 -> 65 ms, 78.5 -> 77.9 %", _latency("int8_static", 100 * (1 - 65 / 120), 0.6)),
    Verdict(
        "K46",
        "A4",
        "a window makes attention O(n w)",
        says(
            NOT, "the mask that is shown computes all n x n products and hides most; blocks that are left out do save (chapter 07)"
        ),
    ),
    Verdict("K55", "", "a sidecar: success 92 -> 99.8 %", says(NONE, "of a bank, not of a phone; nothing to repeat")),
    Verdict("K56", "", "pool of 10 to 50 connections", says(NONE, "of a database")),
    Verdict(
        "K57",
        "A2",
        "9 B parameters, image, speech and text",
        says(NOT, "the public model reads images and text; it has no part that hears"),
    ),
    Verdict(
        "K58",
        "A2",
        "224 x 224 pixels, 16 kHz, 80 mel bands, 512 tokens",
        says(NONE, "sizes of the inputs, which this agent shares; no result"),
    ),
    Verdict(
        "K59",
        "A4",
        "sparse attention O(n sqrt n)",
        says(NOT, "with a mask over all products it is O(n n) and slower; only blocks that are never computed save (chapter 07)"),
    ),
    Verdict(
        "K60",
        "D1",
        "two RTX 4090 at least",
        computed(NOT, f"9 B parameters at 16 bits are {megabytes(PARAMETERS_9B, 16) / 1000:.0f} GB; one card has 24"),
    ),
    Verdict("K61", "B5", "distil at T = 5", says(NONE, "a setting; another chapter says 3")),
    Verdict("K62", "B3", "-30 % compute, < 1.5 % loss", _thirty_per_cent),
    Verdict("K63", "B9", "QAT INT8: < 1 % loss", _aware),
    Verdict("K64", "A5", "KV cache: 3.4 times as fast", _cache),
)


def read_figures(folder: Path) -> dict[str, Any]:
    """Read the reports that verdicts are computed from: of the edge by name, and those of models, bundles and races by kind."""

    def read(place: Path) -> dict[str, Any]:
        return {path.stem: json.loads(path.read_text("utf-8")) for path in sorted(place.glob("*.json"))}

    return read(folder / "edge") | {"torch": read(folder), "onnx": read(folder / "onnx"), "race": read(folder / "race")}
