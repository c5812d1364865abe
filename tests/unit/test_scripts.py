"""Scripts beside the package, which no test runs whole: what they take from it is there."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for folder in ("data", "tests/beside", "tests/figures") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_names_that_a_script_imports_from_the_package_are_there(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("autoglm_lab", "tests"):
            module = importlib.import_module(str(node.module))
            for name in node.names:
                inside = getattr(module, "__path__", None) and importlib.util.find_spec(f"{node.module}.{name.name}")
                assert hasattr(module, name.name) or inside, f"{node.module} has no {name.name}"
