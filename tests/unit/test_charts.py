"""Charts: plotly where the notebook runs, a picture and a sentence elsewhere."""

import base64
import html
import io

import numpy as np
import pytest
from PIL import Image

from autoglm_lab.widgets import charts
from autoglm_lab.widgets.charts import bars, grids, guessed, lines

PLOTLY = "application/vnd.plotly.v1+json"
ALL = {
    "bars": lambda: bars("Time", {"whole": {"see": 3.0, "hear": 2.0}, "small": {"see": 1.5}}, "ms"),
    "lines": lambda: lines("Time", {"dense": ((1, 10, 100), (1.0, 4.0, 16.0))}, "tokens", "ms", log=True),
    "grids": lambda: grids("Keys", {"one": np.eye(4).tolist(), "other": np.ones((4, 4)).tolist()}, "token", "token", "Two grids."),
}


@pytest.mark.parametrize("name", ALL)
def test_who_only_reads_gets_a_picture_and_a_notebook_in_a_browser_draws(name, monkeypatch):
    chart = ALL[name]()
    monkeypatch.delenv(charts.LIVE, raising=False)
    data, metadata = chart._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"} and not metadata
    assert data["text/html"].startswith(f'<div><img alt="Chart: {chart.title}" src="data:image/png;base64,')
    assert data["text/html"].endswith(f"<p>{html.escape(repr(chart))}</p></div>"), "the caption is seen, not only read out"
    assert base64.b64decode(data["text/html"].split("base64,")[1].split('"')[0]) == chart.png
    monkeypatch.setenv(charts.LIVE, "notebooks/07_fast_decoding.ipynb")
    live, metadata = chart._repr_mimebundle_()
    assert live == data | {PLOTLY: live[PLOTLY]} and not metadata
    layout = live[PLOTLY]["layout"]
    words = [a["text"].replace("<br>", " ") for a in layout["annotations"] if a.get("yanchor") == "top"]
    assert words == [repr(chart)], "and under the plot that plotly draws"
    assert layout["height"] > 200 and layout["title"]["text"] in ("Time", "Keys")
    assert "responsive" not in live[PLOTLY]["config"], "plotly would then take the height of what surrounds it: none"


def test_sentences_say_what_is_seen():
    assert repr(ALL["bars"]()) == "Time: the largest is see (whole) with 3.0 ms."
    assert repr(ALL["lines"]()) == "Time: dense goes from 1 to 16."


def test_a_guess_is_drawn_with_what_was_measured_and_none_is_not():
    for guess, names in ((None, ["measured"]), (80.0, ["measured", "your guess"])):
        drawn = lines("Right", {"measured": ((0, 1), (98, 20)), "your guess": ([0, 1], [98, guess])}, "zeros", "%")
        assert [line.name for line in drawn.figure.data] == names
        drawn = bars("Right", {"measured": {"see": 3.0, "hear": 2.0}, "your guess": {"hear": guess}}, "ms")
        assert [bar.name for bar in drawn.figure.data] == names
    assert list(drawn.figure.data[1].y) == ["hear"], "no bar of nothing where no guess was asked for"
    assert guessed(None) == charts.NO_GUESS and guessed(0.0, "{:.1f} ms") == "you guessed 0.0 ms"


def test_a_caption_has_room_for_all_its_lines():
    short, long = (bars("Time", {"whole": {"see": 3.0}}, "ms", "A word. " * count).figure.layout for count in (1, 60))
    grown = long.annotations[0].text.count("<br>") * charts.CAPTION_PIXELS
    assert long.height - short.height == long.margin.b - short.margin.b == grown > 0
    assert bars("Time", {"a": {"b": 1.0}}, "ms", "1 < 2 & 3").figure.layout.annotations[0].text == "1 &lt; 2 &amp; 3"


def test_few_colours_are_enough():
    picture, axes = charts.canvas("Time", "tokens", 3.4)
    for number, colour in enumerate(charts.COLOURS):
        axes.plot([1, 2, 3], [number, 2 * number, number], color=colour, marker="o")
    whole = charts.drawn(picture)
    few = charts._compact(whole)
    apart = np.abs(np.asarray(whole, int) - np.asarray(Image.open(io.BytesIO(few)).convert("RGB"), int))
    assert apart.mean() < 0.1 and apart.max() < 8 and len(few) < 12_000


def test_nothing_to_draw():
    with pytest.raises(ValueError, match="at least one series with at least one value"):
        bars("Time", {"whole": {}}, "ms")
    with pytest.raises(ValueError, match="at least one series"):
        lines("Time", {}, "tokens", "ms")
    with pytest.raises(ValueError, match="at least one matrix"):
        grids("Keys", {}, "token", "token", "Nothing.")
