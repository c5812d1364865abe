"""Live pictures for the notebooks: the phone, attention, gates, a training run, weights pruned and rounded, recipes, times,
a server under load, governors of a clock, the pages of a mapped file, a ghost finger that foresees the next tap,
an attacker's desk, two phones of one owner, a board of claims, forty requests to offload, a cable to cut.

Each call returns a widget that can also show itself as a PNG and as a sentence, so that a static page shows its true state.
Importing this package loads no widget library; the first call does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from autoglm_lab.widgets.gates_view import GateView

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from autoglm_lab.benchmarks.scoreboard.rows import Row
    from autoglm_lab.device.browser.server import BrowserPhone
    from autoglm_lab.edge.intent.value import Price
    from autoglm_lab.edge.offload.planning import Policy
    from autoglm_lab.edge.offload.world import World
    from autoglm_lab.edge.power import Governor, Job, PowerTable
    from autoglm_lab.edge.privacy.personas import Traces
    from autoglm_lab.edge.privacy.release import Release
    from autoglm_lab.evaluation.report import Report
    from autoglm_lab.phone.simulator import Phone
    from autoglm_lab.runtime.engine import Engine
    from autoglm_lab.runtime.onnx_engine import OnnxEngine
    from autoglm_lab.serve.server import Url
    from autoglm_lab.widgets.attacker_widget import AttackerWidget
    from autoglm_lab.widgets.attention_view import Names
    from autoglm_lab.widgets.attention_widget import AttentionWidget
    from autoglm_lab.widgets.browser_widget import BrowserWidget
    from autoglm_lab.widgets.cable_widget import CableWidget
    from autoglm_lab.widgets.gates_widget import GatesWidget
    from autoglm_lab.widgets.ghost_finger_view import Moment
    from autoglm_lab.widgets.ghost_finger_widget import GhostFingerWidget
    from autoglm_lab.widgets.governors_widget import GovernorsWidget
    from autoglm_lab.widgets.latency_widget import Begin, LatencyWidget, Look
    from autoglm_lab.widgets.offloader_widget import OffloaderWidget
    from autoglm_lab.widgets.pages_widget import PagesWidget
    from autoglm_lab.widgets.pareto_widget import Chosen, ParetoWidget
    from autoglm_lab.widgets.parity_view import Layer
    from autoglm_lab.widgets.parity_widget import ParityWidget
    from autoglm_lab.widgets.phone_view import Runner
    from autoglm_lab.widgets.phone_widget import PhoneWidget
    from autoglm_lab.widgets.pictures import Still
    from autoglm_lab.widgets.quantization_widget import Compute, QuantizationWidget
    from autoglm_lab.widgets.scoreboard_widget import ScoreboardWidget
    from autoglm_lab.widgets.server_widget import ServerWidget
    from autoglm_lab.widgets.sparsity_widget import Measure, SparsityWidget
    from autoglm_lab.widgets.training_widget import TrainingWidget
    from autoglm_lab.widgets.two_phones_view import Event
    from autoglm_lab.widgets.two_phones_widget import TwoPhonesWidget

__all__ = [
    "GateView",
    "attacker",
    "attention",
    "browser",
    "cable",
    "gates",
    "ghost_finger",
    "governors",
    "latency",
    "offloader",
    "pages",
    "pareto",
    "parity",
    "phone",
    "picture",
    "progress",
    "quantization",
    "scoreboard",
    "server",
    "sparsity",
    "training",
    "two_phones",
]


def phone(
    phone: Phone,
    engine: Any = None,
    *,
    clips: Sequence[tuple[str, NDArray[np.float32]]] | None = None,
    runner: Runner | None = None,
) -> PhoneWidget:
    """A phone to tap, swipe and type on; with an engine also to command, in writing or by one of the spoken `clips`.

    `clips` are (label, waveform [samples] at 16 kHz). `runner(text, phone, engine, audio=..., max_steps=...)` yields the
    agent's steps and is `autoglm_lab.agent.steps` unless given. `run`, `tap`, `swipe`, ... of the widget do the same
    from Python.
    """
    from autoglm_lab.widgets.phone_widget import PhoneWidget

    return PhoneWidget(phone, engine, clips=clips or (), runner=runner)


def attention(
    screenshot: Image.Image, tokens: Sequence[str], weights: NDArray[np.floating[Any]], *, names: Names | None = None
) -> AttentionWidget:
    """Attention of each head over the screenshot, token by token.

    `weights` is [layers, heads, tokens, cells] in [0, 1]; the cells are a square grid over the screenshot, row by row,
    for example 196 for 14 x 14. `names` says what lies at a point: a callable (x, y) -> str or pairs (box, name), in
    thousandths of the screen. Layers and heads count from 0. Raises ValueError for other shapes or values.
    """
    from autoglm_lab.widgets.attention_widget import AttentionWidget

    return AttentionWidget(screenshot, tokens, weights, names=names)


def gates(
    compute: Callable[[float, float], GateView],
    *,
    blur: tuple[float, float] = (0, 8),
    snr: tuple[float, float] = (30, 0),
) -> GatesWidget:
    """Gates of each modality as the screen blurs and noise covers the speech, computed anew at each move of a slider.

    `compute(blur, snr_db)` is called with a blur in pixels and a speech-to-noise ratio in dB; `blur` and `snr` are the
    (clean, worst) ends of the two sliders. The clean view is computed at once, to compare with.
    """
    from autoglm_lab.widgets.gates_widget import GatesWidget

    return GatesWidget(compute, blur=blur, snr=snr)


def training(steps: int, align_steps: int = 0) -> TrainingWidget:
    """The curves of a training run while it runs: give it as `on_step` to `training.pipeline.train`.

    `steps` are those of the whole run, of which the first `align_steps` only align. ValueError for numbers that do not fit.
    """
    from autoglm_lab.widgets.training_widget import TrainingWidget

    return TrainingWidget(steps, align_steps)


def sparsity(weights: Mapping[str, NDArray[np.floating[Any]]], measure: Measure | None = None) -> SparsityWidget:
    """The weights of layers, and those that pruning leaves: one slider for a threshold over all layers, one for each layer.

    `weights` are matrices [outputs, inputs] by layer name. `measure(shares)` is called at every move with the share of
    zeros of each layer and gives what to show beside them, such as {"right steps, %": 93.8}; it is called once at the start.
    ValueError for anything but finite matrices.
    """
    from autoglm_lab.widgets.sparsity_widget import SparsityWidget

    return SparsityWidget(weights, measure)


def quantization(compute: Compute) -> QuantizationWidget:
    """The weights of a layer before and after rounding, with bits, granularity, symmetry and range to choose.

    `compute(bits, granularity, symmetric, method)` rounds and gives a `quantization_view.QuantizationView`; it is called at
    every choice, first with (8, "tensor", True, "minmax").
    """
    from autoglm_lab.widgets.quantization_widget import QuantizationWidget

    return QuantizationWidget(compute)


def pareto(reports: Sequence[Report], chosen: Chosen | None = None) -> ParetoWidget:
    """Recipes on the plane of size (or time, or arithmetic) and success: click one, or press Enter on it, to choose it.

    `chosen(report)` is called with the report of a recipe that is chosen, to load it perhaps; what it returns is shown.
    ValueError for reports without a success, without a measure in common, or with one name twice.
    """
    from autoglm_lab.widgets.pareto_widget import ParetoWidget

    return ParetoWidget(reports, chosen)


def latency(variants: Mapping[str, Begin], repeats: int = 3, *, layers: Mapping[str, Look] | None = None) -> LatencyWidget:
    """Times of an answer, stage by stage and layer by layer, variants side by side: guess first, then measure.

    `variants` are functions that begin an answer and give its `Stream`, for example `lambda: engine.answer("open Settings")`;
    each is asked `repeats` times, in turn, and its medians are shown. `layers` are functions that profile a variant, for example
    `lambda: layer_times(folder, count=2, rounds=1)` of `evaluation.layers`; the page calls them again and again, and shows the mean
    so far, until it is told to stop. `guess`, `measure` and `look_inside` of the widget do the same from Python. ValueError
    without a variant, or for fewer than one repeat.
    """
    from autoglm_lab.widgets.latency_widget import LatencyWidget

    return LatencyWidget(variants, repeats, layers)


def parity(comparisons: Mapping[str, Sequence[Layer]], tolerance: float = 1e-4) -> ParityWidget:
    """An exported file beside its model, layer by layer, and the first layer that differs by more than the slider allows.

    `comparisons` are lists of layers by name, as `export.parity.compare` gives them; `tolerance` is a share of a layer's size.
    ValueError without layers, or for a tolerance beyond 1e-8 to 1.
    """
    from autoglm_lab.widgets.parity_widget import ParityWidget

    return ParityWidget(comparisons, tolerance)


def browser(served: BrowserPhone) -> BrowserWidget:
    """A phone in the browser, beside its address (as a QR code where other devices reach it) and the times that phones sent.

    The server runs where the notebook runs: a page shows it when that is this machine. ImportError without segno.
    """
    from autoglm_lab.widgets.browser_widget import BrowserWidget

    return BrowserWidget(served)


def server(url: Url, clients: Sequence[int] = (1, 4, 16), answers: int = 64) -> ServerWidget:
    """A server under load: guess how many answers a second so many clients get, then let them ask, and see batches form.

    `url` is what `serve.running` gave. `guess` and `load` of the widget do the same from Python. The clients run in this process,
    beside the server: `autoglm-lab load` measures without that. ValueError for a mere address, or numbers below 1.
    """
    from autoglm_lab.widgets.server_widget import ServerWidget

    return ServerWidget(url, clients, answers)


def governors(
    jobs: Sequence[Job] | None = None, table: PowerTable | None = None, rules: Mapping[str, Callable[[], Governor]] | None = None
) -> GovernorsWidget:
    """A race of governors: a lane for each, requests as cars, deadlines as gates, a battery that empties, the optimum as a ghost.

    By default sixteen requests, 0.8 a second, each with the work of an answer on a phone with a large model, on one fast core of
    a Snapdragon 835. `set_awake` of the widget does from Python what its slider does. ValueError for impossible jobs, or none.
    """
    from autoglm_lab.edge.measured import variant
    from autoglm_lab.edge.power import SNAPDRAGON_835
    from autoglm_lab.edge.race import tasks, worlds
    from autoglm_lab.widgets.governors_widget import GovernorsWidget

    if jobs is None:
        [jobs] = worlds(0.8, 1, tasks(variant("whole").answer_ms), count=16)
    return GovernorsWidget(jobs, table or SNAPDRAGON_835, rules)


def ghost_finger(moments: Sequence[Moment] | None = None, price: Price | None = None, gate: float = 0.8) -> GhostFingerWidget:
    """The predicted next tap, as bright as it is probable; the milliseconds gained so far; sliders for gate and cost.

    By default steps of one invented person, guessed from its own past (`ghost_finger_view.moments`), where a hit saves the time to
    the first token of the whole agent and a miss costs as much. `set_gate` and `set_cost` of the widget do from Python what its
    sliders do. ValueError without moments, or for a gate outside 0 to 1.
    """
    from autoglm_lab.edge.intent.value import Price
    from autoglm_lab.edge.measured import variant
    from autoglm_lab.widgets.ghost_finger_view import moments as some_moments
    from autoglm_lab.widgets.ghost_finger_widget import GhostFingerWidget

    if price is None:
        first_token_ms = variant("whole").first_token_ms
        price = Price(first_token_ms, first_token_ms)
    return GhostFingerWidget(some_moments() if moments is None else moments, price, gate)


def attacker(people: Traces | None = None, release: Release | None = None) -> AttackerWidget:
    """An attacker's desk: tick what an app publishes and under which names; a bar for each person shows how surely they are named.

    By default forty invented people (`edge.privacy.personas`), whose exact places and apps are published under plain hashes. Beside
    the bars stands the utility that remains. `set` of the widget does from Python what its controls do. ImportError without
    cryptography.
    """
    from autoglm_lab.edge.privacy.personas import traces
    from autoglm_lab.edge.privacy.release import Release
    from autoglm_lab.widgets.attacker_widget import AttackerWidget

    return AttackerWidget(traces(0) if people is None else people, release or Release(identity="plain hash"))


def two_phones(events: Sequence[Event] | None = None, skew_s: float = 60.0) -> TwoPhonesWidget:
    """Two phones that write one note, and scissors for their line: conflicting values stand side by side until somebody chooses.

    A bead for each write; `use_clocks` lets the higher time win instead, with the second phone's clock `skew_s` seconds behind, and
    one vanishes. By default both have written while the line was cut. `write`, `cut`, `connect`, `choose` and `set_skew` do from
    Python what the page does. ValueError as `two_phones_view.play`.
    """
    from autoglm_lab.widgets.two_phones_view import STORY
    from autoglm_lab.widgets.two_phones_widget import TwoPhonesWidget

    return TwoPhonesWidget(STORY if events is None else events, skew_s)


def offloader(world: World | None = None, seed: int = 0, policies: Mapping[str, Policy] | None = None) -> OffloaderWidget:
    """Decide where each of forty requests is computed; then policies play the same forty, and each decision has its regret.

    By default in the worse world of the offloading experiment. `seed` draws what no decision changes: when requests come, loads,
    bandwidths, luck. Beside greedy, least latency and the optimum the `policies` of the caller play, such as one that a DQN
    learned. A slider plans anew for another price of expiry. `decide`, `compare`, `again` and `set_price` of the widget do the
    same from Python. ValueError for a policy that does not fit the world.
    """
    from autoglm_lab.edge.offload.networks import network_world
    from autoglm_lab.widgets.offloader_widget import OffloaderWidget

    return OffloaderWidget(network_world("worse") if world is None else world, seed, policies or {})


def cable(
    device: Engine, cloud: Engine, task: str = "open Settings", image: Image.Image | None = None, *, apart_s: float = 0.06
) -> CableWidget:
    """A cable between a phone and a server, to cut while an answer passes: who answers, what is thrown away, lost or done twice.

    The `cloud` is served on this machine, its pieces `apart_s` seconds apart, as those of a large model far away; `device` answers
    beside it. Each answer's action is performed on a simulated phone. One such widget is open at a time: the next closes the last
    one, and so does `close`. `ask`, `cut`, `mend` and `set` of the widget do the same from Python. ValueError for a negative
    `apart_s`, ImportError without openai.
    """
    from contextlib import closing

    from autoglm_lab.session import open_once
    from autoglm_lab.widgets.cable_widget import CableWidget

    return open_once("widgets.cable", lambda: closing(CableWidget(device, cloud, task, image, apart_s)))


def scoreboard(rows: Sequence[Row] | None = None) -> ScoreboardWidget:
    """The board of claims: sort it by a head, filter it by verdict, chapter or words, and open a row for its reason and command.

    By default all claims with their shipped verdicts. `rows` of `benchmarks.scoreboard.rows.board(own)` show what figures of this
    machine give beside them. `set` of the widget does from Python what the page does. ValueError without rows.
    """
    from autoglm_lab.benchmarks.scoreboard.rows import board
    from autoglm_lab.widgets.scoreboard_widget import ScoreboardWidget

    return ScoreboardWidget(board() if rows is None else rows)


def pages(engine: OnnxEngine, image: Image.Image | None = None, task: str = "open Settings") -> PagesWidget:
    """The pages of an engine's mapped weights, a square for each 64 kB: absent, clean, or written, as the system has them now.

    Press the memory, and see which pages go; ask, and see which come back. `press` and `ask` of the widget do the same from Python.
    ValueError for an engine whose weights are not mapped, or on a system that does not report its pages (Linux does).
    """
    from autoglm_lab.widgets.pages_widget import PagesWidget

    return PagesWidget(engine, image, task)


def progress(what: str, seconds: int) -> AbstractContextManager[None]:
    """A bar that moves while a `with` block works, for work of about so many seconds that does not report its progress."""
    from autoglm_lab.widgets.progress_bar import progress

    return progress(what, seconds)


def picture(image: Image.Image, words: str) -> Still:
    """A picture with its alternative text, which JupyterLab and nbconvert read out. ValueError without words."""
    from autoglm_lab.widgets.pictures import Still

    return Still(image, words)
