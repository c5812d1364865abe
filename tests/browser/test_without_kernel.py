"""Widgets whose kernel is gone: they say so within seconds, and a saved notebook shows their pictures."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from playwright.sync_api import expect

from autoglm_lab.widgets.charts import bars
from notebooks.build import KERNEL, portable
from tests.browser.test_widgets import CHARTS, GATES, PHONE, SPARSITY

GONE = "The kernel that drew this is gone"
RESTART = "async () => { await window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart(); }"
SLOW_PHONE = PHONE.replace("phone.perform(action)", "__import__('time').sleep(3); phone.perform(action)")
SLOW_GATES = GATES.replace("calls.append", "blur and __import__('time').sleep(9); calls.append")


@pytest.fixture
def lab(open_notebook, server):
    """`lab(name, *sources)`: the page of a notebook with these cells, run; its console may hold errors at the end."""

    def run(name, *sources):
        cells = [new_code_cell(source.strip()) for source in sources]
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), server.folder / f"{name}.ipynb")
        page = open_notebook(name)
        page.run_all()
        page.page.set_viewport_size({"width": 1280, "height": 1600})
        return page

    return run


def test_after_a_restart_in_the_middle_of_a_run_the_phone_says_so(lab):
    lab = lab("lost-phone", SLOW_PHONE)
    root = lab.page.locator(".lab-phone")
    root.get_by_label("Command", exact=True).fill("open WeChat")
    root.get_by_role("button", name="Run", exact=True).click()
    expect(root.get_by_role("button", name="Run", exact=True)).to_be_disabled()
    lab.page.evaluate(RESTART)
    expect(lab.page.locator(".lab-gone")).to_contain_text(GONE, timeout=10_000)
    assert lab.page.locator(".lab-lost").evaluate("body => body.inert"), "nothing can be pressed that nobody answers"
    expect(lab.page.locator(".lab-working")).to_have_count(0)
    lab.screenshot("lost-phone")


def test_after_a_restart_the_gates_show_numbers_and_picture_of_the_same_moment(lab):
    lab = lab("lost-gates", SLOW_GATES)
    root = lab.page.locator(".lab-gates")
    slider = root.locator("input[type=range]").first
    slider.evaluate("range => { range.value = 1; range.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(root).to_have_class("lab lab-gates lab-working")
    lab.page.evaluate(RESTART)
    expect(lab.page.locator(".lab-gone")).to_contain_text(GONE, timeout=10_000)
    expect(root.locator("img")).to_have_attribute("alt", "The screen with a blur of 0 pixels")
    expect(root.locator(".lab-slider .lab-number").first).to_contain_text("0")
    assert float(slider.input_value()) == 0


def test_a_kernel_that_died_is_known_by_its_silence_and_one_that_works_is_not_called_dead(lab):
    lab = lab("dead-kernel", SLOW_GATES)
    root, notice = lab.page.locator(".lab-gates"), lab.page.locator(".lab-gone")
    slider = root.locator("input[type=range]").first
    slider.evaluate("range => { range.value = 1; range.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(root).to_have_class("lab lab-gates lab-working")
    lab.page.wait_for_timeout(7500)  # Python works for nine seconds
    expect(notice).to_be_empty()
    expect(root).to_have_class("lab lab-gates", timeout=20_000)
    lab.page.evaluate("""async () => { const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
        await kernel.requestExecute({code: "import os; os.kill(os.getpid(), 19)"}); }""")  # stopped: as silent as dead
    slider.evaluate("range => { range.value = 0.5; range.dispatchEvent(new Event('input', {bubbles: true})); }")
    expect(notice).to_contain_text("busy with another cell, or gone", timeout=15_000)


def test_saved_and_opened_again_without_its_kernel_a_notebook_shows_its_pictures(lab, open_notebook):
    first = lab("reopened", PHONE, GATES, SPARSITY, CHARTS)
    stills = first.page.locator("[data-still]")
    expect(stills).to_have_count(3)
    assert not any(still.is_visible() for still in stills.all()), "where the widget lives, its picture is not seen"
    first.command("docmanager:save", wait=True)
    first.close()

    again = open_notebook("reopened")
    pictures = again.page.locator("[data-still] img")
    expect(pictures).to_have_count(3)
    for picture in pictures.all():
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.naturalWidth") > 100
    again.page.wait_for_timeout(4000)  # the manager looks for a model for two seconds, then gives up
    for words in ("model not found", "Loading widget"):
        assert not any(text.is_visible() for text in again.page.get_by_text(words).all())
    expect(pictures.first).to_have_attribute("alt", "The phone shows System Home.")
    again.screenshot("reopened")


def test_a_chart_of_a_notebook_somebody_else_ran_says_its_words(open_notebook, server):
    """As the committed chapters are opened first: not trusted, so their HTML is cleaned."""
    chart = bars("Time", {"whole": {"see": 3.0, "hear": 2.0}}, "ms", 'So it is: "see" > hear')
    cell = new_code_cell("chart", execution_count=1)
    shown = chart._repr_mimebundle_()[0]["text/html"]
    cell.outputs = [portable(new_output("display_data", {"text/html": shown, "text/plain": "x"}))]
    nbformat.write(new_notebook(cells=[cell], metadata={"kernelspec": KERNEL}), server.folder / "read.ipynb")
    page = open_notebook("read")
    image = page.page.locator(".jp-OutputArea-output img")
    expect(image).to_have_attribute("alt", "Chart: Time")
    expect(page.page.locator(".jp-OutputArea-output p")).to_have_text('So it is: "see" > hear')
    assert image.evaluate("image => image.naturalWidth") > 300
    page.screenshot("read")
