"""Bars, lines and grids in three forms: in plotly where the notebook runs, as a PNG elsewhere, and as a sentence.

The sentence is the caption that stands under the chart. A series that holds None is a guess that was not made: it is not drawn.
"""

from __future__ import annotations

import html
import io
import json
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib
import plotly.graph_objects as go
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from PIL import Image
from plotly.subplots import make_subplots

from autoglm_lab.widgets.pictures import still_html

COLOURS = ("#3b6fd4", "#d9822b", "#3c9d6b", "#a05bb5", "#c94f4f", "#5b8a99")
LIVE = "JPY_SESSION_NAME"  # Jupyter's server tells the kernels of notebooks that are open in a browser, and no others
PAPER, INK = "#ffffff", "#24292f"
CAPTION_LETTERS, CAPTION_PIXELS = 76, 17  # of a line of the caption, its length and its height
NO_GUESS = "you made no guess (write one above and run this cell again)"


class Chart:
    """One chart; `figure` is the plotly figure, `png` the picture, `sentence` the caption that says in words what is seen."""

    def __init__(self, title: str, figure: go.Figure, picture: Figure, sentence: str) -> None:
        self.title, self.figure, self.sentence = title, figure, sentence
        _put_under(figure, sentence)
        self.png = _compact(drawn(picture))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        plotly = json.loads(self.figure.to_json())
        plotly["config"] = {"displayModeBar": False}
        # No image/png: plotly's renderer in JupyterLab would show it instead of drawing, and nobody reads out what it shows.
        still = f"<div>{still_html(self.png, f'Chart: {self.title}')}<p>{html.escape(self.sentence)}</p></div>"
        bundle = {"text/html": still, "text/plain": self.sentence}
        return (bundle | {"application/vnd.plotly.v1+json": plotly} if LIVE in os.environ else bundle), {}

    def __repr__(self) -> str:
        return self.sentence


def guessed(guess: float | str | None, form: str = "{}") -> str:
    """The half of a caption that tells the reader's guess, or that there is none.

    >>> guessed(80, "{:.0f}%"), guessed(None)
    ('you guessed 80%', 'you made no guess (write one above and run this cell again)')
    """
    return NO_GUESS if guess is None else f"you guessed {form.format(guess)}"


def bars(title: str, series: Mapping[str, Mapping[str, float | None]], unit: str, sentence: str = "", *, digits: int = 1) -> Chart:
    """Grouped horizontal bars: `series` maps a legend name to values by label. Without a `sentence` the largest bar is named.

    Raises ValueError when there is nothing to draw.
    """
    complete = {name: values for name, values in series.items() if _complete(values.values())}
    groups = {name: dict(zip(values, _numbers(values.values()), strict=True)) for name, values in complete.items()}
    if not groups or not all(groups.values()):
        raise ValueError("bars needs at least one series with at least one value")
    labels = list(dict.fromkeys(label for values in groups.values() for label in values))
    figure = _plotly(title, unit, height=140 + 34 * len(labels) * len(groups))
    picture, axes = canvas(title, unit, height=1.1 + 0.34 * len(labels) * len(groups))
    thick = 0.8 / len(groups)
    for number, (name, values) in enumerate(groups.items()):
        colour, numbers = COLOURS[number % len(COLOURS)], list(values.values())
        figure.add_bar(
            y=list(values),
            x=numbers,
            name=name,
            orientation="h",
            marker_color=colour,
            text=[f"{v:.{digits}f}" for v in numbers],
            textposition="auto",
        )
        places = [labels.index(label) + (number - (len(groups) - 1) / 2) * thick for label in values]
        container = axes.barh(places, numbers, thick, color=colour, label=name)
        axes.bar_label(container, fmt=f"%.{digits}f", padding=3, fontsize=9)
    axes.set_yticks(range(len(labels)), labels)
    axes.margins(x=0.12)
    axes.invert_yaxis()
    figure.update_yaxes(autorange="reversed", categoryorder="array", categoryarray=labels)
    _legend(figure, axes, len(groups))
    most, name, label = max((value, name, label) for name, values in groups.items() for label, value in values.items())
    top = f"{label} ({name})" if len(groups) > 1 else label
    return Chart(title, figure, picture, sentence or f"{title}: the largest is {top} with {most:.{digits}f} {unit}.")


def lines(
    title: str,
    series: Mapping[str, tuple[Sequence[float | None], Sequence[float | None]]],
    x_name: str,
    y_name: str,
    sentence: str = "",
    *,
    log: bool = False,
) -> Chart:
    """Lines with markers: `series` maps a legend name to x and y values; with `log` both axes are logarithmic.

    Without a `sentence` the first and last values are named.
    """
    curves = {name: (_numbers(x), _numbers(y)) for name, (x, y) in series.items() if _complete((*x, *y))}
    if not curves:
        raise ValueError("lines needs at least one series")
    figure = _plotly(title, x_name, height=360)
    figure.update_yaxes(title=y_name)
    picture, axes = canvas(title, x_name, height=3.4)
    axes.set_ylabel(y_name)
    if log:
        ticks = sorted({place for x, _ in curves.values() for place in x})
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
        figure.update_yaxes(type="log", dtick="D2")
        axes.loglog()
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
    phrases = []
    for number, (name, (x, y)) in enumerate(curves.items()):
        colour, mode = COLOURS[number % len(COLOURS)], "lines+markers" if len(x) < 30 else "lines"
        figure.add_scatter(x=list(x), y=list(y), name=name, mode=mode, line_color=colour)
        axes.plot(x, y, color=colour, label=name, marker="o" if len(x) < 30 else None, markersize=4)
        phrases.append(f"{name} goes from {y[0]:.3g} to {y[-1]:.3g}")
    _legend(figure, axes, len(curves))
    return Chart(title, figure, picture, sentence or f"{title}: {'; '.join(phrases)}.")


def _numbers(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _complete(values: Iterable[float | None]) -> bool:
    """True unless a value is None, a guess that was not made."""
    return all(value is not None for value in values)


def _put_under(figure: go.Figure, sentence: str) -> None:
    """Make room under the plot and write the caption there."""
    words = textwrap.wrap(sentence, CAPTION_LETTERS)
    above, room = figure.layout.margin.b + 4, 10 + CAPTION_PIXELS * len(words)
    figure.add_annotation(
        text="<br>".join(map(html.escape, words)),
        font={"size": 12},
        align="left",
        showarrow=False,
        xref="paper",
        x=0,
        xanchor="left",
        yref="paper",
        y=0,
        yanchor="top",
        yshift=-above,
    )
    figure.update_layout(margin_b=above + room, height=figure.layout.height + room + 4)


def _plotly(title: str, x_name: str, height: int) -> go.Figure:
    corner = {"x": 0, "xanchor": "left", "y": 1, "yanchor": "top", "pad": {"l": 10, "t": 10}}
    layout = {
        "title": {"text": title, "font": {"size": 15}, **corner},
        "height": height,
        "margin": {"l": 10, "r": 20, "t": 70, "b": 45},  # the legend lies between title and plot
        "xaxis": {"title": {"text": x_name, "standoff": 6}, "automargin": True},
        "yaxis": {"automargin": True},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"color": INK},
        "template": "none",
    }
    return go.Figure(layout=layout)


def canvas(title: str, x_name: str, height: float) -> tuple[Figure, Any]:
    """An empty picture of this height in inches, and its axes."""
    with matplotlib.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        picture = Figure(figsize=(7.2, height), layout="constrained", facecolor=PAPER)
        axes = picture.subplots()
    axes.set_title(title, loc="left", color=INK)
    axes.set_xlabel(x_name)
    return picture, axes


def drawn(picture: Figure) -> Image.Image:
    """A picture as pixels."""
    buffer = io.BytesIO()
    picture.savefig(buffer, format="png", dpi=80)
    return Image.open(buffer).convert("RGB")


def _compact(pixels: Image.Image) -> bytes:
    """A PNG in 256 colours, which is enough for a chart: a notebook that holds six of them stays small."""
    buffer = io.BytesIO()
    pixels.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _legend(figure: go.Figure, axes: Any, count: int) -> None:
    figure.update_layout(
        showlegend=count > 1, legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 1, "xanchor": "right"}
    )
    if count > 1:
        axes.legend(frameon=False, fontsize=9)


def grids(title: str, series: Mapping[str, Sequence[Sequence[float]]], x_name: str, y_name: str, sentence: str) -> Chart:
    """Matrices side by side, dark where they are large: `series` maps a name to rows of numbers.

    Raises ValueError when there is nothing to draw.
    """
    if not series:
        raise ValueError("grids needs at least one matrix")
    figure = make_subplots(1, len(series), subplot_titles=list(series))
    figure.update_layout(_plotly(title, x_name, height=350).layout, xaxis_title=None)
    with matplotlib.rc_context({"font.size": 10}):
        picture = Figure(figsize=(7.2, 2.9), layout="constrained", facecolor=PAPER)
        picture.suptitle(title, x=0.01, ha="left", color=INK)
        places = picture.subplots(1, len(series), squeeze=False)[0]
    for number, ((name, rows), axes) in enumerate(zip(series.items(), places, strict=True), 1):
        values = [[round(float(value), 3) for value in row] for row in rows]
        shades = [[0, PAPER], [1, COLOURS[0]]]
        figure.add_heatmap(z=values, colorscale=shades, showscale=False, xgap=1, ygap=1, row=1, col=number)
        figure.update_xaxes(title=x_name, row=1, col=number)
        figure.update_yaxes(title=y_name if number == 1 else None, autorange="reversed", row=1, col=number)
        axes.imshow(rows, cmap=LinearSegmentedColormap.from_list("", [PAPER, COLOURS[0]]), aspect="auto")
        axes.set_title(name)
        axes.set_xlabel(x_name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    places[0].set_ylabel(y_name)
    return Chart(title, figure, picture, sentence)
