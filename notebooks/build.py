"""Notebooks from their sources: `python -m notebooks.build [--check | --readme [--check]] [NAME ...]`.

`source/NN_name.py` (py:percent) is the only file of a chapter that is edited. From it come `NN_name.ipynb`, where the
exercises are open, executed, and `solutions/NN_name.ipynb`, where they are filled in. In a cell tagged `exercise`:

    def attend(query, key):
        # <solution>
        return softmax(query @ key.T)
        # </solution>
        # <stub> return None  # your turn

the learner gets the stub line without its mark, the solution gets the lines between the marks.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import re
import sys
from collections.abc import Iterator

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from notebooks import lint, readme

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parent
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
KEPT_METADATA = ("tags", "slideshow")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
PROGRESS = re.compile(r"%\|.*\| \d+/\d+ ")  # how tqdm writes a bar
CELL_TIMEOUT_S = 120
BEGIN, END, STUB = "# <solution>", "# </solution>", "# <stub>"


class SourceError(ValueError):
    """A source file breaks a rule of the exercise marks; the message names chapter and cell."""


def main(arguments: list[str] | None = None) -> int:
    """Build, check or describe the chapters named; all of them without a name."""
    parser = argparse.ArgumentParser(prog="python -m notebooks.build", description="Notebooks from their sources.")
    parser.add_argument("chapters", nargs="*", metavar="NAME", help="for example 00_start_here; all when left out")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a file is wrong")
    parser.add_argument("--readme", action="store_true", help="the figures in README.md instead of the notebooks")
    options = parser.parse_args(arguments)
    if options.readme:
        return report(readme.check(ROOT) if options.check else readme.update(ROOT))
    found = sources(FOLDER, options.chapters)
    if options.check:
        return report([problem for source in found for problem in differences(source)] + orphans(FOLDER))
    for source in found:
        build(source)
    return report([problem for source in found for problem in lint_chapter(source)])


def report(problems: list[str]) -> int:
    """Print what was found; 1 when that was anything."""
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def sources(folder: pathlib.Path, names: list[str] | None = None) -> list[pathlib.Path]:
    """The source files in order, or those of the named chapters."""
    every = sorted((folder / "source").glob("[0-9][0-9]_*.py"))
    if not names:
        return every
    known = {source.stem: source for source in every}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no chapter {', '.join(unknown)}; there are: {', '.join(known) or 'none'}")
    return [known[name] for name in names]


def targets(source: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Where the learner's notebook and the solution of a source go."""
    folder = source.parent.parent
    return folder / f"{source.stem}.ipynb", folder / "solutions" / f"{source.stem}.ipynb"


def derive(source: pathlib.Path) -> tuple[NotebookNode, NotebookNode]:
    """The learner's notebook and the solution, neither of them executed."""
    read = jupytext.read(source, fmt="py:percent")
    learner, solution = (nbformat.v4.new_notebook(metadata=metadata(read)) for _ in range(2))
    taken: set[str] = set()
    for number, cell in enumerate(read.cells, start=1):
        place = f"{source.name}, cell {number}"
        identifier = cell_id(source.stem, cell, taken)
        for notebook, solved in ((learner, False), (solution, True)):
            notebook.cells.append(new_cell(cell, identifier, solved=solved, place=place))
    return learner, solution


def metadata(read: NotebookNode) -> dict[str, object]:
    """The same few facts for every notebook, plus the chapter's own `lab` entry (its goal, for the README)."""
    kept: dict[str, object] = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    if "lab" in read.metadata:
        kept["lab"] = read.metadata["lab"]
    return kept


def new_cell(cell: NotebookNode, identifier: str, *, solved: bool, place: str) -> NotebookNode:
    """One derived cell: marks resolved, id fixed, other metadata dropped."""
    text = cell.source
    if cell.cell_type == "code":
        text = resolve_marks(text, solved=solved, exercise="exercise" in cell.metadata.get("tags", []), place=place)
        make = nbformat.v4.new_code_cell
    else:
        make = nbformat.v4.new_markdown_cell if cell.cell_type == "markdown" else nbformat.v4.new_raw_cell
        if solved:
            text = one_folder_down(text)
    kept = {key: cell.metadata[key] for key in KEPT_METADATA if key in cell.metadata}
    return make(source=text, id=identifier, metadata=kept)


def cell_id(chapter: str, cell: NotebookNode, taken: set[str]) -> str:
    """An id made from the content, so that it stays when other cells come or go, and is the same in the solution."""
    digest = hashlib.sha256(f"{chapter}\n{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:12]
    identifier, copy = digest, 1
    while identifier in taken:
        copy += 1
        identifier = f"{digest}-{copy}"
    taken.add(identifier)
    return identifier


def resolve_marks(text: str, *, solved: bool, exercise: bool, place: str) -> str:
    r"""The cell as the learner gets it, or solved.

    >>> cell = "a = 1\n# <solution>\nb = a + 1\n# </solution>\n# <stub> b = None"
    >>> resolve_marks(cell, solved=False, exercise=True, place="here")
    'a = 1\nb = None'
    >>> resolve_marks(cell, solved=True, exercise=True, place="here")
    'a = 1\nb = a + 1'
    """
    kept: list[str] = []
    inside, solutions, stubs = False, 0, 0
    for line in text.splitlines():
        mark = line.strip()
        if mark in (BEGIN, END):
            if inside == (mark == BEGIN):
                raise SourceError(f"{place}: {mark} does not match the one before it")
            inside = mark == BEGIN
            solutions += inside
        elif mark.startswith(STUB):
            stubs += 1
            if not solved:
                kept.append(line.replace(f"{STUB} ", "", 1).replace(STUB, "", 1).rstrip())
        elif solved or not inside:
            kept.append(line)
    if inside:
        raise SourceError(f"{place}: {BEGIN} without {END}")
    if exercise and not (solutions and stubs):
        raise SourceError(f"{place}: an exercise needs {BEGIN} ... {END} and at least one {STUB} line")
    if not exercise and (solutions or stubs):
        raise SourceError(f"{place}: marks in a cell that is not tagged exercise")
    result = "\n".join(kept)
    if exercise:
        lint.parse(result, place)
    return result


def one_folder_down(markdown: str) -> str:
    """Relative links and pictures as seen from `solutions/`.

    >>> one_folder_down("![alt](images/a.png) [next](01_next.ipynb) [far](https://example.org) [here](#top)")
    '![alt](../images/a.png) [next](../01_next.ipynb) [far](https://example.org) [here](#top)'
    """
    return re.sub(r"\]\((?![a-z]+:|#|/)", "](../", markdown)


def build(source: pathlib.Path) -> None:
    """Derive, execute and write both notebooks of a chapter.

    The solution is executed too, as a check, and then kept without outputs.
    """
    for target, notebook in zip(targets(source), derive(source), strict=True):
        print(f"executing {target.relative_to(source.parent.parent)}", flush=True)
        target.parent.mkdir(exist_ok=True)
        execute(notebook, target.parent)
        if target.parent.name == "solutions":
            forget_outputs(notebook)
        nbformat.write(notebook, target)


def lint_chapter(source: pathlib.Path) -> list[str]:
    """What the lint says about both notebooks of a chapter; cells that are only long are printed and let through."""
    problems = []
    for target in targets(source):
        found = lint.lint(nbformat.read(target, as_version=4), target, executed=target.parent.name != "solutions")
        for warning in (problem for problem in found if problem.warning):
            print(f"warning: {warning}", file=sys.stderr)
        problems += [str(problem) for problem in found if not problem.warning]
    return problems


def execute(notebook: NotebookNode, folder: pathlib.Path) -> None:
    """Run all cells in place, then take out of the outputs what only holds here and now."""
    NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_S,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(portable, cell.outputs) if output is not None]


def forget_outputs(notebook: NotebookNode) -> None:
    """Drop outputs and execution counts."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def portable(output: NotebookNode) -> NotebookNode | None:
    """An output without paths, addresses in memory, bars and views of widgets that are gone; None when nothing is left.

    Without its state a stored view only gives an error text; the picture in the output after it is what a static page can show.
    """
    if output.output_type == "stream":
        output.text = without_paths(output.text)
    elif output.output_type in ("display_data", "execute_result"):
        view = output.data.pop(WIDGET_VIEW, None)
        if view is not None and output.metadata.get("still"):
            return None
        if view is not None and PROGRESS.search(output.data.get("text/plain", "")):
            return None
        for kind, value in output.data.items():
            if isinstance(value, str) and not kind.startswith("image/png") and "base64," not in value:
                output.data[kind] = without_paths(value)
        if not output.data:
            return None
    return output


def without_paths(text: str) -> str:
    """Text with the repository's own place and addresses in memory taken out."""
    text = text.replace(f"{ROOT}/", "").replace(str(ROOT), ".")
    return re.sub(r"\b0x[0-9a-f]{8,16}\b", "0x…", text)


def differences(source: pathlib.Path) -> list[str]:
    """Where the committed notebooks of a chapter are not what the source gives; outputs are not compared."""
    problems = []
    for target, wanted in zip(targets(source), derive(source), strict=True):
        name = target.relative_to(source.parent.parent)
        if not target.exists():
            problems.append(f"{name}: missing; make notebooks ONLY={source.stem}")
            continue
        found = nbformat.read(target, as_version=4)
        problems += [f"{name}: {what}; make notebooks ONLY={source.stem}" for what in compare(found, wanted)]
    return problems


def compare(found: NotebookNode, wanted: NotebookNode) -> Iterator[str]:
    """What differs in kind, id, source and tags of the cells, in the kernel and the chapter's own facts."""
    for key in ("kernelspec", "lab"):
        if found.metadata.get(key) != wanted.metadata.get(key):
            yield f"another {key} than the source gives"
    if len(found.cells) != len(wanted.cells):
        yield f"{len(found.cells)} cells where the source gives {len(wanted.cells)}"
    for number, (one, other) in enumerate(zip(found.cells, wanted.cells, strict=False), start=1):
        for field in ("cell_type", "id", "source", "metadata"):
            if one[field] != other[field]:
                yield f"cell {number}: another {field} than the source gives"


def orphans(folder: pathlib.Path) -> list[str]:
    """Committed notebooks that no source makes."""
    made = {target for source in sources(folder) for target in targets(source)}
    there = {*folder.glob("*.ipynb"), *(folder / "solutions").glob("*.ipynb")}
    return [f"{path.relative_to(folder)}: has no source" for path in sorted(there - made)]


if __name__ == "__main__":
    sys.exit(main())
