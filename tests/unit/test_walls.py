"""The house: rooms import only from floors below, two walls keep torch out, the front door opens fast."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "autoglm_lab"
# From the ground up. Modules beside the rooms (paths, ...) are the ground; cli is the roof.
FLOORS = (
    {"phone"},  # the grammar of actions is part of the world
    {"runtime"},
    {"evaluation"},
    {"model"},
    {"compress"},  # a model recovers from being made small by training, with the losses of distillation
    {"export", "training"},
    {"agent", "serve", "device"},
    {"edge"},
    {"benchmarks"},
    {"widgets", "checks"},
    {"cli"},
)
WITHOUT_TORCH = ("phone", "runtime", "evaluation", "device", "edge")
HEAVY = ("torch", "transformers")


def modules(root):
    """Dotted name -> file of every module of the package."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def room(module):
    """The part of the package a module lies in; '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


def floor(root, name):
    """Number of a room's floor; 0 for modules beside the rooms; KeyError for a room that no floor has."""
    for number, rooms in enumerate(FLOORS, start=1):
        if name in rooms:
            return number
    if (root / PACKAGE / f"{name}.py").exists():
        return 0
    raise KeyError(name)


def imports(path, module):
    """Modules of the package that a file imports, anywhere in it; what only a type checker reads is left out."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            start = ".".join(part for part in (base, node.module) if part)
            names = [f"{start}.{alias.name}" for alias in node.names] if start == PACKAGE else [start]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == PACKAGE and "." in name)


def breaches(root):
    """Every import that does not go down."""
    found = []
    for module, path in modules(root).items():
        own = room(module)
        if not own:
            continue
        for name in imports(path, module):
            other = room(name)
            if other != own and not (root / PACKAGE / other).exists() and not (root / PACKAGE / f"{other}.py").exists():
                continue  # an attribute of the package, not a module
            both_ground = floor(root, own) == floor(root, other) == 0
            if other != own and not both_ground and floor(root, other) >= floor(root, own):
                found.append(f"{module} imports {name}")
    return found


def behind_wall(root):
    """Modules that must not bring torch: five rooms, the board of claims, and the computing half of the widgets."""
    return [
        name
        for name in modules(root)
        if room(name) in WITHOUT_TORCH
        or (room(name) == "widgets" and name.endswith("_view"))
        or name.startswith(f"{PACKAGE}.benchmarks.scoreboard")
        or name == PACKAGE
    ]


CHECK = """
import importlib, sys
sys.path.insert(0, {root!r})
for name in {names!r}:
    importlib.import_module(name)
    heavy = [module for module in {heavy!r} if module in sys.modules]
    if heavy:
        sys.exit(f"import {{name}} brings {{', '.join(heavy)}}")
print("clean")
"""


def run_check(root, names):
    code = CHECK.format(root=str(root), names=list(names), heavy=HEAVY)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_every_room_has_a_floor():
    rooms = {room(module) for module in modules(ROOT)} - {""}
    assert rooms == set().union(*FLOORS) | {path.stem for path in (ROOT / PACKAGE).glob("*.py")} - {"__init__"}


def test_contributing_names_the_rooms_and_their_floors():
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text("utf-8").split())
    line = text.partition("Rooms and floors: ")[2].partition(". ")[0]
    named = [set(re.findall(r"\w+", part)) for part in line.split("→")]
    assert named[::-1][: len(FLOORS) - 1] == list(FLOORS)[:-1]
    assert named[0] == {"notebooks", *FLOORS[-1]}
    without = text.partition("A room imports only from floors below. ")[2].partition(" import neither")[0]
    assert set(re.findall(r"`(\w+)`", without)) == set(WITHOUT_TORCH)


def test_imports_go_down():
    assert breaches(ROOT) == []


def test_no_torch_behind_the_wall():
    names = behind_wall(ROOT)
    assert len(names) > 1
    done = run_check(ROOT, names)
    assert done.stdout == "clean\n", done.stderr


def test_import_loads_nothing_but_the_standard_library():
    code = f"import sys; before = set(sys.modules); import {PACKAGE}; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert PACKAGE in loaded
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {PACKAGE}
    assert len(loaded) < 60, "0.3 s on a slow machine"


def plant(root, files):
    for name, text in files.items():
        path = root / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()
    return root


@pytest.mark.parametrize(
    "line",
    [
        "from autoglm_lab.model import x",
        "import autoglm_lab.model.x",
        "from autoglm_lab import model",
        "from ..model import x",
        "from .. import model",
        "def f():\n    from autoglm_lab.model.x import y",
        "from autoglm_lab.evaluation.x import y",
        "from autoglm_lab import cli",
    ],
)
def test_planted_import_upwards_is_found(tmp_path, line):
    plant(tmp_path, {"runtime/engine": line, "model/x": "", "evaluation/x": "", "cli": ""})
    assert len(breaches(tmp_path)) == 1


def test_neighbours_on_one_floor_do_not_import_each_other(tmp_path):
    plant(tmp_path, {"agent/loop": "from autoglm_lab.serve import sync", "serve/sync": ""})
    assert breaches(tmp_path) == ["autoglm_lab.agent.loop imports autoglm_lab.serve"]


@pytest.mark.parametrize(
    "line",
    [
        "from autoglm_lab.runtime import x",
        "from ..phone import x",
        "from . import modeling",
        "from autoglm_lab.paths import x",
        "from autoglm_lab import __version__",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from autoglm_lab.widgets import x",
        "import torch",
    ],
)
def test_import_downwards_passes(tmp_path, line):
    below = {"model/modeling": "", "runtime/x": "", "phone/x": "", "paths": ""}
    plant(tmp_path, {"model/gates": line, "widgets/x": "", **below})
    assert breaches(tmp_path) == []


def test_a_room_without_a_floor_is_found(tmp_path):
    plant(tmp_path, {"attic/x": "", "phone/x": "from autoglm_lab.attic import x"})
    with pytest.raises(KeyError, match="attic"):
        breaches(tmp_path)


@pytest.mark.parametrize("place", ["phone/screen", "widgets/gates_view", "widgets/__init__"])
def test_planted_torch_is_found(tmp_path, place):
    (tmp_path / "torch.py").write_text("")
    plant(tmp_path, {"phone/screen": "", "widgets/gates_view": "", place: "def f(): ...\nimport torch"})
    names = behind_wall(tmp_path)
    assert f"{PACKAGE}.widgets.gates_view" in names
    done = run_check(tmp_path, names)
    assert "brings torch" in done.stderr


def test_torch_in_the_drawing_half_passes(tmp_path):
    (tmp_path / "torch.py").write_text("")
    plant(tmp_path, {"phone/screen": "", "widgets/gates": "import torch"})
    assert run_check(tmp_path, behind_wall(tmp_path)).stdout == "clean\n"


def test_no_function_is_longer_than_a_page():
    """Sixty lines with its docstring; ruff keeps the complexity of each at twelve."""
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in modules(ROOT).values()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert not long, "a function does one thing; cut these: " + ", ".join(long)
