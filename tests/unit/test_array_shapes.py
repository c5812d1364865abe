"""Public functions say the shapes of the arrays that they take and give: in an annotation, or in the docstring."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "autoglm_lab"
ARRAY = re.compile(r"\b(Tensor|ndarray|NDArray|States|Arrays)\b")
SHAPED = re.compile(r"\b(Float|Int|Bool|Int16|Shaped|Num)\[")
SAID = re.compile(r"\[[A-Za-z0-9*+ ,.…_/'-]+\]|scalar|shape")  # [B, T], "a scalar", "of any shape"


def public_functions(tree, prefix=""):
    """Name, annotations and docstring of every public function and method."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            given = [each.annotation for each in (*node.args.args, *node.args.kwonlyargs)] + [node.returns]
            yield prefix + node.name, [ast.unparse(each) for each in given if each], ast.get_docstring(node) or ""


def silent(annotations, docstring):
    """True where a function has arrays of which nothing tells the shape; None where it has none."""
    arrays = [each for each in annotations if ARRAY.search(each)]
    if not arrays:
        return None
    return not all(SHAPED.search(each) for each in arrays) and not SAID.search(docstring)


def test_shapes_of_arrays_are_told():
    found = [
        (f"{path.relative_to(PACKAGE)}: {name}", silent(annotations, docstring))
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, annotations, docstring in public_functions(ast.parse(path.read_text("utf-8")))
    ]
    with_arrays = [(name, is_silent) for name, is_silent in found if is_silent is not None]
    missing = [name for name, is_silent in with_arrays if is_silent]
    assert len(with_arrays) > 200 and len(missing) <= 0.05 * len(with_arrays), missing


def test_what_tells_a_shape():
    [(_, annotations, docstring)] = public_functions(ast.parse('def f(x: Tensor) -> Float[Tensor, "B T"]:\n    """Double it."""'))
    assert silent(annotations, docstring) and not silent(annotations, "Double it [B, T].") and silent(["int"], "") is None
    assert not silent(['Float[Tensor, "B T"]'], "") and silent(["NDArray[np.float32]"], "The waveform.")
