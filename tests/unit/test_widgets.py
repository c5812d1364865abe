"""The widgets without a browser: what they compute, what they do to a phone, what a static page gets of them."""

import base64
import html
import io
import re
import subprocess
import sys
import time
import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.agent.loop import MAX_STEPS
from autoglm_lab.phone.actions import Action
from autoglm_lab.phone.filmstrip import Frame, caption, filmstrip, marked
from autoglm_lab.phone.screens import find
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.runtime.engine import Answer, Stream
from autoglm_lab.widgets import latency_view
from autoglm_lab.widgets.attention_view import AttentionMaps, cell_centre
from autoglm_lab.widgets.phone_view import entry, target_at, targets, wav_url

ROOT = Path(__file__).resolve().parents[2]
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def bundle(widget):
    """The static picture and the sentence of a widget."""
    (live, _), (still, _) = widget.outputs()
    assert live[WIDGET_VIEW]["model_id"] == widget.model_id
    [tag] = re.findall(r"<img [^>]*>", still["text/html"])
    alt, source = re.fullmatch(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)">', tag).groups()
    assert html.unescape(alt) == still["text/plain"] == live["text/plain"]
    assert f'data-still="{widget.still}"' in still["text/html"]
    return Image.open(io.BytesIO(base64.b64decode(source))), still["text/plain"]


def says(widget, **content):
    """What arrives when the page sends a message."""
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


def step(index, action, *, thinking="", answer_text="", error=None, **ms):
    total = {"total": sum(ms.values())} if ms else {}
    return SimpleNamespace(index=index, action=action, thinking=thinking, answer_text=answer_text, error=error, ms=ms | total)


def scripted(*actions, error=None):
    """A runner that performs these actions and remembers what it was asked."""

    def runner(text, phone, engine, *, audio=None, max_steps=0):
        runner.asked.append((text, audio, max_steps))
        for index, action in enumerate(actions):
            if action is not None:
                phone.perform(action)
            last = index == len(actions) - 1
            yield step(index, action, thinking=f"thought {index}", answer_text="?!", error=error if last else None, decode=5)

    runner.asked = []
    return runner


@pytest.fixture
def phone():
    return SimulatedPhone(seed=7, lang="en", size=(270, 600))


def settings_at(phone):
    return find(phone.state, concept="settings", effect="open:settings").centre


LEFT = Action("Swipe", start=(800, 500), end=(200, 500))
RIGHT = Action("Swipe", start=(200, 500), end=(800, 500))
DONE = Action("finish", message="done")


def test_importing_the_package_brings_no_widget_library():
    heavy = ("torch", "transformers", "anywidget", "ipywidgets", "matplotlib")
    code = f"import sys, autoglm_lab.widgets as w; w.phone; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# The phone, by hand


def test_tap_opens_what_lies_under_it(phone):
    widget = widgets.phone(phone)
    before = widget.screen
    assert widget.tap(*settings_at(phone))
    assert phone.state.app == "settings"
    assert widget.app == phone.current_app()
    assert widget.screen != before
    assert f"on Settings: the phone shows {phone.current_app()}" in widget.said


def test_tap_on_nothing_says_so(phone):
    widget = widgets.phone(phone)
    before = widget.screen
    assert not widget.tap(500, 5)
    assert widget.screen == before
    assert widget.said == "Tap (500,5): nothing changed."


def test_swipe_type_back_and_home(phone):
    widget = widgets.phone(phone)
    assert widget.swipe(800, 500, 200, 500)
    assert phone.state.page == 1
    widget.swipe(200, 500, 800, 500)
    widget.tap(*settings_at(phone))
    assert widget.back()
    assert phone.state.app is None
    widget.tap(*settings_at(phone))
    assert widget.home()
    assert widget.app == "System Home"
    phone.perform(Action("Launch", app="Clock"))
    widget.tap(*find(phone.state, effect="add").centre)
    assert widget.type_text("07:30")
    assert phone.state.typed == "07:30"


def test_a_tap_off_the_screen_raises_and_shows_on_the_page(phone):
    widget = widgets.phone(phone)
    with pytest.raises(ValueError, match="0 to 999"):
        widget.tap(1000, 0)
    assert says(widget, kind="tap", points=[1000, 0]).startswith("ValueError: element of Tap is (1000, 0)")
    assert says(widget, kind="tap", points=list(settings_at(phone))) == ""
    assert phone.state.app == "settings"


@pytest.mark.parametrize("content", [{"kind": "jump"}, {"kind": "tap", "points": [1]}, {}])
def test_unknown_messages_show_on_the_page(phone, content):
    assert "asks for nothing known" in says(widgets.phone(phone), **content)


def test_messages_of_the_page_reach_the_phone(phone):
    widget = widgets.phone(phone)
    says(widget, kind="swipe", points=[800, 500, 200, 500])
    assert phone.state.page == 1
    says(widget, kind="home")
    assert phone.state.page == 0
    says(widget, kind="tap", points=list(settings_at(phone)))
    says(widget, kind="back")
    assert phone.state.app is None
    phone.perform(Action("Launch", app="Clock"))
    widget.tap(*find(phone.state, effect="add").centre)
    says(widget, kind="type", text="06:00")
    assert phone.state.typed == "06:00"


def test_targets_name_what_a_tap_hits(phone):
    x, y = settings_at(phone)
    assert target_at(targets(phone), x, y) == "Settings"
    assert target_at(targets(phone), 500, 5) == ""
    assert targets(SimpleNamespace()) == []


# The phone, by the agent


def test_a_run_step_by_step(phone):
    runner = scripted(LEFT, RIGHT, DONE)
    widget = widgets.phone(phone, runner=runner)
    widget.start("  open settings ")
    assert (widget.task, widget.busy, widget.history) == ("open settings", True, [])
    assert widget.step()
    assert phone.state.page == 1
    assert [e["action"] for e in widget.history] == ['do(action="Swipe", start=[800,500], end=[200,500])']
    assert widget.history[0]["points"] == [[800, 500], [200, 500]]
    assert widget.said == "Step 1: Swipe (800,500) → (200,500) after 5 ms. Thought: thought 0"
    assert widget.step()
    assert not widget.step()
    assert not widget.busy
    assert len(widget.history) == 3
    assert runner.asked == [("open settings", None, MAX_STEPS)]
    with pytest.raises(RuntimeError, match="start"):
        widget.step()


def test_the_page_runs_the_same_steps(phone):
    widget = widgets.phone(phone, runner=scripted(LEFT, DONE))
    says(widget, kind="start", task="go")
    says(widget, kind="step")
    assert widget.busy
    says(widget, kind="step")
    assert not widget.busy
    assert len(widget.history) == 2


def test_a_new_command_forgets_the_old_run(phone):
    widget = widgets.phone(phone, runner=scripted(LEFT, DONE))
    widget.start("one")
    widget.step()
    widget.run("two")
    assert widget.task == "two"
    assert len(widget.history) == 2
    assert widget.sentence().startswith("Command: two. The agent's steps: Swipe (800,500) → (200,500), then finish")


def test_a_spoken_clip_goes_to_the_agent(phone):
    runner = scripted(DONE)
    sound = np.sin(np.arange(1600) / 9).astype(np.float32)
    widget = widgets.phone(phone, runner=runner, clips=[("打开设置", sound)])
    widget.run(clip=0)
    ((text, audio, _),) = runner.asked
    assert text == ""
    np.testing.assert_array_equal(audio, sound)
    assert widget.task == "打开设置"
    with pytest.raises(ValueError, match="there are 1 clips"):
        widget.start(clip=1)


def test_a_run_that_just_ends(phone):
    widget = widgets.phone(phone, runner=scripted(LEFT))
    widget.run("go")
    assert not widget.busy
    assert widget.said == "The run ended after 1 steps."


def test_an_answer_that_is_no_action_ends_the_run_and_shows(phone):
    widget = widgets.phone(phone, runner=scripted(None, error="no action in '?!'"))
    widget.start("go")
    assert says(widget, kind="step") == "no action in '?!'"
    assert not widget.busy
    assert widget.history[0]["action"] == "?!"
    assert "no action" in widget.sentence()


def test_a_runner_that_raises_shows_on_the_page(phone):
    def broken(*_, **__):
        raise OSError("the model file is gone")
        yield

    widget = widgets.phone(phone, runner=broken)
    says(widget, kind="start", task="go")
    assert says(widget, kind="step") == "OSError: the model file is gone"
    assert not widget.busy


def test_starting_needs_an_engine_and_a_command(phone):
    assert says(widgets.phone(phone), kind="start", task="go").startswith("RuntimeError: there is no engine")
    with pytest.raises(ValueError, match="empty"):
        widgets.phone(phone, runner=scripted(DONE)).start("  ")


def test_entry_leaves_out_stages_without_time():
    made = entry(step(0, Action("Tap", element=(1, 2)), image=3.14159, audio=0.0, decode=6.0))
    assert made["stages"] == {"image": 3.1, "decode": 6.0}
    assert made["total_ms"] == 9.1
    assert made["points"] == [[1, 2]]
    assert entry(step(0, DONE, decode=2.0))["points"] == []


def test_a_run_that_was_declined_says_so(phone):
    no = Action("finish", message="I cannot make phone calls. I can open apps.")
    assert entry(step(0, no))["declined"] and not entry(step(0, DONE))["declined"] and not entry(step(0, None))["declined"]
    widget = widgets.phone(phone, runner=scripted(no))
    widget.run("call Mum")
    assert "The agent declined: it did not do what was asked." in widget.said


def test_what_was_understood_is_told_with_the_first_step(phone):
    first, second = step(0, Action("Home")), step(1, DONE)
    for told in (first, second):
        told.goal = "go to the home screen"
    assert [entry(told)["goal"] for told in (first, second)] == ["go to the home screen", ""]
    widget = widgets.phone(phone, runner=scripted(first.action, DONE))
    widget.run("take me home")
    assert "Understood" not in widget.said, "a runner that does not say what it understood"


def test_wav_url_holds_the_sound():
    sound = np.array([0, 1, -1, 0.5, 2], np.float32)
    head, _, data = wav_url(sound).partition(",")
    assert head == "data:audio/wav;base64"
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        assert np.frombuffer(file.readframes(9), "<i2").tolist() == [0, 32767, -32767, 16384, 32767]


@pytest.mark.parametrize("sound", [np.zeros((2, 8)), np.zeros(0), np.full(4, np.nan)])
def test_wav_url_refuses(sound):
    with pytest.raises(ValueError, match=r"\[samples\]"):
        wav_url(sound)


def test_static_phone_is_the_screen_then_a_filmstrip(phone):
    widget = widgets.phone(phone, runner=scripted(LEFT, RIGHT, DONE))
    picture, words = bundle(widget)
    assert picture.size == (216, 480)
    assert words == "The phone shows System Home."
    widget.run("go")
    picture, words = bundle(widget)
    assert picture.width == 2 * 24 + 3 * 162 + 2 * 26
    assert words.count("Swipe") == 2


# The filmstrip


def test_filmstrip_marks_where_the_agent_tapped(phone):
    plain = phone.screenshot()
    tapped = np.asarray(marked(plain, Action("Tap", element=(250, 750))), int)
    moved = np.abs(tapped - np.asarray(plain, int)).sum(-1) > 0
    rows, columns = np.nonzero(moved)
    assert abs(columns.mean() - 0.25 * plain.width) < 2
    assert abs(rows.mean() - 0.75 * plain.height) < 2
    assert not (np.asarray(marked(plain, DONE)) != np.asarray(plain)).any()
    swept = np.nonzero((np.asarray(marked(plain, LEFT)) != np.asarray(plain)).any(-1))[1]
    assert swept.min() < 0.21 * plain.width
    assert swept.max() > 0.79 * plain.width


def test_filmstrip_size_and_refusals(phone):
    frames = [Frame(phone.screenshot(), LEFT, "设置在第二页，先向左滑"), Frame(phone.screenshot(), None)]
    strip = filmstrip(frames, 300)
    assert strip.width == 2 * 24 + 2 * 135 + 26
    assert strip.height > 300 + 2 * 24
    with pytest.raises(ValueError, match="frames is empty"):
        filmstrip([])
    with pytest.raises(ValueError, match="height is 50"):
        filmstrip(frames, 50)
    assert caption(None) == "no action"


# Attention


@pytest.fixture
def weights():
    """[2 layers, 3 heads, 2 tokens, 4 x 4 cells], each row a distribution."""
    logits = np.random.default_rng(5).normal(0, 2, (2, 3, 2, 16))
    return (np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)).astype(np.float32)


def test_attention_says_the_datas_argmax(phone, weights):
    shot = phone.screenshot()
    widget = widgets.attention(shot, ["do", "430"], weights, names=lambda x, y: f"at {x}")
    layer, head, token, cell = np.unravel_index(weights.argmax(), weights.shape)
    x, y = cell_centre(int(cell), 4)
    share = f"{100 * weights.max():.0f} %"
    expected = f"layer {layer}, head {head}, token '{['do', '430'][token]}' puts {share} on the cell at ({x}, {y}), at {x}"
    assert widget.sentence() == expected

    widget.layer, widget.head, widget.token = 1, -1, 0
    mean = weights[1, :, 0].mean(0)
    x, y = cell_centre(int(mean.argmax()), 4)
    assert widget.sentence().startswith("layer 1, mean of heads, token 'do' puts ")
    assert f"{100 * mean.max():.0f} % on the cell at ({x}, {y})" in widget.sentence()
    picture, words = bundle(widget)
    assert words == widget.sentence()
    assert picture.size == (2 * 20 + 2 * 144 + 18, 48 + 320 + 48)


def test_attention_travels_as_16_bit(phone, weights):
    widget = widgets.attention(phone.screenshot(), ["a", "b"], weights)
    assert widget.shape == [2, 3, 2, 16]
    assert len(widget.weights) == 2 * weights.size
    back = np.frombuffer(widget.weights, "<u2").reshape(weights.shape) / 65535
    np.testing.assert_allclose(back, weights, atol=1e-5)


def test_attention_names_cells_from_boxes(weights):
    maps = AttentionMaps.of(["a", "b"], weights, [((0, 0, 1000, 500), "top"), ((0, 0, 250, 250), "corner")])
    assert maps.names[:4] == ["corner", "top", "top", "top"]
    assert maps.names[8:] == [""] * 8


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((3, 2, 16), r"shape \[3, 2, 16\]"),
        ((2, 3, 5, 16), r"shape \[2, 3, 5, 16\] have 5 tokens, but 2"),
        ((2, 3, 2, 15), r"shape \[2, 3, 2, 15\] have 15 cells, which is no square"),
        ((2, 0, 2, 16), r"shape \[2, 0, 2, 16\]"),
    ],
)
def test_attention_refuses_shapes(phone, shape, words):
    with pytest.raises(ValueError, match=words):
        widgets.attention(phone.screenshot(), ["a", "b"], np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.5])
def test_attention_refuses_values(phone, weights, value):
    weights[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="between 0 and 1"):
        widgets.attention(phone.screenshot(), ["a", "b"], weights)


def test_attention_refuses_heads_that_are_not_there(phone, weights):
    widget = widgets.attention(phone.screenshot(), ["a", "b"], weights)
    with pytest.raises(ValueError, match=r"head 3, token . is not among 2 layers"):
        widget.head = 3
    assert widget.head < 3


# The gates


def view(image, speech, answer=""):
    return widgets.GateView(["do", "Tap"], {"image": image, "speech": speech}, Image.new("RGB", (90, 200)), answer)


@pytest.fixture
def gates():
    asked = []

    def compute(blur, snr_db):
        asked.append((blur, snr_db))
        if blur > 7:
            raise OverflowError("too blurred")
        return view([0.61 - 0.05 * blur, 0.71 - 0.05 * blur], [0.58, 0.58], f"blur {blur}")

    widget = widgets.gates(compute)
    widget.asked = asked
    return widget


def test_gates_say_the_means_before_and_after(gates):
    assert gates.asked == [(0, 30)]
    assert gates.sentence() == "At blur 0 px and 30 dB speech to noise: image gate 0.66, speech gate 0.58."
    gates.set(4, 12)
    assert gates.asked[-1] == (4, 12)
    assert gates.said == "At blur 4 px and 12 dB speech to noise: image gate 0.66 → 0.46, speech gate 0.58."
    assert gates.shown["answer"] == "blur 4"
    assert gates.shown["gates"]["image"] == [0.41, 0.51]
    picture, words = bundle(gates)
    assert words == gates.said
    assert picture.size == (2 * 24 + 162 + 32 + 320, 2 * 24 + 360)


def test_gates_picture_draws_the_mean(gates):
    def blue(widget):
        picture = np.asarray(widget.picture(), int)
        return (np.abs(picture - (59, 130, 196)).sum(-1) == 0).sum()

    clean = blue(gates)
    gates.set(6, 30)
    assert blue(gates) / clean == pytest.approx(0.36 / 0.66, abs=0.03)


def test_gates_of_the_page(gates):
    assert says(gates, kind="set", blur=2, snr_db=0) == ""
    assert (gates.blur, gates.snr_db) == (2, 0)
    assert says(gates, kind="set", blur=8, snr_db=0) == "OverflowError: too blurred"
    assert gates.blur == 2
    assert "blur is 9" in says(gates, kind="set", blur=9, snr_db=0)


def test_gates_of_what_was_heard_first_and_seen_later():
    tokens, screen = ["Goal", "Tap", "("], Image.new("RGB", (9, 9))
    later = widgets.GateView(tokens, {"image": [None, 0.4, 0.6], "speech": [0.8, None, None]}, screen)
    assert later.means == {"image": 0.5, "speech": 0.8} and later.data()["gates"]["image"] == [None, 0.4, 0.6]
    unseen = widgets.GateView(tokens, {"image": [None] * 3, "speech": [0.1] * 3}, screen)
    assert unseen.means == {"speech": pytest.approx(0.1)}
    widget = widgets.gates(lambda blur, snr_db: later if snr_db > 10 else unseen)
    widget.set(0, 0)
    assert widget.said == "At blur 0 px and 0 dB speech to noise: speech gate 0.80 → 0.10." and widget.picture()


def test_gates_refuse_bad_views_and_ranges():
    with pytest.raises(ValueError, match=r"gates\['speech'\] has shape \[3\]; 2 tokens need \[2\]"):
        view([0.1, 0.2], [0.1, 0.2, 0.3])
    for wrong in (1.2, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            view([0.1, wrong], [0.1, 0.2])
    with pytest.raises(ValueError, match="0 tokens"):
        widgets.GateView([], {}, Image.new("RGB", (9, 9)))
    with pytest.raises(ValueError, match="blur is"):
        widgets.gates(lambda blur, snr_db: view([0.1, 0.2], [0.1, 0.2]), blur=(3, 3))


def row(step, **values):
    names = ("image", "audio", "answer", "image_right", "audio_right", "answer_right")
    return {"step": step, "seconds": 0.5} | dict.fromkeys(names, 0.0) | values


def test_a_training_curve_averages_what_lies_close():
    widget = widgets.training(steps=600, align_steps=100)
    assert widget.said == "A run of 600 steps, not yet begun."
    for step in range(1, 301):
        widget(row(step, image=2.0, audio=1.0, answer=0.5, image_right=step / 600, answer_right=0.25))
    assert widget.curve.points("alignment loss")[0] == (2.0, 3.0)  # four steps to a point
    assert widget.curve.points("things found in pictures")[0] == (2.0, pytest.approx(2.5 / 600))
    assert widget.curve.points("answer loss")[0][0] == 102.0  # none before there are answers
    assert "Step 300 of 600 (instruction)" in widget.sentence() and "answers right 25%" in widget.sentence()
    assert "about 2 min left" in widget.sentence()
    picture, words = bundle(widget)
    assert words == widget.sentence() and picture.width > 300


def test_the_page_hears_of_the_last_step():
    widget = widgets.training(steps=3)
    for step in range(1, 4):
        widget(row(step, answer_right=1.0))
    assert widget.shown["step"] == 3 and widget.said.endswith("done.")
    assert widget.shown["panels"][1]["lines"][2]["points"][-1] == [2.5, 1.0]
    assert "only looked at" in says(widget, kind="press")


def test_a_training_curve_refuses_impossible_runs():
    for steps, align in ((0, 0), (5, 6), (5, -1)):
        with pytest.raises(ValueError, match="at least one step"):
            widgets.training(steps, align)


def test_training_in_a_notebook_goes_on_where_it_was(tmp_path, monkeypatch):
    from autoglm_lab.widgets import live

    shown, asked = [], []

    def train(name, folder, *, on_step, **options):
        asked.append((name, folder, options))
        on_step(row(3, answer_right=1.0))
        return {"step": 3}

    monkeypatch.setattr(live, "display", shown.append)
    monkeypatch.setattr(live, "train_preset", train)
    (tmp_path / "run").mkdir()
    rows = [row(1), row(2)]
    lines = [",".join(rows[0]), *(",".join(map(str, r.values())) for r in rows)]
    (tmp_path / "run" / "log.csv").write_text("\n".join(lines) + "\n")
    assert live.train("mini", tmp_path, until=3) == {"step": 3}
    assert asked == [("mini", tmp_path, {"until": 3})]
    assert shown[0].curve.step == 3 and len(shown[0].curve.seconds) == 3
    with pytest.raises(ValueError, match="'full', 'people' and 'mini'"):
        live.train("huge", tmp_path)


def test_training_in_a_notebook_goes_to_one_place_wherever_the_kernel_runs(tmp_path, monkeypatch):
    from autoglm_lab.widgets import live

    folders = []
    monkeypatch.setattr(live, "display", lambda _: None)
    monkeypatch.setattr(live, "train_preset", lambda name, folder, **options: folders.append(folder) or {})
    monkeypatch.setattr(live, "work_dir", lambda: tmp_path / "work")
    monkeypatch.chdir(tmp_path)
    live.train("mini")
    assert folders == [tmp_path / "work" / "mini"] and not list(tmp_path.iterdir())


# Sparsity


@pytest.fixture
def pruned():
    rng, asked = np.random.default_rng(0), []

    def measure(shares):
        asked.append(shares)
        if shares["large"] > 0.9:
            raise OverflowError("nothing is left")
        return {"right steps, %": 100 * (1 - shares["large"])}

    weights = {"small": rng.normal(0, 0.1, (20, 30)), "large": rng.normal(0, 1, (120, 100))}
    widget = widgets.sparsity(weights, measure)
    widget.asked = asked
    return widget


def test_one_threshold_takes_more_of_the_layer_with_small_weights(pruned):
    assert pruned.shares == {"small": 0, "large": 0}
    assert pruned.sentence() == "0% of the weights are zero, as many in each layer; right steps, % 100."
    pruned.set_all(0.3)
    count = {"small": 600, "large": 12000}
    gone = sum(pruned.shares[name] * size for name, size in count.items())
    assert gone == pytest.approx(0.3 * sum(count.values()), abs=1)
    assert pruned.shares["small"] > 0.95 > 0.3 > pruned.shares["large"]
    assert pruned.asked[-1] == pruned.shares
    assert "30% of the weights are zero, from 27% in large to 100% in small" in pruned.said
    picture, words = bundle(pruned)
    assert words == pruned.said
    assert picture.width == 2 * 24 + 300 + 32 + 380


def test_a_corner_shows_what_is_left(pruned):
    def white(widget):
        return float((np.asarray(Image.open(io.BytesIO(widget.corner)).convert("RGB")) == 255).all(-1).mean())

    pruned.look_at("large")
    assert white(pruned) == 0
    pruned.set_layer("large", 0.4)
    assert white(pruned) == pytest.approx(0.4, abs=0.02)
    assert pruned.shares == {"small": 0, "large": 0.4}
    assert pruned.shown["measured"] == {"right steps, %": pytest.approx(60)}


def test_sparsity_of_the_page(pruned):
    assert says(pruned, kind="layer", name="large", share=0.5) == ""
    assert pruned.layer == "large"
    assert says(pruned, kind="look", name="small") == ""
    assert says(pruned, kind="all", share=0.2) == ""
    before = pruned.shares
    assert says(pruned, kind="layer", name="large", share=0.95) == "OverflowError: nothing is left"
    assert pruned.shares == before
    assert "there are small, large" in says(pruned, kind="look", name="huge")
    assert "between 0 and 1" in says(pruned, kind="all", share=1.5)
    assert "asked for" in says(pruned, kind="sing")


def test_sparsity_refuses_what_is_no_matrix():
    for weights, reason in (
        ({}, "no layer"),
        ({"a": np.zeros(3)}, r"'a'. has shape \[3\]"),
        ({"a": np.full((2, 2), np.nan)}, "finite"),
    ):
        with pytest.raises(ValueError, match=reason):
            widgets.sparsity(weights)


# Governors


@pytest.fixture(scope="module")
def governor_race():
    return widgets.governors()


def lanes(widget):
    return {lane["name"]: lane for lane in widget.race["lanes"]}


def test_the_race_ends_with_the_rule_that_knows_the_deadlines(governor_race):
    by_rule = lanes(governor_race)
    assert governor_race.winner == governor_race.race["winner"] == "by deadline"
    assert by_rule["race to idle"]["total"] == 1 and by_rule["race to idle"]["late"] == []
    assert by_rule["by deadline"]["late"] == [] and len(by_rule["powersave"]["late"]) == len(governor_race.race["jobs"]) == 16
    assert by_rule["the optimum"]["ghost"] and by_rule["the optimum"]["total"] <= by_rule["by deadline"]["total"] * 1.03
    for lane in by_rule.values():
        assert len(lane["energy"]) == len(lane["speeds"]) == len(lane["cars"])
        assert lane["energy"] == sorted(lane["energy"]) and all(0 <= done <= 1 for cars in lane["cars"] for _, done in cars)
    picture, words = bundle(governor_race)
    assert words == governor_race.summary and words.startswith("'by deadline' takes least of those in time") and picture.width > 300


def test_what_else_is_awake_decides_between_crawling_and_racing(governor_race):
    assert [governor_race.winner_at(power) for power in (0, 700, 3000)] == ["by deadline", "half the clock", "race to idle"]
    assert governor_race.awake == 0 and governor_race.winner == "by deadline", "to ask changes nothing"
    assert says(governor_race, kind="awake", power=3000) == ""
    by_rule = lanes(governor_race)
    assert governor_race.winner == governor_race.race["winner"] == "race to idle", "now it is better to be done soon"
    assert by_rule["by deadline"]["total"] > by_rule["half the clock"]["total"] > by_rule["race to idle"]["total"] == 1
    assert by_rule["the optimum"]["total"] <= 1.01, "who knows of the rest races too"
    assert governor_race.summary.startswith("With 3000 units more while it works: 'race to idle' takes least of those in time")
    assert "0 or more" in says(governor_race, kind="awake", power=-1) and governor_race.awake == 3000
    assert "asked for 'sing'" in says(governor_race, kind="sing")
    assert says(governor_race, kind="awake", power=0) == "" and governor_race.winner == "by deadline"


def test_a_governor_reads_the_table_of_its_processor_alone():
    from autoglm_lab.edge.power import SNAPDRAGON_835, Job

    tables = []

    def rule():
        return lambda phone: tables.append(phone.table) or 1.0

    widget = widgets.governors([Job(0.0, 0.1, 0.5)], rules={"mine": rule})
    widget.set_awake(1000)
    assert set(tables) == {SNAPDRAGON_835}


def test_jobs_that_arrive_together_are_told_apart():
    from autoglm_lab.edge.power import Job

    widget = widgets.governors([Job(1.0, 0.3, 0.5), Job(1.0, 0.3, 2.0), Job(1.0, 0.3, 0.8)])
    late = {lane["name"]: lane["late"] for lane in widget.race["lanes"]}
    assert (late["race to idle"], late["half the clock"], late["powersave"]) == ([], [0, 1], [0, 1, 2])
    seen = {number for lane in widget.race["lanes"] for cars in lane["cars"] for number, _ in cars}
    assert seen == {0, 1, 2}


def test_a_race_without_jobs_is_refused():
    with pytest.raises(ValueError, match="no jobs"):
        widgets.governors([])


# Pages


@pytest.fixture(scope="module")
def page_widget(tiny_bundle, tmp_path_factory):
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    engine = OnnxEngine(tiny_bundle, mapped=tmp_path_factory.mktemp("mapped"), threads=1)
    return widgets.pages(engine, SimulatedPhone(3).screenshot())


@pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="only Linux tells of pages")
def test_pages_come_when_they_are_needed_and_only_clean_ones_go(page_widget):
    def strips():
        return {strip["name"]: strip for strip in page_widget.strips["strips"]}

    assert set(strips()) == {"what sees", "what hears", "what writes", "written by this process"}
    own = strips()["written by this process"]
    assert set(own["squares"]) == {"w"} and len(own["squares"]) == 64
    assert says(page_widget, kind="ask", seen=True) == "" and "answered with a screen in" in page_widget.summary.lower()
    assert strips()["what writes"]["clean"] > 0 and page_widget.clean_mb > 0
    assert says(page_widget, kind="press", share=1) == ""
    assert strips()["what writes"]["clean"] == 0
    if not psutil.swap_memory().total:
        assert strips()["written by this process"]["written"] == own["written"], "they have nowhere to go"
    assert says(page_widget, kind="ask", seen=False) == "" and strips()["what writes"]["clean"] > 0
    picture, words = bundle(page_widget)
    assert words == page_widget.summary and picture.height > 60
    assert "between 0 and 1" in says(page_widget, kind="press", share=2) and "asked for" in says(page_widget, kind="sing")


def test_pages_need_a_mapped_engine_and_a_picture_to_see(tiny_bundle, tmp_path):
    from autoglm_lab.runtime.onnx_engine import OnnxEngine

    with pytest.raises(ValueError, match="not mapped"):
        widgets.pages(OnnxEngine(tiny_bundle))
    blind = widgets.pages(OnnxEngine(tiny_bundle, mapped=tmp_path / "m", threads=1))
    assert "no picture" in says(blind, kind="ask", seen=True)


def test_pages_of_another_system_are_not_made_up(monkeypatch):
    from autoglm_lab.measure import pages

    monkeypatch.setattr("builtins.open", lambda *args: (_ for _ in ()).throw(OSError("no pagemap")))
    with pytest.raises(ValueError, match="does not tell"):
        pages.FileMapping("", 0, 4096).states()
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            pages.FileMapping("", 0, 4096).press(share)


# Quantization


@pytest.fixture
def rounded():
    import torch

    from autoglm_lab.compress.quantization import Scheme, quantize
    from autoglm_lab.widgets.quantization_view import QuantizationView

    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0))
    asked = []

    def compute(bits, granularity, symmetric, method):
        asked.append((bits, granularity, symmetric, method))
        if bits == 3:
            raise OverflowError("three is a crowd")
        found = quantize(weight, Scheme(bits, symmetric, granularity), method)
        return QuantizationView(
            weight.numpy(),
            found.dequantize().numpy(),
            found.scale.numpy(),
            found.zero_point.numpy(),
            bits,
            found.clipped,
            found.stored_bytes,
        )

    widget = widgets.quantization(compute)
    widget.asked = asked
    return widget


def test_rounding_is_told_and_drawn(rounded):
    assert rounded.asked[0] == (8, "tensor", True, "minmax")
    assert rounded.said.startswith("Per tensor, symmetric, range by minmax: 8 bits with one scale: 1.0 kB, error 0.")
    fine = rounded.shown["error"]
    rounded.set(2)
    assert rounded.shown["error"] > 20 * fine
    levels = sum(count > 0 for count in rounded.shown["after"])
    assert levels == 3, "two symmetric bits know minus one, zero and one"
    assert sum(rounded.shown["before"]) == sum(rounded.shown["after"]) == 16 * 64
    rounded.set(4, "group", False, "mse")
    assert rounded.shown["scales"] == 32
    assert "asymmetric, range by mse: 4 bits with 32 scales" in rounded.said
    picture, words = bundle(rounded)
    assert words == rounded.said
    assert picture.width == 720


def test_quantization_of_the_page(rounded):
    for name, value in {"bits": 4, "granularity": "channel", "symmetric": False, "method": "percentile"}.items():
        assert says(rounded, kind="set", name=name, value=value) == ""
    assert (rounded.bits, rounded.granularity, rounded.symmetric, rounded.method) == (4, "channel", False, "percentile")
    assert says(rounded, kind="set", name="bits", value=3) == "OverflowError: three is a crowd"
    assert rounded.bits == 4
    assert "bits is 9" in says(rounded, kind="set", name="bits", value=9)
    assert "there are tensor, channel, group" in says(rounded, kind="set", name="granularity", value="row")
    assert "there are minmax" in says(rounded, kind="set", name="method", value="luck")
    assert "there are bits, granularity" in says(rounded, kind="set", name="colour", value="red")


def test_a_view_refuses_shapes_that_differ():
    from autoglm_lab.widgets.quantization_view import QuantizationView

    with pytest.raises(ValueError, match="they are alike"):
        QuantizationView(np.zeros((2, 2), np.float32), np.zeros(3, np.float32), np.ones(1, np.float32), np.zeros(1, int), 8, 0.0, 1)


# Pareto


def reports():
    from autoglm_lab.evaluation.report import Report

    return [
        Report("whole", bytes=32_000_000, macs=400, success=0.98, ci95=(0.96, 0.99)),
        Report("four", bytes=9_000_000, macs=400, success=0.97, ci95=(0.95, 0.98)),
        Report("two", bytes=6_000_000, macs=300, success=0.7),
        Report("bad", bytes=12_000_000, macs=500, success=0.6),
    ]


def test_what_nothing_beats_is_named():
    widget = widgets.pareto(reports())
    assert widget.said == "4 recipes; nothing beats two, four, whole in size and success."
    assert list(widget.axes) == ["bytes", "macs"]
    widget.turn("macs")
    assert widget.shown["front"] == ["two", "whole"]
    assert [point["x"] for point in widget.shown["points"]] == [0.0004, 0.0004, 0.0003, 0.0005]
    picture, words = bundle(widget)
    assert words == widget.said
    assert picture.width > 400


def test_choosing_calls_back():
    asked = []
    widget = widgets.pareto(reports(), lambda report: asked.append(report.name) or f"{report.name} is loaded")
    assert widget.report is None
    assert says(widget, kind="choose", name="four") == ""
    assert (asked, widget.choice, widget.reply) == (["four"], "four", "four is loaded")
    assert widget.report.bytes == 9_000_000
    assert widget.said.endswith("Chosen: four, size MB 9, success 97.0%.")
    assert "there are 'whole', 'four'" in says(widget, kind="choose", name="five")
    assert "axis is 'answer_ms'" in says(widget, kind="turn", axis="answer_ms")
    assert "asked for" in says(widget, kind="sing")
    assert widget.choice == "four"


def test_pareto_refuses_what_cannot_be_compared():
    from autoglm_lab.evaluation.report import Report

    bad = [
        ([], "no report"),
        ([Report("a", bytes=1)], "success was not measured of 'a'"),
        ([Report("a", success=1.0)], "in common"),
        ([*reports(), reports()[0]], "one name: 'whole'"),
    ]
    for wrong, reason in bad:
        with pytest.raises(ValueError, match=reason):
            widgets.pareto(wrong)


def answering(ms, pieces=("do", "(")):
    """A variant whose answers take these times."""
    times = iter(ms)

    def begin():
        def spoken():
            yield from pieces
            yield Answer("do()", ms={"image": 5.0, "decode": next(times), "total": 9.0})

        return Stream(spoken())

    return begin


def test_times_are_guessed_and_measured_in_turns():
    widget = widgets.latency({"floats": answering([30, 90, 50]), "integers": answering([10, 11, 12])})
    assert [row["answers"] for row in widget.rows] == [0, 0] and "floats: not measured" in widget.said
    assert says(widget, kind="guess", name="integers", ms=20) == "" and widget.rows[1]["guess"] == 20
    assert says(widget, kind="measure", name="floats") == "" and says(widget, kind="measure", name="integers") == ""
    assert widget.rows[0]["stages"] == {"image": 5, "decode": 50} and widget.rows[1]["total"] == 16
    assert "integers: 16 ms, guessed 20, 69% of them decode, median of 3" in widget.said
    assert widget.picture().size[0] > 300


def test_layers_are_profiled_turn_by_turn():
    found = iter([{"step": {"lm_head": 1.0, "layers.0.mlp": 3.0}}, {"step": {"lm_head": 3.0}, "image": {"stages.0": 1.0}}])
    widget = widgets.latency({"a": answering([1]), "b": answering([1])}, layers={"a": lambda: next(found)})
    plain = widget.picture()
    assert widget.layers == [{"name": "a", "turns": 0, "rows": []}]
    assert says(widget, kind="layers", name="a") == ""
    assert [row["share"] for row in widget.layers[0]["rows"]] == [0.75, 0.25]
    assert "a: layers.0.mlp of the step graph takes most, 75% of 2 layers, profiled once." in widget.said
    assert says(widget, kind="layers") == ""
    rows = {row["layer"]: (row["graph"], row["stage"], row["ms"]) for row in widget.layers[0]["rows"]}
    assert rows == {"lm_head": ("step", "decode", 2), "layers.0.mlp": ("step", "decode", 1.5), "stages.0": ("image", "image", 0.5)}
    assert "lm_head of the step graph takes most, 50% of 3 layers, profiled 2 times." in widget.said
    assert widget.picture().height > plain.height
    assert "there is no variant 'b'; there are a" in says(widget, kind="layers", name="b")


def test_layers_beyond_the_longest_are_put_together():
    many = {"step": {f"layers.{n}": 20.0 - n for n in range(16)}, "image": {"stages.0": 0.5}}
    inside = latency_view.Inside.of("a", [many])
    rows = inside.rows()
    assert len(rows) == 14 and rows[-2:] == [
        ("image", "1 others", 0.5),
        ("step", "4 others", 20 - 12 + 20 - 13 + 20 - 14 + 20 - 15),
    ]
    assert sum(ms for *_, ms in rows) == inside.total == sum(sum(layers.values()) for layers in many.values())
    assert latency_view.Inside.of("b", []).sentence() == "b: no layer was timed"


def test_times_of_nothing_are_refused():
    with pytest.raises(ValueError, match="a variant at least"):
        widgets.latency({})
    with pytest.raises(ValueError, match="measured once at least"):
        widgets.latency({"a": answering([1])}, repeats=0)
    widget = widgets.latency({"a": answering([1, 2, 3])})
    assert "there is no variant 'b'; there are a" in says(widget, kind="guess", name="b", ms=3)
    assert "takes some milliseconds" in says(widget, kind="guess", name="a", ms=-3)
    assert "asks for nothing known" in says(widget, kind="dance")


def compared(**differences):
    return [SimpleNamespace(name=name, difference=difference) for name, difference in differences.items()]


def test_layers_are_compared_and_the_first_that_differs_is_named():
    widget = widgets.parity({"as written": compared(a=1e-7, b=3e-6), "changed": compared(a=1e-7, b=0.02, c=float("nan"))})
    assert widget.said == "as written: all 2 layers agree within 1e-04; the largest difference is 3.0e-06, in b."
    assert says(widget, kind="show", name="changed") == "" and widget.shown == "changed"
    assert "the first layer that differs is b, by 2.0e-02; 1 before it agree within 1e-04, 2 of 3 do not" in widget.said
    assert [row["first"] for row in widget.rows] == [False, True, False] and widget.rows[2]["apart"]
    assert says(widget, kind="allow", power=-1) == "" and widget.tolerance == 0.1
    assert [row["first"] for row in widget.rows] == [False, False, True], "what is no number agrees with nothing"
    assert says(widget, kind="allow", power=-8) == "" and widget.rows[0]["first"]
    image, words = bundle(widget)
    assert image.size[0] > 300 and words == widget.said


def test_comparisons_of_nothing_are_refused():
    with pytest.raises(ValueError, match="a comparison at least"):
        widgets.parity({})
    with pytest.raises(ValueError, match="'a' has no layers"):
        widgets.parity({"a": []})
    with pytest.raises(ValueError, match="1e-8 to 1"):
        widgets.parity({"a": compared(x=0.1)}, tolerance=3)
    widget = widgets.parity({"a": compared(x=0.1)})
    assert "there is no comparison 'b'; there are 'a'" in says(widget, kind="show", name="b")
    assert "asks for nothing known" in says(widget, kind="dance")


def test_a_page_shows_what_phones_have_told():
    told = [{"device": "Pixel", "ms": {"image": ms, "decode": 1.0, "total": ms + 1}} for ms in (10.0, 30.0, 20.0)]
    phone = SimulatedPhone(3, size=(120, 240))
    served = SimpleNamespace(
        url="http://127.0.0.1:1/", latencies=[], transfer_bytes=9_000_000, phone=phone, qr_svg=lambda: "<svg/>"
    )
    widget = widgets.browser(served)
    assert "9.0 MB to load once. No times were told yet." in widget.said and widget.picture().size[1] == 480
    served.latencies += told
    assert widget.rows == [] and says(widget, kind="refresh") == ""
    assert widget.rows[0]["stages"] == {"image": 20, "decode": 1} and "Pixel: 21 ms" in widget.said
    assert widget.picture().size[0] > 300
    assert "asks for nothing known" in says(widget, kind="dance")


class Slow:
    """An engine whose answers take some milliseconds."""

    def answer(self, *_, **__):
        time.sleep(0.02)
        return Stream(iter(['do(action="Home")', Answer.read('do(action="Home")', 1, {})]), 9)


def test_a_server_is_guessed_and_loaded():
    from autoglm_lab.serve import running

    with running(Slow()) as url:
        widget = widgets.server(url, clients=(1, 3), answers=9)
        assert widget.said == "1 client: not measured. 3 clients: not measured."
        assert says(widget, kind="guess", clients=3, answers=70) == "" and widget.shown["runs"][1]["guess"] == 70
        assert says(widget, kind="load") == ""
        one, three = widget.shown["runs"]
        assert 1 < one["answers"] <= 50 and 1 < three["answers"] <= 50, "one at a time, 20 ms each"
        assert three["p95"] > one["p95"] * 1.2, "three wait for each other"
        assert one["rows"] <= 1 and len(widget.samples) > 3
        assert "3 clients: " in widget.said and "guessed 70" in widget.said
        image, words = bundle(widget)
        assert image.size[0] > 300 and words == widget.said
        assert "4 clients were not asked for; there are 1, 3" in says(widget, kind="load", clients=4)
        assert "0 or more" in says(widget, kind="guess", clients=1, answers=-2)
        assert "asks for nothing known" in says(widget, kind="dance")
        with pytest.raises(ValueError, match="numbers from 1"):
            widgets.server(url, clients=(0,))
    with pytest.raises(ValueError, match="only an address"):
        widgets.server("http://127.0.0.1:1/v1")


def test_a_picture_of_a_cell_needs_words_and_says_them():
    shown = widgets.picture(Image.new("RGB", (4, 4)), 'A "square" & nothing <else>')
    assert html.unescape(re.search(r'alt="([^"]*)"', shown._repr_html_())[1]) == repr(shown) == 'A "square" & nothing <else>'
    with pytest.raises(ValueError, match="needs words"):
        widgets.picture(Image.new("RGB", (4, 4)), " ")


def test_a_bar_moves_while_work_is_silent_is_full_at_the_end_and_passes_errors_on(capsys):
    with widgets.progress("exporting", 3):
        time.sleep(1.3)
    assert re.search(r"exporting: 100%.*3/3", capsys.readouterr().err)
    with pytest.raises(KeyboardInterrupt), widgets.progress("exporting", 3):
        raise KeyboardInterrupt
    assert "100%" not in capsys.readouterr().err.split("exporting:")[-1]


def test_while_python_works_the_page_gets_signs_of_life(monkeypatch):
    from autoglm_lab.widgets import base

    monkeypatch.setattr(base, "ALIVE_S", 0.05)
    sent = []

    class Slow(widgets.phone(SimulatedPhone(7)).__class__):
        def send(self, content, buffers=None):
            sent.append(content)

        def handle(self, content):
            time.sleep(0.5)

    assert says(Slow(SimulatedPhone(7)), kind="home") == ""
    assert sent[0] == {"alive": True} and len(sent) > 2
    count = len(sent)
    time.sleep(0.2)
    assert len(sent) == count, "once it is answered, nothing is sent any more"
