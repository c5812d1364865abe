"""Committed notebooks: what their sources give, and free of what a reader must not meet."""

import copy
import warnings
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from notebooks import build, lint

ROOT = Path(__file__).resolve().parents[2]
SOURCES = build.sources(ROOT / "notebooks")
COMMITTED = [target for source in SOURCES for target in build.targets(source)]


def test_there_are_chapters():
    assert SOURCES


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_notebooks_are_what_their_source_gives(source):
    assert build.differences(source) == []


def test_every_notebook_has_a_source():
    assert build.orphans(ROOT / "notebooks") == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_lint(path):
    found = lint.lint(nbformat.read(path, as_version=4), path, executed=path.parent.name != "solutions")
    for problem in found:
        if problem.warning:
            warnings.warn(str(problem), stacklevel=1)
    assert [str(problem) for problem in found if not problem.warning] == []


@pytest.mark.parametrize("path", [target for target in COMMITTED if target.parent.name != "solutions"], ids=lambda p: p.stem)
def test_chapter_says_what_it_is_for(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata.get("lab", {}).get("goal"), "the source's header needs lab: {goal: ...}, for the README"
    assert notebook.cells[0].source.startswith("# ")


def test_the_first_chapter_lists_the_whole_course():
    table = (SOURCES[0]).read_text("utf-8").split("## The course")[1]
    for source in SOURCES:
        text = source.read_text("utf-8")
        title = text.split("# # ")[1].splitlines()[0]
        goal = text.split("goal: ")[1].splitlines()[0]
        assert f"# | [{title}]({source.stem}.ipynb) | {goal} |\n" in table, source.stem


def clean_notebook():
    cell = new_code_cell("1 + 1", execution_count=1, id="one")
    cell.outputs = [new_output("execute_result", {"text/plain": "2"}, execution_count=1)]
    prose = new_markdown_cell("# Title\n\n![a cat](cat.png) and [the top](#title)", id="prose")
    return new_notebook(cells=[prose, cell], metadata={"kernelspec": build.KERNEL})


def shown(**data):
    return new_output("display_data", {kind.replace("_", "/"): value for kind, value in data.items()})


PLANTED = {
    "magic": [
        lambda prose, code, book: code.update(source="%tiem x = 1"),
        lambda prose, code, book: code.update(source="%%bsh\nls"),
        lambda prose, code, book: code.update(source="!ls nowhere"),
        lambda prose, code, book: code.update(source="files = !ls nowhere"),
    ],
    "hides-errors": [
        lambda prose, code, book: code.metadata.update(tags=["raises-exception"]),
        lambda prose, code, book: code.update(source="# NBVAL_RAISES_EXCEPTION\n1 / 0"),
        lambda prose, code, book: code.metadata.update(tags=["skip-execution"]),
    ],
    "runs-once": [
        lambda prose, code, book: code.update(source="print(len(world))\ndel world"),
        lambda prose, code, book: code.update(source="model = prune(model)"),
        lambda prose, code, book: code.update(source="for _ in range(3):\n    total += 1"),
        lambda prose, code, book: code.update(source="with torch.no_grad():\n    host.step(1)\nhost = other = None"),
    ],
    "semicolon": [lambda prose, code, book: code.update(source="1 + 1;\n")],
    "widget-state": [lambda prose, code, book: book.metadata.update(widgets={})],
    "widget-view": [lambda prose, code, book: code.outputs.append(new_output("display_data", {lint.WIDGET_VIEW: {}}))],
    "external": [
        lambda prose, code, book: prose.update(source="![a cat](https://example.org/cat.png)"),
        lambda prose, code, book: prose.update(source='<img alt="a cat" src="//example.org/cat.png">'),
        lambda prose, code, book: code.outputs.append(shown(text_html='<script src="https://example.org/a.js"></script>')),
        lambda prose, code, book: code.outputs.append(shown(text_html="<style>@import url('https://example.org')</style>")),
    ],
    "kernelspec": [
        lambda prose, code, book: book.metadata.pop("kernelspec"),
        lambda prose, code, book: book.metadata.update(kernelspec={"name": "my-venv", "display_name": "mine"}),
    ],
    "alt-text": [
        lambda prose, code, book: prose.update(source="![](cat.png)"),
        lambda prose, code, book: prose.update(source='<img src="cat.png">'),
        lambda prose, code, book: prose.update(source='<img src="cat.png" alt="">'),
        lambda prose, code, book: code.outputs.append(shown(text_html='<img src="data:image/png;base64,AA">')),
        lambda prose, code, book: code.outputs.append(shown(image_png="AA")),
    ],
    "broken-link": [lambda prose, code, book: prose.update(source="[next](99_none.ipynb)")],
    "long-cell": [lambda prose, code, book: code.update(source="\n".join(f"a{i} = {i}" for i in range(21)))],
    "size": [lambda prose, code, book: code.outputs.append(shown(text_plain="x" * 300_000))],
    "not-executed": [
        lambda prose, code, book: code.update(execution_count=None),
        lambda prose, code, book: code.update(execution_count=7),
        lambda prose, code, book: code.update(outputs=[]),
    ],
    "error-output": [
        lambda prose, code, book: code.outputs.append(new_output("error", ename="E", evalue="bad", traceback=[])),
        lambda prose, code, book: code.outputs.append(
            new_output("stream", name="stderr", text="Traceback (most recent call last):\n")
        ),
    ],
    "machine-path": [
        lambda prose, code, book: code.outputs.append(new_output("stream", text="saved /home/ann/lab/a.png")),
        lambda prose, code, book: code.outputs.append(shown(text_html="<p>C:\\Users\\ann</p>")),
        lambda prose, code, book: code.update(source="open('/tmp/a')"),
        lambda prose, code, book: prose.update(source="see /Users/ann/lab"),
    ],
    "time-stamp": [lambda prose, code, book: code.metadata.update(execution={"iopub.execute_input": "2026-01-01"})],
    "invalid": [lambda prose, code, book: code.update(id="not a valid id")],
}


def rules(notebook, folder):
    (folder / "cat.png").touch()
    path = folder / "00_planted.ipynb"
    path.write_text(nbformat.writes(notebook, version=nbformat.NO_CONVERT) if valid(notebook) else "", encoding="utf-8")
    return {problem.rule for problem in lint.lint(notebook, path)}


def valid(notebook):
    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError:
        return False
    return True


def test_a_clean_notebook_passes(tmp_path):
    assert rules(clean_notebook(), tmp_path) == set()


@pytest.mark.parametrize(("rule", "plant"), [(rule, plant) for rule, plants in PLANTED.items() for plant in plants])
def test_each_planted_breach_is_found(rule, plant, tmp_path):
    notebook = copy.deepcopy(clean_notebook())
    plant(*notebook.cells, notebook)
    assert rules(notebook, tmp_path) == {rule}


@pytest.mark.parametrize(
    "source",
    [
        "half = prune(model)\nprint(half)\ndel half",
        "ways = broken = None",
        "shares = [name for name in shares_of(model)]\nshares = sorted(shares)",
        "def tell(x):\n    x += 1\n    return x",
        "for name in names:\n    name = name.upper()",
        "import math\nmath = math.pi",
        "text = lambda text: text + 1",
    ],
)
def test_cells_that_can_be_run_twice_pass(source):
    assert list(lint.used_up(lint.parse(source, "cell"))) == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_no_cell_of_a_source_uses_up_what_it_needs(source):
    for notebook in build.derive(source):
        cells = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
        assert [name for cell in cells for name in lint.used_up(lint.parse(cell, source.stem))] == []


def test_known_magics_and_modulo_pass(tmp_path):
    notebook = clean_notebook()
    notebook.cells[1].source = "%matplotlib inline\ntext = '''\n%not a magic\n'''\nrest = (7\n%3)"
    assert rules(notebook, tmp_path) == set()
