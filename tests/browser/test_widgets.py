"""The widgets in JupyterLab: what hands and keyboards do on the page reaches Python, and what Python says is seen."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import expect

from notebooks.build import KERNEL

PHONE = """
from types import SimpleNamespace
import numpy as np
from autoglm_lab import widgets
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.screens import find
from autoglm_lab.phone.simulator import SimulatedPhone

phone = SimulatedPhone(seed=7, lang="en")
heard = []

def runner(text, phone, engine, *, audio=None, max_steps=10, goal=""):
    heard.append((text, audio))
    if text == "maybe" and not goal:
        asks = {"goal": "open Clock", "question": "Did you mean: open Clock?", "thinking": "", "answer_text": "", "error": None}
        yield SimpleNamespace(index=0, action=Action("Goal", text="open Clock"), ms={"total": 5.0}, **asks)
        return
    actions = [Action("Home"), Action("Swipe", start=(800, 500), end=(200, 500)), Action("Tap", element=(5, 5))]
    if text == "break":
        raise OSError("the model file is gone")
    for index, action in enumerate([*actions * (20 if text == "long" else 1), Action("finish", message="done")]):
        phone.perform(action)
        ms = {"image": 12.0, "audio": 0.0, "decode": 80.0, "total": 92.0}
        words = {"thinking": f"thought {index}", "answer_text": "", "error": None}
        yield SimpleNamespace(index=index, action=action, ms=ms, **words)

sound = (0.1 * np.sin(np.arange(8000) / 9)).astype(np.float32)
widget = widgets.phone(phone, runner=runner, clips=[("打开设置", sound)])
widget
"""

ATTENTION = """
import numpy as np
from autoglm_lab import widgets
from autoglm_lab.phone.simulator import SimulatedPhone

logits = np.random.default_rng(3).normal(0, 3, (3, 2, 4, 196))
weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
tokens = ["do", "(", "\\n", "430"]
widget = widgets.attention(SimulatedPhone(7).screenshot(), tokens, weights, names=lambda x, y: f"x{x}")
widget
"""

GATES = """
from PIL import ImageFilter
from autoglm_lab import widgets
from autoglm_lab.phone.simulator import SimulatedPhone

calls = []
def compute(blur, snr_db):
    calls.append((blur, snr_db))
    if snr_db < 1:
        raise ValueError("nothing to hear")
    shot = SimulatedPhone(7).screenshot().filter(ImageFilter.GaussianBlur(blur))
    gates = {"image": [0.6 - 0.05 * blur] * 2, "speech": [0.3 + snr_db / 100] * 2}
    return widgets.GateView(["do", "Tap"], gates, shot, "ok")

widget = widgets.gates(compute)
widget
"""


TRAINING = """
from autoglm_lab import widgets

widget = widgets.training(steps=400, align_steps=100)
names = ("image", "audio", "answer", "image_right", "audio_right", "answer_right")

def learn(until):
    for step in range(widget.curve.step + 1, until + 1):
        done = step / 400
        values = (3 - 2.8 * done, 4 - 3.5 * done, 2 * (1 - done), done, 0.8 * done, max(0, done - 0.25))
        widget({"step": step, "seconds": 0.5, **dict(zip(names, values))})

learn(250)
widget.shown, widget.said = widget.curve.data(), widget.curve.sentence()
widget
"""


SPARSITY = """
import numpy as np
from autoglm_lab import widgets

rng, calls = np.random.default_rng(0), []

def measure(shares):
    calls.append(shares)
    if shares["mlp.up"] > 0.9:
        raise ValueError("nothing is left")
    return {"right steps, %": 100 - 50 * shares["mlp.up"]}

widget = widgets.sparsity({"mlp.up": rng.normal(0, 1, (60, 80)), "attention.query": rng.normal(0, 0.3, (40, 40))}, measure)
widget
"""


GOVERNORS = """
from autoglm_lab import widgets

widget = widgets.governors()
widget
"""


GHOST_FINGER = """
from autoglm_lab import widgets

widget = widgets.ghost_finger()
widget
"""


ATTACKER = """
from autoglm_lab import widgets

widget = widgets.attacker()
widget
"""


TWO_PHONES = """
from autoglm_lab import widgets

widget = widgets.two_phones()
widget
"""


OFFLOADER = """
from autoglm_lab import widgets

widget = widgets.offloader()
widget
"""


SCOREBOARD = """
import copy
from autoglm_lab import widgets
from autoglm_lab.benchmarks.scoreboard.rows import board
from autoglm_lab.benchmarks.verdicts_articles import read_figures
from autoglm_lab.paths import data_dir

power = copy.deepcopy(read_figures(data_dir() / "reports")["power"])
for standing in power["rates"]["0.8"]["fast"]:
    if standing["rule"] == "load steps 80/50":
        standing["energy"] = {"mean": 0.73, "low": 0.72, "high": 0.75}
widget = widgets.scoreboard(board({"power": power}))
widget
"""


CABLE = """
from autoglm_lab import widgets
from autoglm_lab.runtime.engine import Answer, Stream

class Says:
    def __init__(self, *pieces):
        self.pieces = pieces

    def answer(self, *_, **__):
        return Stream(iter([*self.pieces, Answer.read("".join(self.pieces), len(self.pieces), {})]), 9)

large = Says("do(", 'action="Launch"', ', app="', "Set", "tings", '"', ")")
widget = widgets.cable(Says('do(action="Home")'), large, apart_s=0.3)
widget
"""


PAGES = """
from autoglm_lab import SimulatedPhone, widgets
from autoglm_lab.export.kept import kept_bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine

widget = widgets.pages(OnnxEngine(kept_bundle(), mapped=True, threads=1), SimulatedPhone(5).screenshot())
widget
"""


QUANTIZATION = """
import torch
from autoglm_lab import widgets
from autoglm_lab.compress.quantization import Scheme, quantize
from autoglm_lab.widgets.quantization_view import QuantizationView

weight = torch.randn(32, 96, generator=torch.Generator().manual_seed(0))

def compute(bits, granularity, symmetric, method):
    if bits == 3:
        raise ValueError("three is a crowd")
    q = quantize(weight, Scheme(bits, symmetric, granularity), method)
    arrays = (part.numpy() for part in (weight, q.dequantize(), q.scale, q.zero_point))
    return QuantizationView(*arrays, bits, q.clipped, q.stored_bytes)

widget = widgets.quantization(compute)
widget
"""


PARETO = """
from autoglm_lab import widgets
from autoglm_lab.evaluation.report import Report

recipes = [Report("as it is", bytes=31_900_000, answer_ms=210, success=0.98, ci95=(0.965, 0.99)),
           Report("four bits", bytes=9_300_000, answer_ms=260, success=0.97, ci95=(0.95, 0.98)),
           Report("two bits", bytes=6_100_000, answer_ms=255, success=0.81, ci95=(0.77, 0.84)),
           Report("fewer channels", bytes=20_000_000, answer_ms=140, success=0.95, ci95=(0.93, 0.965))]
widget = widgets.pareto(recipes, lambda report: f"{report.name} is loaded")
widget
"""


LATENCY = """
from autoglm_lab import widgets
from autoglm_lab.runtime.engine import Answer, Stream

import time

asked, profiled = [], []
def begin(name, ms):
    def pieces():
        asked.append(name)
        yield from ("do", "(")
        yield Answer("do()", ms={"image": 5.0, "decode": ms, "total": ms + 5})
    return lambda: Stream(pieces())

def profile():
    profiled.append(1)
    time.sleep(0.05)
    return {"image": {"image_encoder.stages.0": 2.0}, "step": {"lm_head": 1.0, "layers.0.mlp": 6.0}}

widget = widgets.latency({"floats": begin("floats", 35.0), "integers": begin("integers", 10.0)},
                         layers={"floats": profile, "integers": profile})
widget
"""


PARITY = """
from types import SimpleNamespace
from autoglm_lab import widgets

def layers(*differences):
    return [SimpleNamespace(name=f"layers.{n}.mlp.down_proj", difference=d) for n, d in enumerate(differences)]

widget = widgets.parity({"as written": layers(1e-7, 2e-7, 4e-7), "one weight changed": layers(1e-7, 3e-3, 2e-2)})
widget
"""


CHARTS = """
from IPython.display import display
from autoglm_lab.widgets.charts import bars, grids, lines

display(bars("Bars", {"whole": {"see": 3.0, "hear": 2.0}, "small": {"see": 1.5, "hear": 1.0}}, "ms"))
display(lines("Lines", {"a": ((1, 10, 100), (1, 2, 4)), "b": ((1, 10, 100), (3, 5, 8))}, "tokens", "ms", log=True))
display(grids("Grids", {"left": [[0, 1], [1, 0]], "right": [[1, 0], [0, 1]]}, "token", "token", "Two small grids."))
"""


SERVER = """
import time
from autoglm_lab import widgets
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.serve import running

class Slow:
    def answer(self, *_, **__):
        time.sleep(0.03)
        return Stream(iter(['do(action="Home")', Answer.read('do(action="Home")', 1, {})]), 9)

house = running(Slow())
url = house.__enter__()
widget = widgets.server(url, clients=(1, 3), answers=12)
widget
"""


@pytest.fixture
def lab(notebook_page, server):
    """`lab(name, source)`: the page of a notebook with this one cell, run."""

    def run(name, source):
        notebook = new_notebook(cells=[new_code_cell(source.strip())], metadata={"kernelspec": KERNEL})
        nbformat.write(notebook, server.folder / f"{name}.ipynb")
        page = notebook_page(name)
        page.page.set_viewport_size({"width": 1280, "height": 1600})  # no widget reaches below it
        return page

    return run


def test_charts_are_drawn_where_the_notebook_runs(lab):
    """By plotly, as high as they are meant to be, and with a hint at what lies under the pointer; in a narrow window as well."""
    lab = lab("charts", CHARTS)
    plots = lab.page.locator(".js-plotly-plot")
    expect(plots).to_have_count(3)
    for width in (1280, 560):
        lab.page.set_viewport_size({"width": width, "height": 1600})
        lab.page.wait_for_timeout(500)
        for plot in plots.all():
            inner = plot.locator(".main-svg").first.bounding_box()
            assert inner["height"] > 200 and inner["width"] > 0.9 * plot.bounding_box()["width"]
            assert inner["x"] + inner["width"] <= width
        lab.screenshot(f"charts-{width}")
    bar = plots.first.locator(".bars path").first.bounding_box()
    lab.page.mouse.move(bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] / 2)
    expect(plots.first.locator(".hoverlayer .hovertext")).to_contain_text("3")
    held = lab.cells()[0]["outputs"]
    assert len(held) == 3 and all("image/png" in output["data"] for output in held), "plotly leaves a picture for who only reads"


def test_phone_by_hand(lab):
    lab = lab("phone-hand", PHONE)
    root = lab.page.locator(".lab-phone")
    screen, app, said = root.locator(".lab-screen"), root.locator(".lab-app"), root.locator(".lab-said")
    picture = screen.locator("img")

    def tap(concept):
        x, y = eval(lab.python(f"print(find(phone.state, concept={concept!r}).centre)"))
        box = screen.bounding_box()
        screen.click(position={"x": (x + 0.5) / 1000 * box["width"], "y": (y + 0.5) / 1000 * box["height"]})

    expect(app).to_have_text("System Home")
    home = picture.get_attribute("src")
    tap("settings")
    expect(app).to_have_text("Settings")
    expect(said).to_contain_text("on Settings: the phone shows Settings")
    expect(picture).to_have_attribute("alt", "The phone shows Settings.")
    assert picture.get_attribute("src") != home
    lab.expect_python("print(phone.state.app)", "settings")

    was_on = lab.python("print(phone.state.toggles['wifi'])")
    tap("wifi")
    expect(said).to_contain_text("on Wi-Fi")
    assert lab.python("print(phone.state.toggles['wifi'])") != was_on

    root.get_by_role("button", name="Back").click()
    expect(app).to_have_text("System Home")
    screen.scroll_into_view_if_needed()
    box = screen.bounding_box()
    lab.page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 300)
    lab.page.mouse.down()
    lab.page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 300, steps=4)
    lab.page.mouse.up()
    expect(said).to_have_text(re.compile(r"^Swipe \((79|80)\d,\d+\) → \((19|20)\d,"))
    lab.expect_python("print(phone.state.page)", "1")


def test_phone_by_keyboard(lab):
    lab = lab("phone-keys", PHONE)
    root = lab.page.locator(".lab-phone")
    keyboard, place, said = lab.page.keyboard, root.locator(".lab-screen__place"), root.locator(".lab-said")
    lab.command("notebook:enter-command-mode", wait=True)
    root.locator(".lab-screen").focus()
    expect(place).to_contain_text("(500, 500)")
    x, y = eval(lab.python("print(find(phone.state, concept='settings').centre)"))
    for key, away in (
        ("Right", (x - 500) // 20),
        ("Left", (500 - x) // 20),
        ("Down", (y - 500) // 20),
        ("Up", (500 - y) // 20),
    ):
        for _ in range(away):
            keyboard.press(f"Arrow{key}")
    expect(place).to_contain_text("Settings")
    keyboard.press("Enter")
    expect(root.locator(".lab-app")).to_have_text("Settings")
    keyboard.press("Backspace")
    expect(root.locator(".lab-app")).to_have_text("System Home")
    keyboard.press("Shift+ArrowLeft")
    expect(said).to_contain_text("Swipe")
    lab.expect_python("print(phone.state.page)", "1")
    keyboard.press("h")
    expect(said).to_have_text("Home: the phone shows System Home.")
    lab.expect_python("print(phone.state.page)", "0")
    assert len(lab.cells()) == 1, "a key went to the notebook"


def test_phone_by_the_agent(lab):
    lab = lab("phone-agent", PHONE)
    root = lab.page.locator(".lab-phone")
    steps, command = root.locator(".lab-step"), root.get_by_label("Command", exact=True)
    run, step, stop = (root.get_by_role("button", name=name, exact=True) for name in ("Run", "Step", "Stop"))
    expect(run).to_be_disabled()

    command.fill("short")
    command.press("Enter")
    expect(steps).to_have_count(4)
    expect(steps.nth(1)).to_contain_text('do(action="Swipe", start=[800,500], end=[200,500])')
    expect(steps.nth(1)).to_contain_text("thought 1")
    expect(steps.nth(1)).to_contain_text("92 ms")
    expect(root.locator(".lab-task")).to_have_text("“short”")
    expect(run).to_be_enabled()
    lab.expect_python("print(widget.busy, len(widget.history))", "False 4")

    command.fill("long")
    step.click()
    expect(steps).to_have_count(1)
    expect(stop).to_be_disabled()
    root.get_by_role("button", name="Go on").click()
    expect(steps.nth(3)).to_be_attached()
    stop.click()
    expect(stop).to_be_disabled()
    expect(root.get_by_role("button", name="Go on")).to_be_enabled()
    count = steps.count()
    lab.page.wait_for_timeout(800)
    assert steps.count() == count < 60
    lab.expect_python("print(widget.busy, len(widget.history))", f"True {count}")

    root.get_by_role("button", name="Say “打开设置” to the agent").click()
    expect(steps).to_have_count(4)
    lab.expect_python("print(heard[-1][0] == '', np.array_equal(heard[-1][1], sound))", "True True")
    assert root.locator("audio").evaluate("a => a.duration") == pytest.approx(0.5)

    command.fill("break")
    run.click()
    expect(root.get_by_role("alert")).to_have_text("OSError: the model file is gone")
    expect(run).to_be_enabled()


def test_the_agent_asks_back_and_hears_a_yes(lab):
    lab = lab("phone-asks", PHONE)
    root = lab.page.locator(".lab-phone")
    steps, command, said = root.locator(".lab-step"), root.get_by_label("Command", exact=True), root.locator(".lab-said")
    command.fill("maybe")
    command.press("Enter")
    expect(steps).to_have_count(1)
    expect(steps).to_contain_text("Did you mean: open Clock?")
    expect(said).to_have_text("Not sure, nothing was done. Did you mean: open Clock?")
    yes = root.get_by_role("button", name="Yes, that is what I meant: open Clock")
    yes.focus()
    lab.page.keyboard.press("Enter")
    expect(steps).to_have_count(4)
    expect(root.locator(".lab-step__question")).to_have_count(0)
    expect(root.locator(".lab-task")).to_have_text("“maybe”")
    lab.expect_python("print(widget.busy, len(widget.history), heard[-1][0])", "False 4 maybe")


def test_attention_reads_other_values(lab):
    lab = lab("attention", ATTENTION)
    root = lab.page.locator(".lab-attention")
    sentence, cell = root.locator(".lab-sentence"), root.locator(".lab-cell")
    expect(sentence).to_have_text(lab.python("print(widget.sentence())").strip())

    lab.command("notebook:enter-command-mode", wait=True)
    root.get_by_label("Attention over the screen").focus()
    expected = "*_, w = widget.maps.cells(widget.layer, widget.head, widget.token), ; at = int(w.argmax()){}; "
    expected += "from autoglm_lab.widgets.attention_view import percent, cell_centre; "
    expected += "print(f'{{percent(w[at])}} at {{cell_centre(at, 14)}}, x{{cell_centre(at, 14)[0]}}')"
    expect(cell).to_have_text(lab.python(expected.format("")).strip())
    first = cell.inner_text()
    column = int(lab.python("print(int(w.argmax()) % 14)"))
    key, away = ("ArrowRight", " + 1") if column < 13 else ("ArrowLeft", " - 1")
    lab.page.keyboard.press(key)
    expect(cell).to_have_text(lab.python(expected.format(away)).strip())
    assert cell.inner_text() != first
    lab.page.keyboard.press("Home")
    expect(cell).to_have_text(first)

    root.get_by_role("group", name="Layer").locator("input").nth(0).focus()
    lab.page.keyboard.press("ArrowRight")
    expect(sentence).to_contain_text("layer 1")
    root.get_by_role("radio", name="mean").check()
    root.get_by_role("radio", name="↵").check()
    expect(sentence).to_contain_text("layer 1, mean of heads, token '\\n' puts")
    expect(sentence).to_have_text(lab.python("print(widget.sentence())").strip())
    lab.expect_python("print(widget.layer, widget.head, widget.token)", "1 -1 2")

    root.locator("canvas").scroll_into_view_if_needed()
    box = root.locator("canvas").bounding_box()
    lab.page.mouse.move(box["x"] + box["width"] / 28, box["y"] + box["height"] / 28)
    expect(cell).to_contain_text("at (35, 35), x35")
    lab.python("widget.layer = 2")
    expect(sentence).to_contain_text("layer 2")


def test_gates_follow_the_sliders(lab):
    lab = lab("gates", GATES)
    root = lab.page.locator(".lab-gates")
    image = root.locator(".lab-mean[data-modality=image] .lab-number")
    speech = root.locator(".lab-mean[data-modality=speech] .lab-number")
    said, picture = root.locator(".lab-said"), root.locator("img")
    expect(image).to_have_text("0.60")
    expect(speech).to_have_text("0.60")
    clear = picture.get_attribute("src")

    lab.command("notebook:enter-command-mode", wait=True)
    root.get_by_label("Blur").focus()
    for _ in range(4):
        lab.page.keyboard.press("ArrowRight")
    expect(root.get_by_label("Blur")).to_have_attribute("aria-valuetext", "2 px")
    expect(image).to_have_text("0.50")
    expect(speech).to_have_text("0.60")
    expect(said).to_have_text("At blur 2 px and 30 dB speech to noise: image gate 0.60 → 0.50, speech gate 0.60.")
    expect(root.locator("tbody td").first).to_have_text("0.50")
    assert picture.get_attribute("src") != clear
    lab.expect_python("print(calls[-1])", "(2.0, 30.0)")
    assert int(lab.python("print(len(calls))")) < 6, "every key asked Python, instead of the last"

    root.get_by_label("Speech to noise").focus()
    lab.page.keyboard.press("ArrowRight")
    expect(speech).to_have_text("0.59")
    lab.page.keyboard.press("End")
    expect(root.get_by_role("alert")).to_have_text("ValueError: nothing to hear")
    lab.page.keyboard.press("ArrowLeft")
    expect(speech).to_have_text("0.31")
    expect(root.get_by_role("alert")).to_have_count(0)

    lab.python("widget.set(4, 15)")
    expect(root.get_by_label("Blur")).to_have_attribute("aria-valuetext", "4 px")


def test_a_training_curve_grows(lab):
    lab = lab("training", TRAINING)
    root = lab.page.locator(".lab-training")
    bar, answers = root.get_by_label("Steps done"), root.locator(".lab-plot").nth(1).locator(".lab-curve.lab-series-2")
    expect(bar).to_have_attribute("value", "250")
    before = answers.get_attribute("d").count("L")
    assert root.locator(".lab-curve").count() == 5
    lab.python("learn(400)")  # in one go: the page hears of the last step at the latest
    expect(bar).to_have_attribute("value", "400")
    expect(root.locator(".lab-said")).to_contain_text("Step 400 of 400 (instruction)")
    expect(root.locator(".lab-plot li").first).to_contain_text("alignment loss")
    assert answers.get_attribute("d").count("L") > before


def test_sparsity_follows_its_sliders(lab):
    lab = lab("sparsity", SPARSITY)
    root = lab.page.locator(".lab-sparsity")
    everywhere, up = root.get_by_label("Zeros in all layers"), root.get_by_label("Zeros in mlp.up")
    figures, said, picture = root.locator("dd"), root.locator(".lab-main .lab-said"), root.locator("img")
    expect(figures.nth(1)).to_have_text("100")
    whole = picture.get_attribute("src")

    lab.command("notebook:enter-command-mode", wait=True)
    everywhere.focus()
    for _ in range(4):
        lab.page.keyboard.press("PageUp")
    expect(figures.first).to_have_text("40 %")
    expect(said).to_contain_text("40% of the weights are zero")
    assert picture.get_attribute("src") != whole
    lab.expect_python("print(widget.shares['attention.query'] > 0.6 > 0.4 > widget.shares['mlp.up'])", "True")
    assert int(lab.python("print(len(calls))")) < 6, "every key asked Python, instead of the last"

    up.focus()
    lab.page.keyboard.press("Home")
    expect(figures.nth(1)).to_have_text("100")
    lab.page.keyboard.press("End")
    expect(root.get_by_role("alert")).to_have_text("ValueError: nothing is left")
    root.locator("[data-layer='attention.query'] .lab-layer__name").click()
    expect(picture).to_have_attribute("alt", re.compile("^attention.query, a corner of 40 x 40 weights"))
    expect(root.locator(".lab-chosen")).to_have_attribute("data-layer", "attention.query")


def test_governors_race_and_the_rest_of_the_phone_flips_the_winner(lab):
    lab = lab("governors", GOVERNORS)
    root = lab.page.locator(".lab-governors")
    moment, awake = root.get_by_label("Moment of the race"), root.get_by_label("What the rest of the phone takes")
    lane = root.locator("[data-rule='by deadline']")
    expect(lane).to_have_class(re.compile("lab-winner"))
    expect(root.locator("[data-rule='powersave']")).to_contain_text("16 late")

    lab.command("notebook:enter-command-mode", wait=True)
    moment.focus()
    lab.page.keyboard.press("Home")
    expect(root.locator("[data-rule='powersave']")).to_contain_text("in time")
    expect(lane).to_contain_text("0 %")
    root.get_by_role("button", name="Race").click()
    expect(root.locator(".lab-car").first).to_be_visible()
    expect(root.locator("[data-rule='powersave']")).to_contain_text("16 late", timeout=40_000)
    expect(lane).to_have_class(re.compile("lab-winner"))

    racer = root.locator("[data-rule='race to idle']")
    expect(racer).not_to_have_class(re.compile("lab-winner"))
    awake.focus()
    lab.page.keyboard.press("End")
    expect(root.locator(".lab-said")).to_contain_text("With 3000 units more while it works: 'race to idle' takes least")
    expect(racer).to_have_class(re.compile("lab-winner"))
    expect(lane).not_to_have_class(re.compile("lab-winner"))
    lab.page.keyboard.press("Home")
    expect(lane).to_have_class(re.compile("lab-winner"))


def test_a_ghost_finger_fills_the_purse_and_the_cost_moves_the_best_gate(lab):
    lab = lab("ghost_finger", GHOST_FINGER)
    root = lab.page.locator(".lab-ghost_finger")
    step, gate, cost = (root.get_by_label(re.compile(f"^{name}")) for name in ("Step", "Gate", "Cost of a miss"))
    purse, said = root.locator("dd").last, root.locator(".lab-said")
    expect(said).to_contain_text("Above a gate of 0.80")
    before = purse.text_content()

    lab.command("notebook:enter-command-mode", wait=True)
    gate.focus()
    lab.page.keyboard.press("Home")
    expect(said).to_contain_text("Above a gate of 0.00")
    expect(purse).not_to_have_text(before)
    box = root.locator(".lab-curve-plot").bounding_box()
    lab.page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.5 * box["height"])
    expect(said).to_contain_text(re.compile(r"Above a gate of 0\.5\d"))

    best = root.locator(".lab-best").get_attribute("cx")
    cost.focus()
    lab.page.keyboard.press("End")
    expect(said).to_contain_text("is 0.80;")
    expect(root.locator(".lab-best")).not_to_have_attribute("cx", best)

    step.focus()
    lab.page.keyboard.press("Home")
    expect(root.locator("dd").first).to_be_visible()
    root.get_by_role("button", name="Play").click()
    expect(root.locator(".lab-slider__title").first).to_contain_text("5 of 48")
    root.get_by_role("button", name="Stop").click()


def test_an_attacker_names_fewer_people_when_less_is_published(lab):
    lab = lab("attacker", ATTACKER)
    root = lab.page.locator(".lab-attacker")
    named = root.locator(".lab-figures dd").first
    shop = root.locator("[data-use='the nearest shop'] .lab-number")
    expect(named).to_have_text("100.0 %")
    expect(root.locator(".lab-person")).to_have_count(40)
    root.get_by_label("new key each day").check()
    expect(root.locator(".lab-said")).to_contain_text("names: new key each day")
    root.get_by_label("publish apps").uncheck()
    root.get_by_label("pad requests").check()
    expect(root.locator(".lab-said")).to_contain_text("requests padded to 64 bytes")
    lab.command("notebook:enter-command-mode", wait=True)
    letters = root.get_by_label("Letters of the geohash")
    letters.focus()
    lab.page.keyboard.press("Home")
    expect(shop).to_have_text(re.compile("^[0-5] %$"))
    expect(named).to_have_text(re.compile(r"^[2-4]\.\d %$"))
    wide, room = (root.locator(f"[data-use='the nearest shop'] {part}").bounding_box()["width"] for part in ("i", ".lab-use__bar"))
    assert wide < 0.1 * room, "a bar is as long as its share"
    lab.page.keyboard.press("End")
    expect(shop).to_have_text(re.compile("^(99|100) %$"))
    lab.expect_python("print(widget.release['precision'], 0.6 < widget.top_1 < 0.75)", "8 True")


def test_two_phones_meet_and_clocks_make_one_note_vanish(lab):
    lab = lab("two_phones", TWO_PHONES)
    root = lab.page.locator(".lab-two_phones")
    one, other = root.locator("[data-phone='0']"), root.locator("[data-phone='1']")
    expect(one.locator(".lab-value")).to_have_text(["milk, eggs"])
    expect(other.locator(".lab-value")).to_have_text(["milk, bread"])
    root.get_by_role("button", name="Connect").click()
    expect(root.locator(".lab-moving")).to_have_count(2)
    expect(one.locator(".lab-value")).to_have_text(["milk, eggs", "milk, bread"])
    expect(other.locator("[data-state='beside']")).to_have_count(2)
    expect(root.locator(".lab-moving")).to_have_count(0)

    clocks = root.get_by_label("Use clocks")
    clocks.check()
    expect(other.locator(".lab-value")).to_have_text(["milk, eggs"])
    expect(other.locator("[data-state='gone']")).to_have_count(1)
    lab.command("notebook:enter-command-mode", wait=True)
    skew = root.get_by_label("Phone B's clock is behind", exact=True)
    skew.focus()
    lab.page.keyboard.press("Home")
    expect(other.locator(".lab-value")).to_have_text(["milk, bread"])
    expect(root.locator(".lab-said")).to_contain_text("Gone by clocks, though nobody chose that: 'milk, eggs'.")
    clocks.uncheck()
    expect(one.locator(".lab-value")).to_have_count(2)

    keep = root.get_by_role("button", name="Keep milk, bread on Phone A")
    keep.focus()
    lab.page.keyboard.press("Enter")
    expect(other.locator(".lab-value")).to_have_text(["milk, bread"])
    expect(one.locator(".lab-conflict")).to_have_count(0)
    root.get_by_role("button", name="Cut the line").click()
    note = root.get_by_label("New note on Phone B")
    note.fill("tea")
    note.press("Enter")
    expect(other.locator(".lab-value")).to_have_text(["tea"])
    expect(one.locator(".lab-value")).to_have_text(["milk, bread"])
    lab.expect_python("print(widget.values)", "[['milk, bread'], ['tea']]")


def test_an_offloader_decides_by_keys_and_is_judged(lab):
    lab = lab("offloader", OFFLOADER)
    root = lab.page.locator(".lab-offloader")
    board, said, players = root.get_by_role("group"), root.get_by_role("status"), root.locator("[data-player]")
    expect(said).to_contain_text("The first request waits.")
    expect(said).to_contain_text("Now request 1. other work: level")
    lab.command("notebook:enter-command-mode", wait=True)
    board.focus()
    lab.page.keyboard.press("l")
    expect(said).to_contain_text("Request 1, computed here")
    root.get_by_role("button", name="Edge (E)").click()
    expect(said).to_contain_text(", sent: ")
    lab.page.keyboard.press("w")
    expect(said).to_contain_text(", kept waiting: ")
    assert len(lab.cells()) == 1, "a key went to the notebook"

    expect(players).to_have_count(1)
    root.get_by_role("button", name="Let them play").click()
    expect(players).to_have_count(4)
    expect(root.locator(".lab-plot .lab-curve")).to_have_count(4)
    expect(root.locator(".lab-regret")).to_have_count(3)
    expect(said).to_contain_text("Your 3 decisions gave up")
    lab.screenshot("offloader-open")

    expire = root.locator("[data-name='expired'] .lab-gauge__words")
    before = expire.text_content()
    price = root.get_by_label("Price of expiry")
    price.focus()
    lab.page.keyboard.press("Home")
    expect(root.locator(".lab-planned")).to_contain_text("Where expiry costs 0, the best plan earns ")
    assert float(before.split()[0]) < float(expire.text_content().split()[0]), "who pays nothing lets requests expire"
    lab.expect_python("print(widget.plan['price'], len(widget.regrets), widget.game['open'])", "0.0 3 True")

    root.get_by_role("button", name="Start over").click()
    expect(players).to_have_count(1)
    lab.expect_python("print(widget.game['ended'], widget.game['open'])", "0 False")


def test_a_board_of_claims_is_filtered_sorted_and_opened_by_keys(lab):
    lab = lab("scoreboard", SCOREBOARD)
    root = lab.page.locator(".lab-scoreboard")
    rows, said, details = root.locator("[data-key]"), root.get_by_role("status"), root.locator(".lab-details")
    expect(rows).to_have_count(66)
    expect(root.locator("[data-key='K34'] .lab-col-here")).to_have_text("holds")
    lab.command("notebook:enter-command-mode", wait=True)
    fall = root.get_by_role("button", name="does not hold")
    fall.click()
    expect(fall).to_have_attribute("aria-pressed", "true")
    expect(said).to_contain_text("claims are shown (does not hold)")
    root.get_by_label("Chapter").select_option("11")
    expect(rows).to_have_count(3)
    fall.click()
    root.get_by_label("Words in a row").fill("saved governor")
    expect(said).to_contain_text("with the words 'saved governor'")
    expect(rows.first).to_be_visible()
    root.get_by_label("Words in a row").fill("")
    root.get_by_label("Chapter").select_option("")
    expect(rows).to_have_count(66)

    head = root.get_by_role("columnheader", name="Verdict")
    head.get_by_role("button").focus()
    lab.page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(rows.first.locator(".lab-col-verdict")).to_have_text("holds")
    lab.page.keyboard.press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(rows.first.locator(".lab-col-verdict")).to_have_text("is not a claim")
    root.get_by_role("columnheader", name="Here").get_by_role("button").click()
    expect(rows.first).to_have_attribute("data-key", "K34")

    rows.nth(1).focus()
    lab.page.keyboard.press("ArrowUp")
    expect(rows.first).to_be_focused()
    lab.page.keyboard.press("Enter")
    expect(details).to_contain_text("saved against which governor?")
    expect(details).to_contain_text("claimed 27")
    expect(details.locator(".lab-interval")).to_have_count(2)
    expect(rows.first).to_be_focused()
    details.get_by_role("button", name="Copy").click()
    lab.screenshot("scoreboard-open")
    rows.first.focus()
    lab.page.keyboard.press("Enter")
    expect(details).to_have_count(0)
    rows.nth(2).click()
    expect(details).to_have_count(1)
    assert len(lab.cells()) == 1, "a key went to the notebook"
    code = "print(widget.choice['sort'], widget.choice['open'] == widget.visible[2], len(widget.visible))"
    lab.expect_python(code, "here True 66")


def test_a_cable_is_cut_while_an_answer_passes(lab):
    lab = lab("cable", CABLE)
    root = lab.page.locator(".lab-cable")
    said, send = root.get_by_role("status"), root.get_by_role("button", name="Ask")
    requests, figures = root.locator(".lab-request"), root.locator(".lab-figures dd")
    pieces = requests.first.locator("[data-lane='cloud'] .lab-piece")
    expect(said).to_have_text("Nothing was asked yet.")
    send.click()
    pieces.nth(2).wait_for()
    expect(said).to_have_text("Nothing was asked yet.", timeout=1)  # pieces are seen while they come
    expect(said).to_contain_text("Request 1 (fail-over; none): the cloud answered after ")
    expect(requests.first.locator(".lab-lane__text").first).to_have_text('do(action="Launch", app="Settings")')

    lab.command("notebook:enter-command-mode", wait=True)
    send.click()
    expect(requests).to_have_count(2)
    pieces.nth(1).wait_for()
    lab.page.keyboard.press("x")
    expect(said).to_contain_text("Request 2 (fail-over; none): the device answered after ")
    expect(said).to_contain_text("pieces of the cloud were thrown away. The cable is cut.")
    expect(requests.first.locator(".lab-snip")).to_have_count(2)  # one in each lane
    expect(requests.first.locator("s")).to_contain_text("do(action=")
    assert requests.first.locator(".lab-wasted").count() >= 2 and len(lab.cells()) == 1, "a key went to the notebook"
    lab.screenshot("cable-cut", root)
    root.get_by_role("button", name="Plug it in").click()
    expect(root.get_by_role("button", name="Cut the cable")).to_be_visible()

    root.get_by_label("cloud only").check()
    root.get_by_label("cut at", exact=True).check()
    moment = root.get_by_label("Cut at", exact=True)
    moment.focus()
    lab.page.keyboard.press("Home")
    lab.expect_python("print(widget.settings)", "{'policy': 'cloud only', 'fault': 'cut at', 'cut_at_ms': 0}")
    send.click()
    expect(said).to_contain_text("Request 3 (cloud only; cut at 0 ms): no answer after ")
    expect(figures).to_have_text(["3", "2", "1", "0", "0", "closed"])
    lab.expect_python("print(widget.tally)", "Tally(asked=3, answered=2, errors=1, lost=0, done_twice=0)")
    lab.python("widget.close(); import threading")
    lab.expect_python("print('link' in [each.name for each in threading.enumerate()])", "False")


def test_pages_go_under_pressure_and_come_back(lab):
    lab = lab("pages", PAGES)
    root = lab.page.locator(".lab-pages")
    writes, hears = (root.locator(f"[data-strip='{name}']") for name in ("what writes", "what hears"))
    lab.command("notebook:enter-command-mode", wait=True)
    root.get_by_role("button", name="Ask, with a screen").click()
    expect(root.locator(".lab-said")).to_contain_text("Answered with a screen in")
    expect(hears).to_contain_text(re.compile("^what hears: 0(\\.\\d)? of"))
    root.get_by_role("button", name="Press the memory").click()
    expect(writes).to_contain_text(re.compile("^what writes: 0(\\.\\d)? of"))
    expect(root.locator("[data-strip='written by this process']")).to_contain_text("4.2 of 4.2 MB")
    root.get_by_role("button", name="Ask, typed only").click()
    expect(root.locator(".lab-said")).to_contain_text("Answered without a screen in")
    lab.expect_python("print(widget.clean_mb > 5)", "True")


def test_quantization_follows_its_choices(lab):
    lab = lab("quantization", QUANTIZATION)
    root = lab.page.locator(".lab-quantization")
    bits, said = root.get_by_label("Bits", exact=True), root.locator(".lab-said")
    expect(said).to_have_text(re.compile("^Per tensor, symmetric, range by minmax: 8 bits with one scale"))
    spikes = root.locator(".lab-after")
    fine = spikes.get_attribute("d").count("M")

    lab.command("notebook:enter-command-mode", wait=True)
    bits.focus()
    lab.page.keyboard.press("Home")
    expect(said).to_contain_text("2 bits with one scale")
    assert spikes.get_attribute("d").count("M") == 3 < fine
    root.get_by_role("radio", name="group").check()
    expect(said).to_contain_text("Per group")
    root.get_by_role("radio", name="mse").check()
    root.get_by_role("checkbox", name="symmetric").uncheck()
    expect(said).to_contain_text("Per group, asymmetric, range by mse: 2 bits with 96 scales")
    lab.expect_python("print(widget.bits, widget.granularity, widget.symmetric, widget.method)", "2 group False mse")

    bits.focus()
    lab.page.keyboard.press("ArrowRight")
    expect(root.get_by_role("alert")).to_have_text("ValueError: three is a crowd")
    expect(bits).to_have_value("2")


def test_pareto_is_chosen_by_mouse_and_key(lab):
    lab = lab("pareto", PARETO)
    root = lab.page.locator(".lab-pareto")
    said, told = root.locator(".lab-said"), root.get_by_role("status")
    expect(said).to_contain_text("nothing beats two bits, four bits, as it is in size and success")
    root.locator("[data-name='four bits'] circle").click()
    expect(told).to_have_text("four bits is loaded")
    expect(root.locator("[data-name='four bits']")).to_have_attribute("aria-pressed", "true")

    lab.command("notebook:enter-command-mode", wait=True)
    root.locator("[data-name='fewer channels']").focus()
    lab.page.keyboard.press("Enter")
    expect(told).to_have_text("fewer channels is loaded")
    lab.expect_python("print(widget.report.name)", "fewer channels")
    root.get_by_label("What is compared with success").select_option("answer_ms")
    expect(said).to_contain_text("nothing beats fewer channels, as it is in whole answer")


def test_times_are_guessed_and_measured_on_the_page(lab):
    lab = lab("latency", LATENCY)
    root = lab.page.locator(".lab-latency")
    rows, said = root.locator(".lab-timeline__row"), root.locator(".lab-said")
    expect(said).to_have_text("floats: not measured. integers: not measured.")
    guess = root.get_by_label("Your guess for integers, in milliseconds")
    guess.fill("20")
    guess.press("Enter")
    expect(said).to_contain_text("integers: not measured, guessed 20")
    assert lab.python("print(asked)").strip() == "[]", "a guess measures nothing"
    root.get_by_role("button", name="Measure").click()
    expect(said).to_contain_text("integers: 15 ms, guessed 20, 67% of them decode, median of 3")
    expect(rows.first).to_contain_text("40.0 ms")
    widths = [part.bounding_box()["width"] for part in rows.locator(".lab-time--decode").all()]
    assert abs(widths[0] / widths[1] - 3.5) < 0.1, "one scale for all rows"
    assert lab.python("print(sorted(asked))").strip() == str(["floats"] * 3 + ["integers"] * 3)
    guess.fill("-4")
    guess.press("Enter")
    expect(root.get_by_role("alert")).to_contain_text("takes some milliseconds")


def test_layers_are_watched_until_it_is_stopped(lab):
    lab = lab("layers", LATENCY)
    root = lab.page.locator(".lab-latency")
    look, stop = (root.get_by_role("button", name=name, exact=True) for name in ("Look inside", "Stop"))
    expect(stop).to_be_hidden()
    look.focus()
    look.press("Enter")
    expect(stop).to_be_focused()
    floats = root.get_by_role("list", name="Layers of floats")
    expect(floats.get_by_role("listitem")).to_have_count(3)
    expect(root.get_by_text("floats, mean of 3 profiles")).to_be_visible()
    stop.press("Enter")
    expect(look).to_be_focused()
    expect(stop).to_be_hidden()
    seen = int(lab.python("time.sleep(0.5); print(len(profiled))"))
    assert 4 <= seen < 40 and int(lab.python("time.sleep(0.5); print(len(profiled))")) == seen, "it went on until it was stopped"
    expect(floats.get_by_role("listitem").first).to_contain_text("layers.0.mlp67 %")
    widths = [bar.bounding_box()["width"] for bar in floats.locator(".lab-layers__bar").all()]
    assert abs(widths[0] / widths[2] - 6) < 0.2, "one scale for all layers"
    expect(root.locator(".lab-said")).to_contain_text("floats: layers.0.mlp of the step graph takes most, 67% of 3 layers")


def test_the_first_layer_that_differs_is_found_on_the_page(lab):
    lab = lab("parity", PARITY)
    root = lab.page.locator(".lab-parity")
    said, first = root.locator(".lab-said"), root.locator(".lab-parity__first")
    expect(said).to_contain_text("as written: all 3 layers agree within 1e-04")
    expect(first).to_have_count(0)
    root.get_by_label("one weight changed").check()
    expect(said).to_contain_text("the first layer that differs is layers.1.mlp.down_proj, by 3.0e-03")
    expect(first).to_contain_text("3.0e-03 first")
    slider = root.get_by_label("Allowed difference, as a power of ten")
    slider.focus()
    for _ in range(8):
        slider.press("ArrowRight")
    expect(said).to_contain_text("the first layer that differs is layers.2.mlp.down_proj")
    lab.expect_python("print(widget.shown, widget.tolerance)", "one weight changed 0.01")


def test_a_server_is_loaded_on_the_page(lab):
    lab = lab("server", SERVER)
    root = lab.page.locator(".lab-server")
    said = root.locator(".lab-said")
    expect(said).to_have_text("1 client: not measured. 3 clients: not measured.")
    guess = root.get_by_label("Your guess for 3 clients, answers a second")
    guess.fill("90")
    guess.press("Enter")
    expect(said).to_contain_text("3 clients: not measured, guessed 90")
    root.get_by_role("button", name="Load it").click()
    expect(root.locator(".lab-live")).to_contain_text("tokens a second", timeout=60_000)
    expect(said).to_have_text(re.compile(r"1 client: \d+ answers a second, .*3 clients: \d+ answers a second, guessed 90, .*"))
    expect(root.locator("tbody tr").nth(1).locator("td").nth(1)).to_have_text(re.compile(r"^\d+$"))
    assert len(root.locator(".lab-curve").first.get_attribute("d")) > 20, "the queue over time is drawn"
    expect(guess).to_have_value("90")
    guess.fill("-1")
    guess.press("Enter")
    expect(root.get_by_role("alert")).to_contain_text("0 or more")
    assert lab.python("house.__exit__(None, None, None); print(len(widget.samples) > 3)").strip() == "True"


def test_widgets_fit_narrow_windows_and_both_themes(lab):
    sources = (
        PHONE,
        ATTENTION,
        GATES,
        TRAINING,
        SPARSITY,
        GOVERNORS,
        GHOST_FINGER,
        ATTACKER,
        TWO_PHONES,
        OFFLOADER,
        SCOREBOARD + "widget.set(open='K34')\n",
        CABLE,
        PAGES,
        QUANTIZATION,
        PARETO,
        LATENCY + "widget.look_inside()\n",
        PARITY,
        SERVER,
    )
    lab = lab("looks", "\ndisplay(widget)\n".join(sources))
    for theme in ("light", "dark"):
        lab.theme(theme)
        for width in (1280, 480):
            lab.page.set_viewport_size({"width": width, "height": 3000})
            for name in (
                "phone",
                "attention",
                "gates",
                "training",
                "sparsity",
                "governors",
                "ghost_finger",
                "attacker",
                "two_phones",
                "offloader",
                "scoreboard",
                "cable",
                "pages",
                "quantization",
                "pareto",
                "latency",
                "parity",
                "server",
            ):
                root = lab.page.locator(f".lab-{name}").first
                root.scroll_into_view_if_needed()
                wide, room = root.evaluate("e => [e.scrollWidth, e.clientWidth]")
                assert wide <= room, f"{name} is {wide} px wide in {room} px"
                paper, ink = root.evaluate("e => [getComputedStyle(e).backgroundColor, getComputedStyle(e).color]")
                assert (luminance(paper) > luminance(ink)) == (theme == "light")
                lab.screenshot(f"widget-{name}-{theme}-{width}", of=root)


def luminance(colour):
    """Of `rgb(r, g, b)` or `rgba(r, g, b, a)`: 0 to 255, alpha left out."""
    red, green, blue = [float(part) for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return 0.2 * red + 0.7 * green + 0.1 * blue
