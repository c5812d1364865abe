"""Unit tests of what has changed: `make check` runs those that import a changed module, and those that changed themselves.

python -m tests.changed [BASE]    BASE is a commit to compare with; by default the last one
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def changed_files(base: str = "HEAD", root: Path = ROOT) -> set[str]:
    """Paths that differ from a commit, those that git does not know yet included. CalledProcessError if there is no such commit."""
    commands = (["git", "diff", "--name-only", base, "--"], ["git", "ls-files", "--others", "--exclude-standard"])
    return {
        line
        for command in commands
        for line in subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.splitlines()
    }


def module_name(path: str) -> str:
    """The dotted name of a file.

    >>> module_name("autoglm_lab/phone/adb/__init__.py"), module_name("tests/unit/served.py")
    ('autoglm_lab.phone.adb', 'tests.unit.served')
    """
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imported(text: str) -> set[str]:
    """The modules of this repository that a file imports, anywhere in it; of `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in ("autoglm_lab", "tests", "notebooks")}


def affected_tests(changes: set[str], root: Path = ROOT) -> list[str]:
    """The unit tests to run after some changes."""
    modules = {module_name(path) for path in changes if path.endswith(".py")}
    tests = {}
    for path in sorted((root / "tests" / "unit").glob("test_*.py")):
        name = path.relative_to(root).as_posix()
        tests[name] = name in changes or bool(imported(path.read_text("utf-8")) & modules)
    return [name for name, is_touched in tests.items() if is_touched]


def main() -> int:
    """Run them; the status of pytest, or 0 if there is nothing to run."""
    tests = affected_tests(changed_files(*sys.argv[1:2]))
    if not tests:
        print("no unit test imports what has changed")
        return 0
    print(f"{len(tests)} of the unit tests' files import what has changed")
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-n", "2", *tests], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
