# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: put the agent on a device, prove that it is the same agent there, and run it in a browser without a network
# ---

# %% [markdown]
# # 10 On a device
#
# After this chapter you can
#
# - say before you install anything whether a device can run a model, and why,
# - pack a folder that needs no PyTorch, and say what each of its megabytes is,
# - tell which differences between two processors are errors and which are not,
# - take the agent to another runtime, and say what was proven there and what was not,
# - run the agent in a browser, with its pictures and your voice staying on the device.

# %%
import tempfile
from pathlib import Path

import autoglm_lab as lab
from autoglm_lab.export.kept import kept_bundle

folder = Path(lab.open_once("room", tempfile.TemporaryDirectory))
with lab.widgets.progress("exporting, the first time", 60):
    bundles = {name: kept_bundle(name) for name in ("int8", "whole")}  # a process of its own writes each of them, once

# %%
import numpy as np

from autoglm_lab.compress.recipe import apply, named

engine = lab.load()
small, _ = apply(engine.model, named("int8"), engine.example(), quiet=True)
device = lab.load(bundles["int8"])
print(f"{device.bundle.bytes / 1e6:.1f} MB, recipe {device.bundle.recipe['name']}")

# %% [markdown]
# ## Predict
#
# The bundle holds millions of weights of one byte each. A browser loads it compressed with gzip. What share of the bytes will be left?

# %%
my_guess = None  # per cent

# %% [markdown]
# ## Before anything is installed
#
# Is it a 64-bit system for which there are wheels? Is there room for the weights, twice (a new bundle is written beside the old one)? Does
# the processor multiply bytes? `autoglm-lab doctor --bundle DIR` asks that on any machine; here it asks this one.

# %%
from autoglm_lab.measure.machine import cpu_flags
from autoglm_lab.runtime.preflight import PHONE_9B, Machine, bundle_needs, examine, model_needs

needs = bundle_needs("this bundle", device.bundle.bytes, device.cache_bytes_per_token)
machine = Machine.here(cpu_flags())
examine(machine, needs)

# %% [markdown]
# No line of it is a rule of thumb: the needs are sums. The same sums for the agent that this one is a small picture of, AutoGLM-Phone-9B,
# with weights of four and a half bits (four, and a scale for each group of 32):

# %%
print(*needs.arithmetic, "", *model_needs("AutoGLM-Phone-9B", bits=4.5, **PHONE_9B).arithmetic, sep="\n")

# %% [markdown]
# ## What is in the bundle, and what of it travels
#
# Three graphs compute, two turn pictures and sound into numbers for hosts that have no numpy. Which of them weigh anything?

# %%
import gzip

from autoglm_lab.runtime.bundle import FEATURES, GRAPHS, TOKENIZER
from autoglm_lab.widgets.charts import bars, guessed, lines

files = {name: (bundles["int8"] / name).read_bytes() for name in (*GRAPHS.values(), *FEATURES.values(), TOKENIZER)}
packed = {name: len(gzip.compress(content, 6)) for name, content in files.items()}
on_disk, through_gzip = sum(map(len, files.values())) / 1e6, sum(packed.values()) / 1e6
bars("Files of the bundle",
     {"on disk": {n: len(c) / 1e6 for n, c in files.items()} | {"all": on_disk},
      "through gzip": {n: p / 1e6 for n, p in packed.items()} | {"all": through_gzip},
      "your guess": {"all": None if my_guess is None else on_disk * my_guess / 100}},
     "MB", f"Of {on_disk:.1f} MB {through_gzip:.1f} are left, {through_gzip / on_disk:.0%}; {guessed(my_guess, '{}%')}.")  # fmt: skip

# %% [markdown]
# Why not less? A compressor gives short codes to what is frequent. Weights look like noise around zero: no value is very frequent. What is the
# least a code can need is its **entropy**.

# %%
from autoglm_lab.checks.device import entropy
from autoglm_lab.compress.quantization import PackedLinear

codes = {name: layer.weight_codes.codes.numpy().astype(np.int8) for name, layer in small.named_modules()
         if isinstance(layer, PackedLinear) and name.startswith("layers.0.")}  # fmt: skip
bars("Bits that a code needs at least", {"entropy": {name: entropy(values) for name, values in codes.items()}}, "bits of 8")

# %% [markdown]
# Zeros are another matter. A weight that is zero takes as much room in memory and as much time in a product as any other (chapter 03 has
# measured it), but on the way to the phone it costs next to nothing. Cut the smallest codes of one layer, and compress what is left:

# %%
name, values = max(codes.items(), key=lambda pair: pair[1].size)
shares, sizes, least = (0.0, 0.2, 0.4, 0.6, 0.8, 0.9), [], []
for share_of_zeros in shares:
    cut = np.where(np.abs(values) <= np.quantile(np.abs(values), share_of_zeros) * (share_of_zeros > 0), 0, values).astype(np.int8)
    sizes.append(8 * len(gzip.compress(cut.tobytes(), 6)) / cut.size)
    least.append(entropy(cut))
lines(f"{name}: bits for each weight", {"gzip": (shares, sizes), "entropy": (shares, least)}, "share of codes set to zero", "bits")

# %% [markdown]
# That is what unstructured pruning is good for on a phone. The line says nothing about right answers: cutting needs training again, as
# in chapter 03. The recipe `phone` did both, zeros and integers, and was measured beside `int8_static`, integers alone; what a browser
# loads holds ONNX Runtime itself as well:

# %%
import json

from autoglm_lab.measure.report import read_reports
from autoglm_lab.paths import data_dir

reports = data_dir() / "reports"
for name in ("int8_static", "phone"):
    page, known = json.loads((reports / "page" / f"{name}.json").read_text()), read_reports(reports / "onnx")[name]
    print(f"{name:12} {page['page_mb']['median']:.1f} MB to load, first answer {page['page_first_answer_s']['median']:.1f} s",
          f"after the page was asked for; {known.success:.1%} of {known.n:,} steps right")  # fmt: skip

# %% [markdown]
# ## A folder for the device
#
# The bundle, the part of this package that runs it, a script of a few lines, and the packages it needs. Not PyTorch, and nothing of
# Jupyter.

# %%
from autoglm_lab.export.device import device_folder

device_folder(bundles["int8"], folder / "device")
for place in sorted((folder / "device").rglob("*")):
    if place.is_file() and len(place.relative_to(folder / "device").parts) <= 2:
        print(f"{place.relative_to(folder / 'device')!s:28} {place.stat().st_size:12,} bytes")
print((folder / "device" / "run.py").read_text())

# %% [markdown]
# Run it as a device would: in a process of its own, with a Python that is told that there is no PyTorch.

# %%
import subprocess
import sys

phone = lab.SimulatedPhone(7, lang="en")
phone.screenshot().save(folder / "screen.png")
without = "import sys, runpy; sys.modules['torch'] = None; sys.argv[0] = 'run.py'; sys.path.insert(0, '.'); runpy.run_path('run.py', run_name='__main__')"
done = subprocess.run([sys.executable, "-c", without, "open Settings", str(folder / "screen.png")], cwd=folder / "device",
                      capture_output=True, text=True, check=True)  # fmt: skip
print(done.stdout)
lab.widgets.picture(phone.screenshot().resize((216, 480)), f"The screen that was asked about: {phone.current_app()}")

# %% [markdown]
# The guide in the folder says how to start it on a board with Linux, and on an Android phone inside Termux.
#
# ## Is it the same agent there?
#
# A phone has an ARM64 processor, with kernels of its own. `make arm64` runs this very folder with an ARM64 Python under emulation, on every
# landing of this repository: each integer product of a step is the same to the last bit, scores of the agent in floats are within 1e-4,
# and twenty actions of the agent in integers are the same. Its scores are *not* the same. Is that an error?
#
# It can be seen without any ARM. Change the picture by a millionth, about as much as two processors disagree, twelve times over:

# %%
from autoglm_lab.runtime.features import image_features
from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step
from autoglm_lab.runtime.prompt import write_prompt


def scores(agent, pixels):
    """The scores of the first token of an answer about a picture."""
    session = agent.sessions["image"]
    made = session.run(None, {session.get_inputs()[0].name: pixels[None]})
    states = agent.nothing | dict(zip((o.name for o in session.get_outputs()), made, strict=True))
    ids = agent.tokenizer.encode(write_prompt("open Settings", "System Home"), add_special_tokens=False).ids
    return Step(agent.sessions["step"], {"present": np.array([1, 0], np.float32), **states}, len(ids)).scores(ids)


# %%
pixels, rng = image_features(phone.screenshot()), np.random.default_rng(0)
noises = [rng.uniform(-1e-6, 1e-6, pixels.shape).astype(np.float32) for _ in range(12)]
whole = OnnxEngine(bundles["whole"])
for kind, agent in {"whole": whole, "int8": device}.items():
    plain, moved = scores(agent, pixels), [scores(agent, pixels + noise) for noise in noises]
    apart = np.array([np.abs(plain - other).max() for other in moved])
    print(f"{kind:6} scores move by {apart.min():.0e} to {apart.max():.0e}, not at all {np.sum(apart == 0)} times;",
          f"the same token {sum(plain.argmax() == other.argmax() for other in moved)} of 12 times")  # fmt: skip

# %% [markdown]
# In floats a small cause has a small effect. With integers the inputs of each product are rounded to 256 steps first. Mostly that swallows
# the difference; but a value that lies on the border between two steps falls to the one side or to the other, and a whole step follows from
# nothing. Here is one such value:

# %%
scale = np.float32(0.02)
for x in (np.float32(0.12999998), np.float32(0.13000001)):
    print(f"{x:.8f} / {scale} -> {np.rint(x / scale):.0f}")

# %% [markdown]
# So bit-equal scores are the wrong thing to ask of an agent in integers. Ask for bit-equal *products* of equal inputs, which finds a
# broken kernel at once, and for equal *actions*, which is what a user sees.
#
# ## In another runtime
#
# A phone may come with a runtime of its own. To get there the agent has to be written once more. ONNX Runtime has an operator that attends
# and writes its cache in place, and lengths that change from call to call; most others have neither. So all lengths are fixed, a step reads
# one token, the cache is an input, and what the token adds to it is an output: whoever calls writes it into its place.

# %%
from autoglm_lab.export.portable import portable_parts

parts = portable_parts(engine.model)
for name in ("image", "audio", "step"):
    shapes = {given: tuple(value.shape) for given, value in parts[name].example.items()}
    shown = list(shapes.items())
    print(
        name,
        *(f"{given} {shape}" for given, shape in shown[:5]),
        f"and {len(shown) - 5} more" if len(shown) > 5 else "",
        sep="\n    ",
    )

# %% [markdown]
# `Host` is that caller, some lines of numpy (`autoglm_lab/runtime/host.py`). Here it drives ONNX Runtime with the portable files; in the other
# runtimes it is the same.

# %%
from autoglm_lab.peers.runtimes import OnnxRuntime
from autoglm_lab.runtime.host import Host

files_of = {name: folder / f"portable_{name}.onnx" for name in ("image", "step")}
with lab.widgets.progress("exporting", 20):
    for name, file in files_of.items():
        file.write_bytes(parts[name].onnx())
calls = {}
for name, file in files_of.items():
    shapes = {given: list(value.shape) for given, value in parts[name].example.items()}
    calls[name] = OnnxRuntime().open(file, shapes, list(parts[name].outputs), threads=2)
host = Host(calls["image"], audio=None, step=calls["step"], shapes={given: tuple(shape) for given, shape in shapes.items()})

screen = phone.screenshot()
ids = whole.tokenizer.encode(write_prompt("open Settings", "System Home"), add_special_tokens=False).ids
states, _ = host.remember(image_features(screen)[None], None)
said = host.write(states, ids, end=whole.bundle.end, most=128)
print("portable:", whole.tokenizer.decode(said, skip_special_tokens=False))
print("bundle:  ", whole.answer("open Settings", screen).answer.text)

# %% [markdown]
# The same answer. What does the cache cost that is carried in and out? One step of each:

# %%
from autoglm_lab.measure.timing import paired

session = whole.sessions["image"]
seen = dict(
    zip((o.name for o in session.get_outputs()), session.run(None, {"pixel_values": image_features(screen)[None]}), strict=True)
)
step = Step(whole.sessions["step"], {"present": np.array([1, 0], np.float32), **whole.nothing, **seen}, room=256)
step.scores(ids)
given = {"token": np.array([[10]], np.int32), "place": np.array([len(ids)], np.int32), **states}
portable = host.step
for name, time in paired({"portable": lambda: portable(given), "bundle": lambda: step.scores([10])}, runs=25).items():
    print(f"{name:9} {time}")

# %% [markdown]
# PyTorch has done its part: what follows needs files only. (To run a cell above again, begin at the top.)

# %%
portable = calls = host = parts = engine = small = None
f"{sum(len(list(place.rglob('*.onnx'))) for place in (folder, *bundles.values()))} files are left"

# %% [markdown]
# And the others? Each has an environment of its own, made by one command, `autoglm-lab runtimes NAME`, which then converts these files, runs
# them on twenty held-out requests, half of them spoken, and compares answers and scores. What it found is a file in `data/reports`:

# %%
from IPython.display import Markdown

from autoglm_lab.peers.told import read, table

Markdown(table(read()))

# %% [markdown]
# llama.cpp stands apart: it takes no graphs, it knows models. GLM is one of them, cross-attention is not. So it gets the decoder alone,
# which answers what is typed with no screen in sight; the gates are closed then, and the tokens have to be the same.
#
# *Verified* is what ran here and gave the same answers, token for token. *Converts* is less: the file was written and has the right inputs,
# and nobody here knows what it computes, since only a Mac or an iPhone runs it. *Needs hardware* is less still. A table that calls all
# three "supported" says nothing.
#
# ## In a browser
#
# The same bundle runs on a web page: ONNX Runtime compiled to WebAssembly computes the graphs, the tokenizer reads the file of the bundle,
# and pictures and sound go through the two graphs that were written for this. What the grammar would draft (chapter 07) comes as a table,
# for bundles that go with drafts; the one below, whose tokens share a scale, goes without. The server only hands out files. After the first
# load the page works without it: in the end-to-end test of this repository a WAV file is played into the microphone of an emulated phone
# whose server is gone, and the agent taps where it should.

# %%
from autoglm_lab.web.server import BrowserPhone

try:
    view = lab.widgets.browser(lab.open_once("page", BrowserPhone, bundles["int8"], phone=phone))
except (ImportError, FileNotFoundError) as missing:  # npm fetches what the page runs on, once
    view = f"There is no page here: {missing}."
view

# %% [markdown]
# Ask it something, by keyboard or by voice; tick the box under the answers, and its times arrive beside the page. A page that runs where this
# notebook does needs no more. For a real phone there are two ways:
#
# - on a cable, `adb reverse tcp:8080 tcp:8080`, then `autoglm-lab phone --bundle DIR` here and `http://localhost:8080` there: with
#   microphone and without a network afterwards, because browsers trust localhost;
# - over the air, `autoglm-lab phone --bundle DIR --network` and the QR code: typed commands only, as browsers give neither microphone nor
#   offline storage to a page without https.
#
# On Binder the server is in a data centre and your browser cannot reach it: the picture above is then all there is.
#
# ## Where the time goes
#
# Guess how long an answer takes here, in floats and in integers, typed and spoken; then measure. "Look inside" lets the runtime note the
# time of every operator, adds it up layer by layer, and goes on until you stop it. (Noting costs time as well: compare shares.) Where there
# is a second core, hearing goes on beside looking: the green piece is then only what hearing took longer, often nothing.

# %%
from autoglm_lab.measure.layers import layer_times
from autoglm_lab.phone.speech import SpeechBank

bank = SpeechBank.load()
wave = bank.waveform(bank.find("open Settings", "en", np.random.default_rng(0)))
inside = {
    name: lambda at=bundles[place]: layer_times(at, count=2, rounds=1)
    for name, place in (("floats", "whole"), ("integers", "int8"))
}
times = lab.widgets.latency({
    "floats, typed": lambda: whole.answer("open Settings", screen),
    "integers, typed": lambda: device.answer("open Settings", screen),
    "integers, spoken": lambda: device.answer("", screen, wave),
}, layers=inside)  # fmt: skip
times.guess("integers, typed", 50)
times.measure()
times.look_inside()
times

# %% [markdown]
# ## Two things at once
#
# Seeing waits for arithmetic, writing waits for memory. While one answer is being written, another core can look at the next screen.
# `runtime.pipeline.answers` does that for a stream of requests: seeing and hearing run one request ahead, in a thread of their own.
#
# Predict first: eight requests about eight screens. How much sooner are all answered, if each stage has one core instead of both in turn?

# %%

from autoglm_lab.measure.bench import questions
from autoglm_lab.runtime.pipeline import answers

asked, single = questions(8), OnnxEngine(bundles["int8"], threads=1)
ways = {
    "one after the other, all cores": lambda: [device.answer(**request).answer.text for request in asked],
    "one after the other, one core": lambda: [single.answer(**request).answer.text for request in asked],
    "seeing one ahead, a core for each": lambda: [answer.text for answer in answers(single, asked)],
}
said = {name: way() for name, way in ways.items()}
assert len({tuple(texts) for texts in said.values()}) == 1, "the same answers, in the same order"
for name, time in paired(ways, runs=5, warm_up=1).items():
    print(f"{name:34} {time}")

# %% [markdown]
# The gain is bounded by the longer stage, and by what the stages share: both stream their weights through one memory. And each thread counts.
# While this was written, a pipeline was slower than no pipeline, for a reason that lay elsewhere: numpy's matrix products, for the resized
# picture and the mel filters, started threads of their own, which went on spinning beside those of the runtime. They are now taken in
# pieces that are too small for threads (`runtime.features.calm_product`). Is that worth anything on this machine? A spoken request, both
# ways; for once not in turns, as threads that spin also slow down what comes next:

# %%
from autoglm_lab.runtime import features

calm = features.calm_product


def heard(product):
    """A whole spoken answer with this product of matrices."""
    features.calm_product = product
    return device.answer("", screen, wave).answer


try:
    for name, product in {"in quiet pieces": calm, "as numpy likes it": np.matmul}.items():
        print(f"{name:18} {paired({name: lambda product=product: heard(product)}, runs=15)[name]}")
finally:  # also when the cell is interrupted
    features.calm_product = calm

# %% [markdown]
# ## A host that is not Python
#
# A loop over tokens is a few lines, in every language anew. It can be in the file instead: the step graph as the body of ONNX's `Loop`, with
# `ArgMax` behind it, the weights outside. `autoglm-lab export --one-call` adds that file to a bundle.

# %%
import onnxruntime

from autoglm_lab.export.bundle import count_nodes
from autoglm_lab.export.greedy import greedy_graph

looped = greedy_graph((bundles["int8"] / "step.onnx").read_bytes(), device.bundle.end)
print(dict(count_nodes(looped)), f"{len(looped) / 1e6:.1f} MB")
loop = onnxruntime.InferenceSession(looped, providers=["CPUExecutionProvider"])
prepared = device.prepare("open Settings", screen)  # what was seen, and the tokens of the prompt
given = prepared.states | {
    "first_input_ids": np.array([prepared.ids]), "first_total": np.array([len(prepared.ids)], np.int32),
    "max_new_tokens": np.array(64),
}  # fmt: skip
for value in loop.get_inputs():
    if value.name.startswith("first_past"):  # the empty cache, with room for the prompt and the answer
        given[value.name] = np.zeros([size if isinstance(size, int) else 128 for size in value.shape], np.float32)
for name, time in paired({
    "token by token": lambda: device.write(device.prepare("open Settings", screen)).answer,
    "in one call": lambda: (device.prepare("open Settings", screen), loop.run(["tokens"], given)),
}, runs=15).items():  # fmt: skip
    print(f"{name:15} {time}")
[tokens] = loop.run(["tokens"], given)
print(device.tokenizer.decode(tokens.tolist(), skip_special_tokens=False))

# %% [markdown]
# What is lost: nothing can be shown before all is written, no draft of chapter 07 is confirmed, and no grammar can hold it.
#
# ## Exercise 1: what a code needs
#
# `codes` is an array of integers. How many bits does a code need at least, on average, if each is written by itself? (The mean of -log2
# of the share that each value has.)


# %% tags=["exercise"]
def bits_needed(codes):
    """Bits for each code."""
    # <solution>
    _, counts = np.unique(codes, return_counts=True)
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())
    # </solution>
    # <stub> return None  # how often does each value occur?


# %%
lab.check("10.entropy", bits_needed)

# %% [markdown]
# ## Exercise 2: will it fit?
#
# Bytes of memory for a model of so many `parameters` of `bits` each, that remembers `tokens`: in each of its `layers` a key and a value for
# each of `heads` heads, each `width` numbers of 16 bits.


# %% tags=["exercise"]
def memory_bytes(parameters, bits, tokens, layers, heads, width):
    """Bytes of weights and cache."""
    # <solution>
    weights = parameters * bits / 8
    token = 2 * 2 * layers * heads * width
    return weights + token * tokens
    # </solution>
    # <stub> return None  # the weights first, then what a token leaves behind


# %%
lab.check("10.memory", memory_bytes)

# %% [markdown]
# ## What was simulated, what was real
#
# The bundle, the folder, the page and all times are real. The ARM64 processor of the tests is an emulated one: it proves that the ARM
# builds compute the same, it says nothing about their speed. The phone on the page is a deck of drawn screens; where the deck ends, the
# page says so. Android itself, with its other C library and its own accelerators, was not run here. The server and the folder go when this
# notebook's kernel is shut down; the two bundles stay in the work folder, for the next time.
#
# ## To take away
#
# 1. Whether a model fits is arithmetic, and can be done before anything is bought or installed.
# 2. Rounding makes a small difference between processors a large one: compare products and actions, not scores.
# 3. For another runtime write the plainest graph that is still right, let the host do the rest, and compare whole answers.
# 4. A page can be an app: what is loaded once runs without a network, and what is said to it stays where it was said.
