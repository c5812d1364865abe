"""Cells that start servers, run three times: one server is left, its port, its threads and its memory; and no npm is no end."""

import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from notebooks import build
from notebooks.build import KERNEL
from tests.browser.driver import ROOT

COUNTS = """
import gc, json, os, threading
gc.collect()
listening = {line.split()[9] for line in open("/proc/net/tcp").readlines()[1:] if line.split()[3] == "0A"}
links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
own = {os.readlink(link)[8:-1] for link in links if os.path.lexists(link) and os.readlink(link).startswith("socket:[")}
mb = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
print(json.dumps({"threads": threading.active_count(), "ports": len(own & listening), "mb": round(mb)}))
"""
BEGIN = """
import autoglm_lab as lab
from pathlib import Path
folder, phone = Path({folder!r}), lab.SimulatedPhone(7, lang="en")
whole, bundles = folder / "whole", {{"int8": folder / "int8"}}
"""
DEVICE = """
from autoglm_lab.runtime.onnx_engine import OnnxEngine
device = OnnxEngine(whole, threads=1)
"""
ASK = """
import json as json_
from urllib.request import Request, urlopen
body = json_.dumps({"messages": [{"role": "user", "content": "open Settings"}]}).encode()
urlopen(Request(url + "/chat/completions", body, {"Content-Type": "application/json"})).read()
"""


def cell_of(chapter, text):
    """The code cell of a chapter's source that contains a text."""
    learner, _ = build.derive(ROOT / "notebooks" / "source" / f"{chapter}.py")
    return next(cell.source for cell in learner.cells if cell.cell_type == "code" and text in cell.source)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    command = [sys.executable, "-m", "autoglm_lab.cli", "export", "--rows", "--out", str(folder / "whole")]
    subprocess.run(command, check=True, cwd=ROOT)
    (folder / "int8").symlink_to(folder / "whole")  # a bundle is a bundle to the page
    return folder


@pytest.fixture
def lab(open_notebook, server):
    def run(name, *sources):
        cells = [new_code_cell(source.strip()) for source in sources]
        nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), server.folder / f"{name}.ipynb")
        page = open_notebook(name)
        page.also.append("http://127.0.0.1")
        page.run_all()
        return page

    return run


@pytest.mark.parametrize(
    ("chapter", "mark", "before", "then"),
    [
        ("09_serving", 'open_once("server"', "", ASK),
        ("10_on_device", 'open_once("page"', "", "None"),
        ("12_device_and_cloud", "lab.widgets.cable", DEVICE, "None"),
    ],
)
def test_a_server_cell_run_three_times_holds_what_one_run_holds(lab, exported, chapter, mark, before, then):
    page = lab(f"thrice-{chapter}", BEGIN.format(folder=str(exported)) + before, cell_of(chapter, mark), then)
    counts = [json.loads(page.python(COUNTS).splitlines()[-1])]
    for _ in range(2):
        page.run_all()
        counts.append(json.loads(page.python(COUNTS).splitlines()[-1]))
    print(chapter, counts)
    assert [count["ports"] for count in counts] == [counts[0]["ports"]] * 3
    assert counts[2]["threads"] <= counts[0]["threads"] + 1  # one that is just ending
    assert counts[2]["mb"] < 1.35 * counts[0]["mb"]


def test_the_field_for_commands_is_inside_the_frame_and_no_code_leads_a_phone_to_itself(lab, exported):
    page = lab("page-frame", BEGIN.format(folder=str(exported)), cell_of("10_on_device", 'open_once("page"'))
    root = page.page.locator(".lab-browser")
    for width in (1280, 700):
        page.page.set_viewport_size({"width": width, "height": 1300})
        frame, form = root.locator("iframe"), root.frame_locator("iframe").locator("#form")
        expect(form).to_be_visible()
        picture = root.frame_locator("iframe").locator("#picture")  # it gives the page its height
        picture.evaluate("image => image.complete && image.naturalWidth || new Promise(done => image.onload = done)")
        outer, inner = frame.bounding_box(), form.bounding_box()
        assert outer["y"] <= inner["y"] and inner["y"] + inner["height"] <= outer["y"] + outer["height"], (outer, inner)
        page.screenshot(f"page-frame-{width}", of=root)
    expect(root.locator(".lab-qr")).to_have_count(0)
    expect(root).to_contain_text("Only this machine reaches this address")


def test_without_npm_the_chapter_says_what_is_missing_and_goes_on(lab, exported):
    begin = (
        BEGIN
        + "import os, autoglm_lab.device.browser.server, autoglm_lab.device.browser.assets as assets\nos.environ['PATH'] = ''\n"
    )
    begin += "assets.runtime_files.__defaults__ = (folder / 'nowhere',)"
    page = lab("no-npm", begin.format(folder=str(exported)), cell_of("10_on_device", 'open_once("page"'), "'went on'")
    expect(page.output("open_once")).to_contain_text(re.compile("There is no page here: .*needs npm once"))
    expect(page.output("went on")).to_contain_text("went on")
