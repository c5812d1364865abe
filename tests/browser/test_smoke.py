"""The browser fixtures themselves, on tiny notebooks: a slider reaches Python and the page, and nothing bad passes."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from notebooks.build import KERNEL
from tests.browser.driver import NotebookError

SLIDER = """
import ipywidgets
slider, shown = ipywidgets.IntSlider(value=3, max=9), ipywidgets.HTML("three")
def moved(change):
    shown.value = f"now {change.new}"
slider.observe(moved, "value")
ipywidgets.VBox([slider, shown])
"""


@pytest.fixture
def write_notebook(server):
    """Put a notebook with these cells beside the course's own; its name."""

    def write(name, *sources):
        cells = [new_code_cell(source.strip()) for source in sources]
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), server.folder / f"{name}.ipynb")
        return name

    return write


def test_slider_reaches_python_and_the_page(notebook_page, write_notebook):
    lab = notebook_page(write_notebook("slider", SLIDER, "40 + 2"))
    assert [cell["count"] for cell in lab.cells()] == [1, 2]
    assert lab.output("40 + 2").inner_text().strip() == "42"

    lab.page.locator(".widget-slider .noUi-handle").focus()
    lab.page.keyboard.press("ArrowRight")
    lab.page.locator(".widget-html-content", has_text="now 4").wait_for()
    assert lab.page.locator(".widget-readout").inner_text() == "4"
    lab.expect_python("print(slider.value)", "4")


def test_both_themes_and_a_picture(notebook_page, write_notebook):
    lab = notebook_page(write_notebook("themes", SLIDER))

    def background():
        return lab.page.evaluate("() => getComputedStyle(document.body).getPropertyValue('--jp-layout-color0').trim()")

    light = background()
    assert lab.screenshot("smoke-light").stat().st_size > 1000
    lab.theme("dark")
    assert background() != light
    assert lab.screenshot("smoke-dark-slider", of=lab.output("IntSlider")).exists()


def test_a_raising_cell_is_reported(open_notebook, write_notebook):
    lab = open_notebook(write_notebook("raising", "1", "1 / 0", "2"))
    with pytest.raises(NotebookError, match="code cell 2: ZeroDivisionError"):
        lab.run_all()


def test_a_raising_callback_is_reported(open_notebook, write_notebook):
    lab = open_notebook(write_notebook("callback", SLIDER.replace('f"now {change.new}"', "1 / 0")))
    lab.run_all()
    lab.assert_clean()
    lab.page.locator(".widget-slider .noUi-handle").focus()
    lab.page.keyboard.press("ArrowRight")
    lab.python("import time; time.sleep(0.5)")
    with pytest.raises(NotebookError, match="ZeroDivisionError"):
        lab.assert_clean()


def test_another_machine_is_refused_and_remembered(open_notebook, write_notebook):
    picture = 'from IPython.display import HTML\nHTML(\'<img alt="none" src="http://192.0.2.1/none.png">\')'
    lab = open_notebook(write_notebook("foreign", picture))
    lab.run_all()
    lab.page.wait_for_timeout(500)
    assert set(lab.refused) == {"http://192.0.2.1/none.png"}
    with pytest.raises(NotebookError, match=r"192\.0\.2\.1"):
        lab.assert_clean()


def test_an_error_in_a_widgets_script_is_reported(open_notebook, write_notebook):
    widget = """
import anywidget
class Broken(anywidget.AnyWidget):
    _esm = "export default { render({ el }) { el.textContent = 'drawn'; setTimeout(() => none.at.all, 0); } }"
Broken()
"""
    lab = open_notebook(write_notebook("broken", widget))
    lab.run_all()
    lab.page.get_by_text("drawn", exact=True).wait_for()
    lab.page.wait_for_timeout(300)
    with pytest.raises(NotebookError, match="errors in the console"):
        lab.assert_clean()
