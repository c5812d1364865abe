# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: turn a model into a file that computes the same at every length, and name the layer when it does not
# ---

# %% [markdown]
# # 08 Export
#
# After this chapter you can
#
# - build a graph of operators by hand, and say what an ONNX file is,
# - write any module as such a file, with axes that may change their length,
# - prove that the file computes what the model computes, and name the first layer where it does not,
# - fold a batch norm into a convolution, and see what else a runtime puts together,
# - read a bundle: everything a phone needs, and nothing of PyTorch.

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import onnx
import onnxruntime
import torch

model = engine.model
print(f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {torch.get_num_threads()} threads")

# %% [markdown]
# ## Predict
#
# The part that sees is exported as a graph of operators. Before the runtime runs it, it puts together what belongs together. What
# share of the operators will be left?

# %%
my_guess = None  # per cent

# %% [markdown]
# ## A graph by hand
#
# An ONNX file is a list of operators in an order in which they can be computed, with names for the values that flow between them
# and the weights as constants. Three operators make a layer:

# %%
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)
weight, bias = rng.normal(size=(4, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
nodes = [
    helper.make_node("MatMul", ["x", "weight"], ["product"]),
    helper.make_node("Add", ["product", "bias"], ["sum"]),
    helper.make_node("Relu", ["sum"], ["y"]),
]
inputs, outputs = (
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])] for name, width in (("x", 4), ("y", 3))
)
constants = [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")]
made = helper.make_model(helper.make_graph(nodes, "layer", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 20)])
made.ir_version = 10
onnx.checker.check_model(made)

# %%
session = onnxruntime.InferenceSession(made.SerializeToString())
for rows in (1, 5):
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    [y] = session.run(None, {"x": x})
    print(f"{rows} rows: as numpy says: {np.allclose(y, np.maximum(x @ weight + bias, 0), atol=1e-6)}")
    assert np.allclose(y, np.maximum(x @ weight + bias, 0), atol=1e-6)

# %% [markdown]
# `rows` is no number: an axis with a name may have any length. The number 20 is the **opset**, the edition of the dictionary of
# operators that the file is written in.
#
# ## Any module
#
# Nobody writes large graphs by hand: PyTorch traces a module while it computes an example. `onnx_module` does that, with one file,
# opset 20, named axes, and the checker. Here is a network that has nothing to do with phones.

# %%
from torch import nn

from autoglm_lab.export.bundle import count_nodes
from autoglm_lab.export.graphs import onnx_module


class Tagger(nn.Module):
    """Word ids [B, T] to a score for each of 5 tags."""

    def __init__(self):
        super().__init__()
        self.table, self.mix = nn.Embedding(100, 32), nn.Conv1d(32, 32, 3, padding=1)
        self.norm, self.head = nn.LayerNorm(32), nn.Linear(32, 5)

    def forward(self, ids):
        words = self.table(ids)
        return self.head(self.norm(words + self.mix(words.transpose(1, 2)).transpose(1, 2).relu()))


torch.manual_seed(0)
tagger, example = Tagger().eval(), {"ids": torch.randint(0, 100, (2, 7))}
file = onnx_module(tagger, example, dynamic={"ids": {0: "sentences", 1: "words"}})
print(f"{len(file) / 1e3:.0f} kB:", ", ".join(f"{count} {kind}" for kind, count in count_nodes(file).most_common(6)))

# %% [markdown]
# Parity is measured at lengths that the example did not have; a trace that has frozen a length shows it there.

# %%
session = onnxruntime.InferenceSession(file)
for shape in ((1, 1), (2, 7), (3, 40)):
    ids = torch.randint(0, 100, shape)
    with torch.no_grad():
        difference = np.abs(session.run(None, {"ids": ids.numpy()})[0] - tagger(ids).numpy()).max()
    print(f"{shape[0]} sentences of {shape[1]} words: largest difference {difference:.0e}")
    assert difference < 1e-5

# %% [markdown]
# Three traps have a message of their own, because without one they are silent: an axis of length 1 in the example is taken for a
# constant by the tracer, a name that is no input changes nothing, and a loop over a length writes down as many turns as the example has.
# (A model of transformers needs no wrapper: `export_onnx(model, tokens, "model.onnx", cache=True)` from `autoglm_lab.export`.)


# %%
class Summed(nn.Module):
    """The words of each sentence, added up one after the other."""

    def forward(self, ids):
        return sum(ids[:, place].float() for place in range(ids.shape[1]))


one_row, misspelt = {"ids": torch.ones(1, 7, dtype=torch.long)}, {"words": torch.ones(2, 7, dtype=torch.long)}
for module, wrong, axis in ((tagger, one_row, 0), (tagger, misspelt, 0), (Summed(), example, 1)):
    try:
        onnx_module(module, wrong, dynamic={"ids": {axis: "length"}})
    except ValueError as problem:
        print(problem)

# %% [markdown]
# ## Layer by layer
#
# A single number at the end says that something is wrong, not where. Every node of the file bears the name of the module in which
# it was traced, so each layer can be compared with its module. This is the part of the agent that sees:

# %%
from autoglm_lab.export.parity import check_layers, compare, file_layers, first_diverging, module_layers
from autoglm_lab.runtime.features import image_features

screen = image_features(lab.SimulatedPhone(seed=21).screenshot())[None]
looks = {"pixel_values": torch.from_numpy(screen)}
eye = model.image_encoder
seeing = onnx_module(eye, looks)
layers = check_layers(eye, looks, seeing)
print(f"{len(layers)} layers agree; the largest difference is {max(layer.difference for layer in layers):.0e} of a layer's size")

# %% [markdown]
# And if somebody changes one weight of the file by one per cent? Everything after it differs; the first one is the culprit. (It is
# named for the batch norm after the convolution that was changed. Why, the next section shows.)

# %%
broken = onnx.load_from_string(seeing)
victim = next(stored for stored in broken.graph.initializer if "stages.4" in stored.name and len(stored.dims) == 4)
victim.CopyFrom(numpy_helper.from_array(1.01 * numpy_helper.to_array(victim), victim.name))
found = compare(file_layers(broken.SerializeToString(), {"pixel_values": screen}), module_layers(eye, looks))
culprit = first_diverging(found)
print(
    f"changed: {victim.name}\nfound:   {culprit.name}, {culprit.difference:.1%} away; {sum(layer.difference > 1e-4 for layer in found)} of {len(found)} layers differ"
)
assert victim.name.split(".")[:2] == culprit.name.split(".")[:2]

# %% [markdown]
# Look at both comparisons. With the second one chosen, move the slider to the left: where is the limit below which a layer before the
# culprit is accused, although only the order of its sums is another?

# %%
lab.widgets.parity({"as written": layers, "one weight changed": found})

# %% [markdown]
# ## What a runtime puts together
#
# After training, a batch norm is a fixed scale and shift for each channel. A convolution is linear, so both can go into its weights:
#
# $$ \gamma \frac{w * x - \mu}{\sqrt{v + \epsilon}} + \beta = \Big(\frac{\gamma}{\sqrt{v + \epsilon}} w\Big) * x + \Big(\beta - \frac{\gamma \mu}{\sqrt{v + \epsilon}}\Big) $$

# %%
triple = model.image_encoder.stages[0]
conv, norm = triple[0], triple[1]
with torch.no_grad():
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = nn.functional.conv2d(looks["pixel_values"], conv.weight * scale[:, None, None, None], norm.bias - scale * norm.running_mean,
                                  conv.stride, conv.padding)  # fmt: skip
    difference = float((folded - norm(conv(looks["pixel_values"]))).abs().max())
print(f"largest difference {difference:.0e}")
assert difference < 1e-4

# %% [markdown]
# The exporter has done this already: there is no batch norm in the file, and what is left of the two is named for the second. The
# runtime goes on when it opens a file. Every operator that disappears is a tensor that is not written to memory and read again. The
# same file, opened with and without:

# %%
from autoglm_lab.export.convolutions import runtime_nodes
from autoglm_lab.measure.timing import paired


def opened(graph, fused):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(graph, options)


before, after = count_nodes(seeing), runtime_nodes(seeing)
print(f"{sum(before.values())} nodes in the file, {sum(after.values())} are run")
for kind in sorted({*before, *after}, key=lambda kind: after[kind] - before[kind]):
    if before[kind] != after[kind]:
        print(f"  {kind:28} {before[kind]:3} -> {after[kind]}")

# %%
from autoglm_lab.widgets.charts import bars, guessed

left = 100 * sum(after.values()) / sum(before.values())
bars("Operators of the part that sees", {"measured": {"left": left}, "your guess": {"left": my_guess}}, "% of those in the file",
     f"{left:.0f}% of the operators are left; {guessed(my_guess, '{:.0f}%')}.", digits=0)  # fmt: skip

# %%
ways = {name: opened(seeing, fused) for name, fused in (("as it is", False), ("put together", True))}
took = paired(
    {name: lambda session=session: session.run(None, {"pixel_values": screen}) for name, session in ways.items()}, runs=25
)
print(*(f"{name:14} {time}" for name, time in took.items()), sep="\n")
bars("The part that sees", {"time": {name: time.median_ms for name, time in took.items()}}, "ms",
     f"The time goes from {took['as it is'].median_ms:.1f} to {took['put together'].median_ms:.1f} ms.")  # fmt: skip

# %% [markdown]
# The order of numbers in memory matters, too. PyTorch keeps channel after channel; `channels_last` keeps all channels of a pixel
# together, as many fast kernels read them. Whether it helps is a question for a measurement, on this machine:

# %%
import copy

eyes = {
    "channels first": model.image_encoder,
    "channels last": copy.deepcopy(model.image_encoder).to(memory_format=torch.channels_last),
}
given = {"channels first": looks["pixel_values"], "channels last": looks["pixel_values"].to(memory_format=torch.channels_last)}


def see(name):
    with torch.inference_mode():
        return eyes[name](given[name])


took = paired({name: lambda name=name: see(name) for name in eyes}, runs=25)
print(*(f"{name:15} {time}" for name, time in took.items()), sep="\n")
print(
    f"{took['channels first'].median_ms / took['channels last'].median_ms:.2f} times as fast with channels last; same cells: {torch.allclose(see('channels first'), see('channels last'), atol=1e-4)}"
)

# %% [markdown]
# ## The bundle
#
# An agent is three graphs: what it sees, what it hears, and one step of its answer. The step is the same graph for a whole request
# and for a single token. Before a bundle is written, every graph is compared with the model at several lengths.

# %%
import json
import tempfile
from pathlib import Path

from autoglm_lab.export.bundle import bundle

ways = broken = found = None  # on a small machine the export needs the room
place = Path(lab.open_once("agent of chapter 08", tempfile.TemporaryDirectory)) / "agent"
with lab.widgets.progress("exporting", 30):
    bundle(engine, place)
manifest = json.loads((place / "manifest.json").read_text())
for name, facts in manifest["files"].items():
    print(f"{name:15} {facts['bytes'] / 1e6:5.1f} MB  sha256 {facts['sha256'][:12]}...")
print(f"opset {manifest['opset']}, room for {manifest['places']} tokens, distance from the model: {manifest['apart']}")

# %%
step = (place / "step.onnx").read_bytes()
before, after = count_nodes(step), runtime_nodes(step)
print(f"step: {sum(before.values())} nodes in the file, {sum(after.values())} are run")
print(", ".join(f"{count} {kind}" for kind, count in after.most_common(14)))

# %% [markdown]
# Query, key and value see the same, so they are one product. Attention, with its rotation and its cache, is one operator of the
# runtime's own, and so is each look at a memory. The four nodes called `If` save what no kernel can: where nothing was said aloud, the
# agent does not listen, and reads no weight for it. PyTorch computes those looks and closes their gates; the answer is the same.

# %%
from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step

device = OnnxEngine(place)


def one_step(picture, sound):
    present = np.array([picture, sound], np.float32)
    step = Step(device.sessions["step"], {**device.nothing, "present": present}, room=24)
    step.scores(list(range(10, 26)))

    def again():
        step.total = 16  # always the 17th token
        return step.scores([10])

    return again


given = {"picture and sound": one_step(1, 1), "picture": one_step(1, 0), "neither": one_step(0, 0)}
took = paired(given, runs=40)
bars("One token, by what it may look at", {"time": {name: time.median_ms for name, time in took.items()}}, "ms",
     f"A typed request about a screen saves {1 - took['picture'].median_ms / took['picture and sound'].median_ms:.0%} of every step.")  # fmt: skip

# %% [markdown]
# Same tokens? The engine of the phone needs numpy, ONNX Runtime and a tokenizer. It has to say what PyTorch says.

# %%
from autoglm_lab.training.evaluation import World, spoken_requests, typed_requests

world = World(seed=8)
steps = typed_requests(world, 12) + spoken_requests(world, 12, held_out=True)


def answers(engine):
    typed = ["" if r.audio is not None else r.task.text for r in steps]
    return [
        engine.answer(text, r.image, r.audio, current_app=r.app, last=r.memory(engine.memory)).answer.text
        for r, text in zip(steps, typed, strict=True)
    ]


said = {"PyTorch": answers(engine), "bundle": answers(device)}
print(f"{sum(a == b for a, b in zip(*said.values(), strict=True))} of {len(steps)} answers are the same, letter by letter")
assert said["PyTorch"] == said["bundle"]

# %% [markdown]
# Every node bears the name of the module it was traced in, so the profile of the runtime can be added up layer by layer. Where does the
# time of an answer go, in this file, on this machine? Before you look: which of the three graphs takes most?

# %%
from autoglm_lab.measure.layers import layer_times

device = given = None  # one agent at a time
spent = layer_times(place, count=4, rounds=2)
whole_ms = sum(sum(layers.values()) for layers in spent.values())
print({graph: f"{sum(layers.values()) / whole_ms:.0%}" for graph, layers in spent.items()})
most = sorted(((ms, f"{graph}: {layer}") for graph, layers in spent.items() for layer, ms in layers.items()), reverse=True)[:12]
bars("The twelve layers that take most", {"time": {name: ms for ms, name in most}}, "ms",
     f"{most[0][1]} takes most, {most[0][0]:.1f} of {whole_ms:.1f} ms; these twelve take {sum(ms for ms, _ in most) / whole_ms:.0%}.")  # fmt: skip

# %% [markdown]
# A file that was cut short on its way, or changed, is refused before anything runs:

# %%
content = (place / "audio.onnx").read_bytes()
for damage, changed in (
    ("cut short", content[:-100]),
    ("one byte changed", content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]),
):
    (place / "audio.onnx").write_bytes(changed)
    try:
        OnnxEngine(place)
    except ValueError as problem:
        print(f"{damage}: {problem}")
(place / "audio.onnx").write_bytes(content)
print("whole again:", OnnxEngine(place).answer("who are you").answer.text)

# %% [markdown]
# ## Exercise 1: fold a batch norm
#
# `weight` is [O, I, k, k], all others [O]. Return the weight and the bias of one convolution that does the work of both.


# %% tags=["exercise"]
def fold(weight, mean, variance, gamma, beta, eps):
    """(a weight like the one given, a bias [O])."""
    # <solution>
    scale = gamma / np.sqrt(variance + eps)
    return weight * scale[:, None, None, None], beta - scale * mean
    # </solution>
    # <stub> return None  # one scale for each output channel


# %%
lab.check("08.fold", fold)

# %% [markdown]
# ## Exercise 2: which axes change
#
# An input was seen with these shapes. Which of its axes have to be named, because their length changes?


# %% tags=["exercise"]
def changing(shapes):
    """A list of axis numbers in rising order."""
    # <solution>
    return [axis for axis, lengths in enumerate(zip(*shapes, strict=True)) if len(set(lengths)) > 1]
    # </solution>
    # <stub> return None  # compare the shapes axis by axis


# %%
lab.check("08.changing", changing)

# %% [markdown]
# ## What was simulated, what was real
#
# Files, runtime, parity and times are real, and are those of this machine. A phone's processor has other kernels: the file is the
# same there, the order of sums is not, and with it the last digits.
#
# ## To take away
#
# 1. A file is exported when it agrees with its model at lengths that nobody traced, not when the exporter is silent.
# 2. Compare layer by layer: the first that differs is the culprit, all later ones are victims.
# 3. Operators that are put together are memory that is not touched; the runtime does it, and shows it when asked.
