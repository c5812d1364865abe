"""Table of what the articles on this subject claim, what is asked of the agent here, and what was measured: `data/claims.csv`.

Every figure is computed from a report in `data/reports/`; `python -m autoglm_lab.benchmarks.claims` writes the table anew.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoglm_lab import atomic
from autoglm_lab.benchmarks.verdicts import EDGE
from autoglm_lab.benchmarks.verdicts_articles import ARTICLES, read_figures
from autoglm_lab.benchmarks.verdicts_network import NETWORK
from autoglm_lab.evaluation.report import Report, read_reports
from autoglm_lab.paths import data_dir

COLUMNS = (
    "part",
    "report",
    "runtime",
    "claimed",
    "asked",
    "reached",
    "points_lost",
    "success",
    "low",
    "high",
    "n",
    "share_of_fp32_bytes",
    "macs_saved",
    "parameters_saved",
    "times_faster",
    "first_token_times_faster",
    "forward_times_faster",
    "figure",
    "measured",
    "measured_low",
    "measured_high",
    "runs",
    "training",
    "key",
    "verdict",
    "how",
    "reason",
    "command",
)


UNKNOWN = "not measured"


@dataclass(frozen=True)
class Claim:
    """One row: a report, the claim it stands beside, and the least or most that is asked of it. None where nothing is."""

    part: str  # of the course, as in its plan
    report: str
    claimed: str = ""
    points: float | None = None  # success lost, at most, in points
    of_fp32: float | None = None  # share of 32-bit bytes, at most
    macs: float | None = None  # share of MACs saved, at least
    faster: float | None = None  # times, at least: a whole answer
    recipe: str = ""  # where it differs from the report's name
    regained: str = ""  # another report, of whose loss at least half has to be regained
    better_than: str = ""  # another report that has less success
    runtime: str = ""  # in which all this has to hold, if it is not PyTorch: a figure of PyTorch is then no proof

    def asked(self) -> str:
        """Requirements of the claim, in words."""
        parts = (
            ("" if self.points is None else f"at most {self.points:g} points lost"),
            ("" if self.of_fp32 is None else f"at most {self.of_fp32:.0%} of FP32"),
            ("" if self.macs is None else f"MACs -{self.macs:.0%}"),
            ("" if self.faster is None else f"answers {self.faster:.3g} times faster"),
            (f"better than {self.better_than}" if self.better_than else ""),
            (f"half of the loss of {self.regained} regained" if self.regained else ""),
        )
        return ", ".join(part for part in parts if part)

    def row(self, whole: Report, small: Report, others: Mapping[str, Report] | None = None) -> dict[str, str]:
        """The figures of a report beside those of the whole agent; `others` holds what else it is compared with, by name.

        Times are compared with the whole agent's in the same runtime. ValueError for a figure that is missing, or a report
        from another runtime.
        """
        if small.runtime != self.runtime:
            raise ValueError(f"{self.report!r} was measured in {small.runtime or 'PyTorch'}, asked is {self.runtime or 'PyTorch'}")
        others = others or {}
        loss = 100 * (_number(whole.success) - _number(small.success))
        size = _number(small.bytes) / (4 * _number(whole.parameters))
        saved = 1 - _number(small.macs) / _number(whole.macs)
        faster = _number(small.whole_ms) / _number(small.answer_ms)
        reached = (
            (self.points is None or loss <= self.points + 1e-9)
            and (self.of_fp32 is None or size <= self.of_fp32)
            and (self.macs is None or saved >= self.macs)
            and (self.faster is None or faster >= self.faster)
            and (not self.regained or loss <= 50 * (_number(whole.success) - _number(others[self.regained].success)))
            and (not self.better_than or self.better_than in others)
            and (not self.better_than or _number(small.success) > _number(others[self.better_than].success))
        )
        low, high = small.ci95 or (0.0, 1.0)
        steps = f" --steps {small.steps} --rate {small.rate:g}{' --alone' * small.alone}" if small.steps else ""
        steps += "" if small.thoughts is None else f" --thoughts {small.thoughts:g}"
        steps += f" {small.flags}" if small.flags else ""
        command = f"autoglm-lab compress --recipe {self.recipe or self.report}{steps}"
        exported = " --out small; autoglm-lab export --model small --tasks 500 --out bundle"
        command += exported if self.runtime else " --tasks 500 --out small"
        forward = "" if small.forward_ms is None else f"{_number(small.whole_forward_ms) / small.forward_ms:.2f}"
        first = "" if small.first_token_ms is None else f"{_number(small.whole_first_token_ms) / small.first_token_ms:.2f}"
        return {
            "part": self.part,
            "report": self.report,
            "runtime": self.runtime,
            "claimed": self.claimed,
            "asked": self.asked(),
            "reached": ("yes" if reached else "no") if self.asked() else "",
            "points_lost": f"{loss:.1f}",
            "success": f"{small.success:.3f}",
            "low": f"{low:.3f}",
            "high": f"{high:.3f}",
            "n": f"{small.n}",
            "share_of_fp32_bytes": f"{size:.3f}",
            "macs_saved": f"{saved:.3f}",
            "parameters_saved": f"{1 - _number(small.parameters) / _number(whole.parameters):.3f}",
            "times_faster": f"{faster:.2f}",
            "first_token_times_faster": first,
            "forward_times_faster": forward,
            "training": small.training,
            "command": command,
        }


@dataclass(frozen=True)
class RaceClaim:
    """One row about speed: a figure of a measured bundle, and the least or the most that is asked of it."""

    part: str
    figure: str
    claimed: str = ""
    least: float | None = None
    most: float | None = None
    of: str = ""  # the bundle that it is asked of, if not of all

    def row(self, bundle: str, found: Mapping[str, Any], where: str = "", command: str = "") -> dict[str, str]:
        """The figure beside what is asked; `found` is what `command` printed for a bundle. KeyError when it holds no such figure.

        Without a `command` that is `autoglm-lab bench`; `where` is what the bundle ran in, ONNX Runtime if nothing is said.
        """
        spread = found.get("ratios", {}).get(self.figure) or found[self.figure]
        requirement = "" if self.least is None else f"at least {self.least:g}"
        requirement += "" if self.most is None else f"at most {self.most:g}"
        requirement = requirement if self.of in ("", bundle) else ""
        export_command = (
            "autoglm-lab export"
            if bundle == "whole"
            else f"autoglm-lab compress --recipe {bundle} --out small; autoglm-lab export --model small"
        )
        once = " --one-call" if "one_call" in self.figure else " --rows" if where == SERVER else ""
        reached = (self.least is None or spread["median"] >= self.least) and (self.most is None or spread["median"] <= self.most)
        return {
            "part": self.part,
            "report": bundle,
            "runtime": where or ORT,
            "claimed": self.claimed,
            "asked": requirement,
            "reached": ("yes" if reached else "no") if requirement else "",
            "figure": self.figure,
            "measured": _short(spread["median"]),
            "measured_low": _short(spread["lo"]),
            "measured_high": _short(spread["hi"]),
            "runs": f"{spread['runs']}",
            "command": f"{export_command}{once} --out bundle; {command or 'autoglm-lab bench --bundle bundle --against generate'}",
        }


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _number(value: float | None) -> float:
    if value is None:
        raise ValueError("a report lacks a figure; measure it with `autoglm-lab compress --tasks`")
    return float(value)


ORT, SERVER = "ONNX Runtime", "a server"
CLAIMS = (
    Claim("B1", "sparse80", "80 % sparse, < 1 % loss, 1.5x faster", points=1),
    Claim("B2", "channels45", "60 % of channels, 1.2 % loss, 2.3x faster", points=1, macs=0.4),
    Claim("B2", "channels45", points=1, macs=0.4, faster=1.4, runtime=ORT),
    Claim("B2", "answers40", points=1, macs=0.4, faster=1.4, runtime=ORT),
    Claim("B2", "channels60"),
    Claim("B3", "gradient30", "-30 % compute, < 1.5 % loss", points=1.5, macs=0.3),
    Claim("B3", "fisher30", points=1.5, macs=0.3),
    Claim("B3", "fisher30", runtime=ORT),
    Claim("B5", "student", points=2, better_than="student_alone"),
    Claim("B5", "student_alone", recipe="student"),
    Claim("B5", "student", points=2, runtime=ORT),
    Claim("B6", "rank40", "r = 64: 512 K -> 82 K parameters, 1.7x faster", points=1),
    Claim("B6", "rank40", runtime=ORT),
    Claim("B6", "rank40_trained", recipe="rank40"),
    Claim("B7", "int8", "4x smaller, -0.8 points", points=0.5, of_fp32=0.27),
    Claim("B7", "int8", "48.7 ms from 58.2", points=0.5, of_fp32=0.27, runtime=ORT),
    Claim("B7", "int8_static", "4x smaller, -0.5 points", points=1, of_fp32=0.27),
    Claim("B7", "int8_static", "42.1 ms from 58.2", points=1, of_fp32=0.27, runtime=ORT),
    Claim("B8", "int4", "40 % of the size or less", points=1.5, of_fp32=0.18),
    Claim("B8", "int4", points=1.5, of_fp32=0.18, runtime=ORT),
    Claim("B9", "int2_rounded", recipe="int2"),
    Claim("B9", "int2", "< 1 % loss", regained="int2_rounded"),
    Claim("B10", "small", "-62 % latency, 1.5 % loss", points=1.5, faster=1 / 0.38, runtime=ORT),
    Claim("C4", "phone", points=1, of_fp32=0.27, runtime=ORT),
)
RACES = (
    RaceClaim("A5", "cache_vs_recompute", "230 -> 68 ms, 3.4x", least=6),
    RaceClaim("C3", "answer_vs_generate", least=8, of="int8_static"),
    RaceClaim("C3", "answer_by_grammar_vs_generate", least=8, of="int8_static"),
    RaceClaim("A5", "drafts_vs_token_by_token"),
    RaceClaim("A5", "grammar_vs_free"),
    RaceClaim("C9", "cold_start_s", "start 0.9 s", most=0.6),
    RaceClaim("C9", "peak_rss_mb", "280 MB", most=150),
    RaceClaim("C3", "prefill_tokens_per_s"),
    RaceClaim("C3", "decode_tokens_per_s"),
    RaceClaim("C3", "bandwidth_share"),
    RaceClaim("C3", "answer_vs_compile"),
    RaceClaim("C3", "answer_in_one_call_vs_generate"),
    RaceClaim("C3", "one_call_vs_token_by_token"),
    RaceClaim("C10", "pipeline_vs_one_by_one"),
    *(RaceClaim("C3", f"decode_vs_{name}", least=1) for name in ("openvino", "mnn", "executorch")),
    *(RaceClaim("C3", f"decode_vs_{name}") for name in ("litert", "ncnn")),
    RaceClaim("C3", "decode_vs_llamacpp_f32"),
    RaceClaim("C3", "decode_vs_llamacpp_q8", least=1, of="int8_static"),
    *(RaceClaim("C3", f"same_file_vs_{name}") for name in ("openvino", "mnn", "executorch", "litert", "ncnn")),
)
PAGES = (
    RaceClaim("C4", "page_mb", most=12, of="phone"),
    RaceClaim("C4", "page_ready_s"),
    RaceClaim("C4", "page_first_answer_s", most=3),
)

SERVED = (
    RaceClaim("D4", "batches_vs_one_at_a_time_16", "85 -> 210 requests/s", least=3),
    RaceClaim("D5", "threads_vs_one_at_a_time_16", "4 workers 220/s, 8 workers 305/s"),
    RaceClaim("D4", "with_drafts_vs_one_at_a_time_16"),
    RaceClaim("D4", "step_of_16_vs_16_steps"),
    RaceClaim("D4", "answers_vs_transformers_serve_16", least=5),
    RaceClaim("D4", "answers_vs_transformers_serve_1"),
)


def table() -> str:
    """`data/claims.csv` as the shipped reports give it; what has no report yet is said to be not measured."""
    folder = data_dir() / "reports"
    reports = read_reports() | read_reports(folder / "compared")
    by_runtime = {"": reports, ORT: read_reports(folder / "onnx")}
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for claim in CLAIMS:
        report = by_runtime[claim.runtime].get(claim.report)
        if report is not None:
            writer.writerow(claim.row(reports["whole"], report, reports))
        else:
            writer.writerow(
                {
                    "part": claim.part,
                    "report": claim.report,
                    "runtime": claim.runtime,
                    "claimed": claim.claimed,
                    "asked": claim.asked(),
                    "reached": UNKNOWN,
                }
            )
    for path in sorted((folder / "race").glob("*.json")):
        measurement = json.loads(path.read_text("utf-8"))
        races = [race for race in RACES if race.figure in {**measurement, **measurement["ratios"]}]
        command = f"autoglm-lab bench --bundle bundle --against {measurement['against']}"
        writer.writerows(race.row(path.stem, measurement, command=command) for race in races)
    for path in sorted((folder / "page").glob("*.json")):
        measurement = json.loads(path.read_text("utf-8"))
        command = "python -m tests.browser.page_times bundle"
        writer.writerows(page.row(path.stem, measurement, "a browser", command) for page in PAGES)
    for path in sorted((folder / "serve").glob("*.json")):
        measurement = json.loads(path.read_text("utf-8"))
        command = measurement.get("command", "")
        writer.writerows(
            served.row(measurement.get("bundle", path.stem), measurement, SERVER, command)
            for served in SERVED
            if served.figure in measurement.get("ratios", {})
        )
    figures = read_figures(folder)
    writer.writerows(sorted((verdict.row(figures) for verdict in (*ARTICLES, *EDGE, *NETWORK)), key=lambda row: row["key"]))
    return text.getvalue()


if __name__ == "__main__":
    atomic.write_text(data_dir() / "claims.csv", table())
