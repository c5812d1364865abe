"""From one source file to the learner's notebook and the solution."""

import json
import textwrap

import nbformat
import pytest

from notebooks import build, readme

SOURCE = '''
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: add two numbers
# ---

# %% [markdown]
# # Adding
#
# ![two and two](sum.png)

# %%
import pathlib

import ipywidgets
from IPython.display import display

print(pathlib.Path.cwd())
display(ipywidgets.IntSlider())

# %% tags=["exercise"]
def add(a, b):
    """The sum of two numbers."""
    # <solution>
    total = a + b
    return total
    # </solution>
    # <stub> return None  # your turn


# %% tags=["check"]
"right" if add(2, 2) == 4 else "Hint: use +"
'''


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A repository with one chapter."""
    monkeypatch.setattr(build, "ROOT", tmp_path)
    source = tmp_path / "notebooks" / "source" / "00_adding.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE.lstrip())
    (source.parent.parent / "sum.png").touch()
    return source


def test_exercise_is_open_for_the_learner_and_filled_in_the_solution(chapter):
    learner, solution = build.derive(chapter)
    head = 'def add(a, b):\n    """The sum of two numbers."""\n'
    assert learner.cells[2].source == f"{head}    return None  # your turn"
    assert solution.cells[2].source == f"{head}    total = a + b\n    return total"
    assert learner.cells[2].metadata == solution.cells[2].metadata == {"tags": ["exercise"]}


def test_ids_are_the_same_in_both_and_stay_when_a_cell_is_added(chapter):
    learner, solution = build.derive(chapter)
    ids = [cell.id for cell in learner.cells]
    assert ids == [cell.id for cell in solution.cells]
    chapter.write_text(chapter.read_text().replace("# %%\nimport", "# %%\n1\n\n# %%\n1\n\n# %%\nimport", 1))
    more = [cell.id for cell in build.derive(chapter)[0].cells]
    assert len(more) == len(set(more)) == len(ids) + 2
    assert set(ids) < set(more)


def test_pictures_of_the_solution_are_one_folder_up(chapter):
    learner, solution = build.derive(chapter)
    assert "(sum.png)" in learner.cells[0].source
    assert "(../sum.png)" in solution.cells[0].source


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("# <solution>\na = 1\n# <stub> a = 0", "without"),
        ("a = 1\n# </solution>\n# <stub> a = 0", "does not match"),
        ("# <solution>\n# <solution>\na = 1\n# </solution>", "does not match"),
        ("# <solution>\na = 1\n# </solution>", "needs"),
        ("a = 1", "needs"),
        ("def f():\n    # <solution>\n    return 1\n    # </solution>\n# <stub> return 0 )", "not Python"),
    ],
)
def test_wrong_marks_are_refused(cell, said):
    with pytest.raises(ValueError, match=said):
        build.resolve_marks(cell, solved=False, exercise=True, place="cell 1")


def test_marks_outside_an_exercise_are_refused():
    with pytest.raises(build.SourceError, match="not tagged"):
        build.resolve_marks("# <stub> a = 1", solved=False, exercise=False, place="cell 1")


def test_built_notebooks_are_executed_portable_and_stable(chapter, capsys):
    build.build(chapter)
    assert build.lint_chapter(chapter) == []
    assert build.differences(chapter) == []
    learner, solution = (nbformat.read(target, as_version=4) for target in build.targets(chapter))
    printed, slider = learner.cells[1].outputs
    assert printed.text == "notebooks\n"
    assert list(slider.data) == ["text/plain"]
    assert learner.cells[3].outputs[0].data["text/plain"] == "'Hint: use +'"
    assert not any(cell.outputs for cell in solution.cells if cell.cell_type == "code")
    assert "widgets" not in learner.metadata
    first = [target.read_bytes() for target in build.targets(chapter)]
    build.build(chapter)
    assert [target.read_bytes() for target in build.targets(chapter)] == first


def test_bars_of_work_that_is_done_are_not_kept():
    bar = {"text/plain": "looking:   0%|          | 0/16 [00:00<?, ?layer/s]", build.WIDGET_VIEW: {"model_id": "a"}}
    assert build.portable(nbformat.v4.new_output("display_data", data=bar)) is None
    slider = {"text/plain": "IntSlider(value=3)", build.WIDGET_VIEW: {"model_id": "b"}}
    assert list(build.portable(nbformat.v4.new_output("display_data", data=slider)).data) == ["text/plain"]
    live = {"text/plain": "The phone shows Home.", build.WIDGET_VIEW: {"model_id": "c"}}
    assert build.portable(nbformat.v4.new_output("display_data", data=live, metadata={"still": "1"})) is None, "its picture follows"


def test_a_solution_that_fails_stops_the_build(chapter):
    chapter.write_text(chapter.read_text().replace("total = a + b", "total = a + nothing"))
    with pytest.raises(Exception, match="NameError"):
        build.build(chapter)


def test_an_edited_notebook_and_an_orphan_are_found(chapter):
    for target, notebook in zip(build.targets(chapter), build.derive(chapter), strict=True):
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)
    assert build.differences(chapter) == []
    target = build.targets(chapter)[0]
    edited = nbformat.read(target, as_version=4)
    edited.cells[1].source += "\n# mine"
    edited.cells[2].metadata["tags"] = []
    nbformat.write(edited, target)
    said = build.differences(chapter)
    assert [line.split(";")[0] for line in said] == [
        "00_adding.ipynb: cell 2: another source than the source gives",
        "00_adding.ipynb: cell 3: another metadata than the source gives",
    ]
    target.rename(target.with_name("01_lost.ipynb"))
    assert build.orphans(chapter.parent.parent) == ["01_lost.ipynb: has no source"]
    assert "missing" in build.differences(chapter)[0]


def test_unknown_chapter_is_named(chapter):
    with pytest.raises(SystemExit, match=r"no chapter 07_x; there are: 00_adding"):
        build.sources(chapter.parent.parent, ["07_x"])


README = textwrap.dedent(
    """\
    # Lab
    <!-- chapters:begin -->
    <!-- chapters:end -->
    <!-- results:begin -->
    <!-- results:end -->
    <!-- claims:begin -->
    <!-- claims:end -->
    <!-- speed:begin -->
    <!-- speed:end -->
    <!-- verdicts:begin -->
    <!-- verdicts:end -->
    <!-- runtimes:begin -->
    <!-- runtimes:end -->
    """
)


def test_readme_shows_what_was_measured(chapter, capsys):
    root = chapter.parents[2]
    (root / "README.md").write_text(README)
    target, notebook = build.targets(chapter)[0], build.derive(chapter)[0]
    nbformat.write(notebook, target)
    assert len(readme.update(root)) == 6
    (root / "build").mkdir()
    figures = {"notebooks": {"notebooks/00_adding.ipynb": {"seconds": 30, "peak_rss_mb": 400}}}
    (root / "build/notebooks.json").write_text(json.dumps(figures))
    results = {
        "typed_step": {"n": 500, "rate": 0.986, "ci95": [0.972, 0.994]},
        "gates": {"image": {"clean": 0.5, "blur_8": 0.1}},
    }
    (root / "data/model").mkdir(parents=True)
    (root / "data/model/results.json").write_text(json.dumps(results))
    (root / "data/claims.csv").write_text(
        "report,runtime,asked,reached,success,low,high,share_of_fp32_bytes,macs_saved,times_faster,"
        "claimed,figure,measured,measured_low,measured_high,runs,key,verdict,reason,how\n"
        "four,ONNX Runtime,at most 1 points lost,yes,0.975,0.963,0.983,0.144,0.000,1.61,,,,,,,,,,\n"
        "cut,,MACs -40%,no,0.8,0.7,0.9,0.3,0.4,1.04,,,,,,,,,,\nnew,,,not measured,,,,,,,,,,,,,,,,\n"
        "four,ONNX Runtime,at most 0.6,yes,,,,,,,start 0.9 s,cold_start_s,0.27,0.25,0.3,3,,,,\n"
        "power,,,,,,,,,,-27 %,saved,5.2,5.1,5.3,20,K34,does not hold,against which?,simulated\n"
    )
    (root / "data/reports/peers").mkdir(parents=True)
    told = {"runtime": "MNN", "version": "3.6", "verdict": "verified", "same_answers": 19, "requests": 20, "distance": 4e-4}
    (root / "data/reports/peers/runtimes.json").write_text(json.dumps({"runtimes": {"mnn": told}}))
    assert readme.update(root) == []
    text = (root / "README.md").read_text()
    assert "| [Adding](notebooks/00_adding.ipynb) | add two numbers | 0.5 min | 400 MB |" in text
    assert "| MNN | 3.6 | verified | 19 of 20 | 4e-04 of their size |" in text
    assert "| typed step | 98.6% | 97.2% to 99.4% | 500 |" in text
    assert "image clean 0.500, image blur 8 0.100" in text
    assert "| four | ONNX Runtime | 97.5% | 96.3% to 98.3% | 14% | 0% | 1.61x | at most 1 points lost | reached |" in text
    assert "| cut | PyTorch | 80.0% | 70.0% to 90.0% | 30% | -40% | 1.04x | MACs -40% | missed |" in text
    assert "| new | PyTorch | | | | | |  | not measured |" in text
    assert "| four | ONNX Runtime | cold start s | 0.27 | 0.25 to 0.3 | 3 | start 0.9 s | at most 0.6 | reached |" in text
    assert "| K34 | -27 % | does not hold | against which? | saved: 5.2 | 5.1 to 5.3, n = 20 | simulated |" in text
    assert readme.check(root) == []

    figures["notebooks"]["notebooks/00_adding.ipynb"]["peak_rss_mb"] = 900
    (root / "build/notebooks.json").write_text(json.dumps(figures))
    assert readme.check(root) == []
    assert "this run measured 900" in capsys.readouterr().err

    results["typed_step"]["rate"] = 0.5
    (root / "data/model/results.json").write_text(json.dumps(results))
    assert ["results" in problem for problem in readme.check(root)] == [True]


def test_a_picture_keeps_its_words_on_a_rendered_page():
    """What nbconvert writes (and, by the same HTML, JupyterLab): each picture's own description, and no stand-in for one."""
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    from autoglm_lab.widgets.charts import bars

    chart = bars("Time", {"whole": {"see": 3.0, "hear": 2.0}}, "ms", 'So it is: "see" > hear')
    data, metadata = chart._repr_mimebundle_()
    cell = nbformat.v4.new_code_cell("chart", execution_count=1)
    cell.outputs = [build.portable(nbformat.v4.new_output("display_data", data=data, metadata=metadata))]
    for template in ("lab", "classic"):
        page, _ = HTMLExporter(template_name=template).from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
        shown = BeautifulSoup(page, "html.parser")
        assert [image["alt"] for image in shown.find_all("img")] == ["Chart: Time"]
        assert 'So it is: "see" > hear' in [words.get_text() for words in shown.find_all("p")], "its caption"
