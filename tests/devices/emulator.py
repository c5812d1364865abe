"""A Python for ARM64 under user-mode emulation: Debian's own, the aarch64 wheels of what a device folder requires, and qemu.

It proves that the ARM64 builds compute what those here compute. It says nothing about speed.
"""

from __future__ import annotations

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from dataclasses import dataclass

PROGRAMS = ("qemu-aarch64-static", "mmdebstrap")
INSTALL = "The emulator is missing. Debian, Ubuntu, as root: apt-get install qemu-user-static mmdebstrap"
DEBIAN = "python3-minimal,python3.11,libpython3.11-stdlib,libstdc++6,libgomp1,libc6,zlib1g,libssl3,libffi8,libbz2-1.0,liblzma5"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
# ONNX Runtime asks /proc/cpuinfo what the processor can do, and crashes where that is an x86's
CPU = "".join(
    f"processor\t: {core}\nBogoMIPS\t: 100.00\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid "
    "asimdrdm lrcpc dcpop asimddp\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x4\nCPU part\t: 0xd0b\n"
    "CPU revision\t: 1\n\n"
    for core in range(2)
)


def missing() -> list[str]:
    """Programs that are not installed."""
    return [name for name in PROGRAMS if shutil.which(name) is None]


@dataclass(frozen=True)
class Emulator:
    """An ARM64 root folder and packages beside it."""

    root: pathlib.Path
    packages: pathlib.Path

    @classmethod
    def made(cls, folder: pathlib.Path, requirements: pathlib.Path) -> Emulator:
        """In `folder`, made at the first call; what pip would install on the device lies in `packages`."""
        emulator, pins = cls(folder / "root", folder / "packages"), with_dependencies(requirements.read_text().split())
        done = folder / "done"
        if not done.exists() or done.read_text().split() != pins:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            options = ("--quiet", "--variant=extract", "--architectures=arm64", "--mode=root", f"--include={DEBIAN}")
            call("mmdebstrap", *options, "bookworm", emulator.root)
            (emulator.root / "proc").mkdir(exist_ok=True)
            (emulator.root / "proc" / "cpuinfo").write_text(CPU)
            kinds = ["--python-version=311", "--abi=cp311", "--abi=abi3", "--abi=none", *(f"--platform={p}" for p in PLATFORMS)]
            download = (sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--no-deps", *kinds)
            call(*download, "-d", folder / "wheels", *pins)
            for wheel in sorted((folder / "wheels").glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(emulator.packages)
            done.write_text("\n".join(pins))
        return emulator

    def run(self, *arguments: object, cwd: pathlib.Path, timeout_s: float) -> str:
        """Run the ARM64 Python; what it prints. AssertionError with its messages when it fails."""
        return call(*self._command(arguments), cwd=cwd, env=self._settings(cwd), timeout=timeout_s)

    def start(self, *arguments: object, cwd: pathlib.Path) -> subprocess.Popen[str]:
        """Start the ARM64 Python, which prints into `stdout`."""
        return subprocess.Popen(
            self._command(arguments), cwd=cwd, env=self._settings(cwd), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def _command(self, arguments: tuple[object, ...]) -> list[str]:
        return ["qemu-aarch64-static", str(self.root / "usr" / "bin" / "python3.11"), *map(str, arguments)]

    def _settings(self, cwd: pathlib.Path) -> dict[str, str]:
        return {
            "QEMU_CPU": "cortex-a76",
            "QEMU_LD_PREFIX": str(self.root),
            "PYTHONHOME": str(self.root / "usr"),
            "PYTHONPATH": f"{cwd}{os.pathsep}{self.packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PATH": os.environ["PATH"],
        }


# What these need beside what the device folder requires; whatever else they name is not imported there.
NEEDED = {
    "fastapi": ("starlette", "anyio", "idna", "sniffio", "typing-extensions", "annotated-doc", "opentelemetry-api"),
    "pydantic": ("pydantic-core", "annotated-types", "typing-inspection", "typing-extensions"),
    "soundfile": ("cffi", "pycparser"),
    "uvicorn": ("click", "h11"),
}


def with_dependencies(pins: list[str]) -> list[str]:
    """Pins, and those of what they need, in the versions that are installed here."""
    needed = {name for pin in pins for name in NEEDED.get(pin.split("==")[0], ())}
    for name in sorted(needed):
        with suppress(importlib.metadata.PackageNotFoundError):  # another version may need it no more
            pins = [*pins, f"{name}=={importlib.metadata.version(name)}"]
    return pins


def call(*command: object, **options: object) -> str:
    """What a program prints; AssertionError with what it said when it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command[0]} failed ({done.returncode}):\n{done.stderr[-3000:]}"
    return done.stdout
