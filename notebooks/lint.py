"""What a committed notebook must not contain: `lint(notebook, path)` lists every breach."""

from __future__ import annotations

import ast
import pathlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

MAX_BYTES = 300_000
MAX_CELL_LINES = 20
KNOWN_MAGICS = {"matplotlib", "time", "timeit", "capture"}
HIDING_TAGS = {"raises-exception", "nbval-raises-exception", "nbval-skip", "skip-execution"}
HIDING_COMMENT = re.compile(r"^\s*#\s*(NBVAL_RAISES_EXCEPTION|NBVAL_SKIP|PYTEST_VALIDATE_IGNORE_OUTPUT)", re.MULTILINE)
EXTERNAL = re.compile(
    r"""!\[[^\]]*\]\(\s*<?(?:https?:)?//          # a markdown picture
      | <(?:img|script|iframe|link|source|video|audio|embed)\b[^>]*?\b(?:src|href)\s*=\s*["']?(?:https?:)?//
      | @import\s+(?:url\()?["']?(?:https?:)?//
      | \bimport\s*\(?\s*["']https?://
      | \bfrom\s+["']https?://""",
    re.VERBOSE | re.IGNORECASE,
)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)[^)]*\)")
LINK = re.compile(r"\]\(<?([^)\s>]+)")
IMG_TAG = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
ALT = re.compile(r"""\balt\s*=\s*(?:"\s*[^"\s][^"]*"|'\s*[^'\s][^']*')""", re.IGNORECASE)
MACHINE_PATH = re.compile(
    r"""(?<![\w.])/(?:(?:home|root|Users|tmp|var/folders|opt|usr/(?:lib|local)|mnt)/|workspace)
      | \b[A-Z]:\\(?:Users|Windows|Program)
      | site-packages/""",
    re.VERBOSE,
)
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Problem:
    """One breach: where, which rule, and what was found."""

    place: str
    rule: str
    found: str
    warning: bool = False

    def __str__(self) -> str:
        """As the build and the tests print it."""
        return f"{self.place}: {self.rule}: {self.found}"


def lint(notebook: NotebookNode, path: pathlib.Path, *, executed: bool = True) -> list[Problem]:
    """Every breach in a notebook.

    Args:
        notebook: as nbformat reads it, version 4.
        path: where it lies; its name stands in the messages and its size is measured when it exists.
        executed: whether outputs are required; a solution is committed without any.
    """
    name = path.name if path.parent.name != "solutions" else f"solutions/{path.name}"
    found = [Problem(name, rule, text) for rule, text in whole(notebook, path)]
    for number, cell in enumerate(notebook.cells, start=1):
        checks = code_cell if cell.cell_type == "code" else prose_cell
        found += [Problem(f"{name}, cell {number}", rule, text, rule == "long-cell") for rule, text in checks(cell)]
        found += [Problem(f"{name}, cell {number}", "broken-link", text) for text in broken_links(cell, path.parent)]
    if executed:
        found += [Problem(name, "not-executed", text) for text in not_executed(notebook)]
    return found


def whole(notebook: NotebookNode, path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Breaches of the notebook as a file."""
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield "invalid", str(error).splitlines()[0]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "kernelspec", "the metadata name no kernel python3; JupyterLab would ask for one"
    if "widgets" in notebook.metadata:
        yield "widget-state", "metadata.widgets stores megabytes of widget state"
    size = path.stat().st_size if path.exists() else 0
    if size >= MAX_BYTES:
        yield "size", f"{size:,} bytes, the limit is {MAX_BYTES:,}"


def code_cell(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """Breaches in one code cell and in its outputs."""
    yield from magics(cell.source)
    hidden = HIDING_TAGS & {tag.lower() for tag in cell.metadata.get("tags", [])}
    if hidden or HIDING_COMMENT.search(cell.source):
        yield "hides-errors", f"{', '.join(sorted(hidden)) or 'a NBVAL comment'}; use try/except/else in the cell"
    if cell.source.rstrip().endswith(";"):
        yield "semicolon", "a closing ; hides the value of the cell"
    lines = len(cell.source.splitlines())
    if lines > MAX_CELL_LINES:
        yield "long-cell", f"{lines} lines; a cell does one thing"
    for name in used_up(parse(cell.source, "cell")):
        yield "runs-once", f"{name} comes from an earlier cell and is used up: run again, this cell fails or does something else"
    if MACHINE_PATH.search(cell.source):
        yield "machine-path", MACHINE_PATH.search(cell.source)[0].strip()
    if "execution" in cell.metadata:
        yield "time-stamp", "metadata.execution says when the cell ran"
    for output in cell.get("outputs", []):
        yield from output_problems(output)


def prose_cell(cell: NotebookNode) -> Iterator[tuple[str, str]]:
    """Breaches in one markdown cell."""
    if EXTERNAL.search(cell.source):
        yield "external", f"needs the network to show: {EXTERNAL.search(cell.source)[0][:60]}"
    for alt, address in PICTURE.findall(cell.source):
        if not alt.strip():
            yield "alt-text", f"the picture {address} has no description"
    for tag in IMG_TAG.findall(cell.source):
        if not ALT.search(tag):
            yield "alt-text", f"{tag[:60]} has no description"
    if MACHINE_PATH.search(cell.source):
        yield "machine-path", MACHINE_PATH.search(cell.source)[0].strip()


def output_problems(output: NotebookNode) -> Iterator[tuple[str, str]]:
    """Breaches in one stored output."""
    if output.output_type == "error":
        yield "error-output", f"{output.ename}: {output.evalue}"
        return
    if output.output_type == "stream":
        texts = [output.text]
    else:
        if WIDGET_VIEW in output.data:
            yield "widget-view", "a stored view without its state shows an error text; make notebooks removes it"
        if "image/png" in output.data and "text/html" not in output.data:
            yield (
                "alt-text",
                "nobody reads out an image/png: give HTML with an img and its alt (widgets.picture)",
            )
        texts = [value for kind, value in output.data.items() if isinstance(value, str) and kind != "image/png"]
        for kind in ("text/html", "text/markdown", "image/svg+xml"):
            text = output.data.get(kind, "")
            if EXTERNAL.search(text):
                yield "external", f"needs the network to show: {EXTERNAL.search(text)[0][:60]}"
            for tag in IMG_TAG.findall(text):
                if not ALT.search(tag):
                    yield "alt-text", f"{tag[:60]} has no description"
    for text in texts:
        if MACHINE_PATH.search(text):
            yield "machine-path", MACHINE_PATH.search(text)[0].strip()
        if "Traceback (most recent call last)" in text:
            yield "error-output", "a printed traceback"


def magics(source: str) -> Iterator[tuple[str, str]]:
    """Magics nobody knows, and shell commands: when they fail, the cell still passes."""
    for node in ast.walk(parse(source, "cell")):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr in ("run_line_magic", "run_cell_magic"):
            name = ast.literal_eval(node.args[0])
            if name not in KNOWN_MAGICS:
                yield "magic", f"%{name} is not one of {', '.join(sorted(KNOWN_MAGICS))}"
        elif node.func.attr in ("system", "getoutput") and ast.unparse(node.func.value) == "get_ipython()":
            yield "magic", "a shell command hides its failure; use subprocess.run(..., check=True)"


def used_up(tree: ast.Module) -> Iterator[str]:
    """Names that a cell deletes, or overwrites by what it makes of them, although an earlier cell bound them.

    Decided from the cell alone, outside of functions and classes: `del x`, `x += 1`, `x = f(x)`, and `x = None` after x was read,
    each before the cell itself has bound x.

    >>> list(used_up(ast.parse("y = x; del x"))), list(used_up(ast.parse("x = 1; del x")))
    (['x'], [])
    """
    bound: set[str] = set()
    read: set[str] = set()
    for node in in_order(tree.body):
        inner = {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        inner |= {name for n in ast.walk(node) if isinstance(n, ast.comprehension) for name in names(n.target, ast.Store)}
        loads, stores = names(node, ast.Load) - inner, names(node, ast.Store) - inner
        if isinstance(node, ast.Delete):
            yield from (t.id for t in node.targets if isinstance(t, ast.Name) and t.id not in bound)
        elif isinstance(node, ast.AugAssign):
            yield from stores - bound
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            empty = isinstance(node.value, ast.Constant) and node.value.value is None
            yield from sorted((stores & (read if empty else loads)) - bound)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            stores = {node.name}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            stores = {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        bound |= stores
        read |= loads


def names(tree: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The names in a tree that are read (`ast.Load`) or bound (`ast.Store`)."""
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def in_order(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements as they are written, heads of compound ones before what is in them; functions and classes as a whole."""
    for node in body:
        if isinstance(node, ast.For | ast.With | ast.If | ast.While | ast.Try):
            heads = [getattr(node, field, None) for field in ("target", "iter", "test")]
            heads += [part for item in getattr(node, "items", []) for part in (item.context_expr, item.optional_vars)]
            yield from (head for head in heads if head is not None)
            for block in ("body", "handlers", "orelse", "finalbody"):
                for part in getattr(node, block, []):
                    yield from in_order(part.body if isinstance(part, ast.ExceptHandler) else [part])
        else:
            yield node


def parse(source: str, place: str) -> ast.Module:
    """The syntax tree of a cell, magics translated; `ValueError` when it is not Python."""
    try:
        tree = compile(
            TransformerManager().transform_cell(source),
            place,
            "exec",
            flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
    except SyntaxError as error:
        raise ValueError(f"{place}: not Python: {error}") from error
    return tree


def broken_links(cell: NotebookNode, folder: pathlib.Path) -> Iterator[str]:
    """Relative links of a markdown cell that lead nowhere."""
    if cell.cell_type != "markdown":
        return
    for address in LINK.findall(cell.source):
        if not re.match(r"[a-z]+:|#|//", address) and not (folder / address.split("#")[0]).exists():
            yield address


def not_executed(notebook: NotebookNode) -> Iterator[str]:
    """Signs that the notebook was not run from top to bottom in one go."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        yield f"execution counts {counts[:8]}, not 1 to {len(code)}"
    if not any(cell.outputs for cell in code):
        yield "no cell has an output"
