"""Fixtures for tests that drive notebooks in a browser; what they hand out is described in driver.py."""

import os

import pytest
from playwright.sync_api import sync_playwright

from tests.browser.driver import FLAGS, INSTALL, ROOT, NotebookPage, find_chromium, jupyterlab


def pytest_collection_modifyitems(items):
    """Every test here needs a browser."""
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium; on a machine without one the tests are skipped, under CI they fail."""
    program = find_chromium()
    if program is None and os.environ.get("CI"):
        pytest.fail(INSTALL, pytrace=False)
    if program is None:
        pytest.skip(INSTALL)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """JupyterLab on a temporary copy of notebooks/."""
    with jupyterlab(tmp_path_factory.mktemp("jupyterlab"), ROOT / "notebooks") as running:
        yield running


@pytest.fixture
def open_notebook(browser, server):
    """`open_notebook("00_start_here")`: the page, nothing run yet, nothing checked at the end."""
    pages = []

    def open_page(name):
        pages.append(NotebookPage.open(browser, server, name))
        return pages[-1]

    yield open_page
    for page in pages:
        page.close()


@pytest.fixture
def notebook_page(open_notebook):
    """`notebook_page("00_start_here")`: the page with every cell run.

    The test fails when a cell or a call-back raised, when anything asked for another machine, or when the console holds
    an error; checked after Run All and again when the test has ended.
    """
    pages = []

    def open_and_run(name):
        page = open_notebook(name)
        page.theme("light")
        page.run_all()
        page.assert_clean()
        pages.append(page)
        return page

    yield open_and_run
    for page in pages:
        page.assert_clean()
