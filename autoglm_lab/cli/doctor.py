"""`autoglm-lab doctor`: examine a machine or a phone."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from autoglm_lab.cli.options import Commands, add_json


def add(commands: Commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("doctor", help="can this machine run it: pass, warn or fail, and what would help")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="the bundle that is to run here")
    command.add_argument("--bits", type=float, help="instead of a bundle: a model of nine billion weights with so many bits each")
    command.add_argument("--adb", nargs="?", const="", metavar="SERIAL", help="instead: which bundle for a phone, by what it can")
    command.add_argument("--power", action="store_true", help="instead: which counters of energy, clock and heat can be read")
    command.add_argument("--port", type=int, help="a port that has to be free")
    add_json(command)
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; returns its exit status."""
    from autoglm_lab.device.preflight import PHONE_9B, Machine, bundle_needs, examine, model_needs
    from autoglm_lab.runtime.onnx_engine import OnnxEngine
    from autoglm_lab.runtime.processor import cpu_flags

    if options.port is not None and not 1 <= options.port <= 65_535:
        raise ValueError(f"port is {options.port}; ports are 1 to 65535")
    if options.bundle is not None and options.bits is not None:
        raise ValueError("give --bundle or --bits, not both")
    if options.adb is not None:
        return _doctor_adb(options)
    if options.power:
        return _doctor_power(options)
    needs = None
    if options.bundle is not None:
        engine = OnnxEngine(options.bundle)
        needs = bundle_needs(options.bundle.name, engine.bundle.bytes, engine.cache_bytes_per_token)
    elif options.bits is not None:
        needs = model_needs("AutoGLM-Phone-9B", bits=options.bits, **PHONE_9B)
    ports = [] if options.port is None else [options.port]
    findings = examine(Machine.here(cpu_flags(), ports=ports), needs, options.port)
    arithmetic = [] if needs is None else list(needs.arithmetic)
    if options.json:
        print(json.dumps({"verdict": findings.verdict, "findings": [asdict(line) for line in findings], "arithmetic": arithmetic}))
    else:
        print(repr(findings), *arithmetic, sep="\n")
    return 1 if findings.verdict == "fail" else 0


def _doctor_power(options: argparse.Namespace) -> int:
    from autoglm_lab.edge.probe import probe

    counters = probe()
    if options.json:
        print(json.dumps([asdict(each) for each in counters], ensure_ascii=False))
    else:
        for each in counters:
            value = "" if each.value is None else f"{each.value:.3g} {each.unit}"
            print(f"{each.state:13} {each.what:24} {value:10} {each.path} {each.note}".rstrip())
    return 0 if any(each.state == "measured" for each in counters) else 1


def _doctor_adb(options: argparse.Namespace) -> int:
    from autoglm_lab.edge.chips import CAPABILITIES, Device, candidates, choose
    from autoglm_lab.paths import data_dir
    from autoglm_lab.phone.adb import AdbPhone

    if options.bundle is not None or options.bits is not None or options.port is not None:
        raise ValueError("--adb asks a phone; --bundle, --bits and --port are about this machine")
    phone = AdbPhone(options.adb or None)
    device = Device.over_adb(lambda command: phone.shell(*command.split()))
    choice = choose(candidates(data_dir() / "reports" / "onnx"), device)
    if options.json:
        print(json.dumps({"device": device.name, "can": sorted(device.can), "free_bytes": device.free_bytes, **asdict(choice)}))
    else:
        print(f"{device.name}, {device.free_bytes / 1e6:.0f} MB free")
        for each in CAPABILITIES:
            print(f"{'yes' if each.name in device.can else 'no':4} {each.name:14} {each.good_for}")
        for name, reason in choice.reasons.items():
            print(f"{'->' if name == choice.bundle else '':4} {name:14} {reason}")
    return 0 if choice.bundle else 1
