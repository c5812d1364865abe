# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: turn weights into integers, see what each bit costs, and store the agent in a quarter of its bytes
# ---

# %% [markdown]
# # 05 Quantisation
#
# After this chapter you can
#
# - turn floats into integers and back, and say where the error comes from,
# - choose between one scale for a matrix, for a channel, for a group, and see why it matters,
# - store the agent with 8, 4 and fewer bits, and measure what it still can do,
# - round what flows through the layers, too, and see why a few outliers decide,
# - say when integers are faster and when they are only smaller.
#
# The whole chapter in one line: a number `x` is stored as a whole number, and a scale that many of them share.
#
# $$ \mathrm{code} = \mathrm{round}(x / \mathrm{scale}) + \mathrm{zero\_point}, \qquad x \approx \mathrm{scale} \cdot (\mathrm{code} - \mathrm{zero\_point}) $$

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

from autoglm_lab.training.batch import BatchEngine
from autoglm_lab.training.evaluation import World, answer_rate, typed_requests

model, processor = engine.model, engine.processor
requests = typed_requests(World(seed=4), 32)


def right_steps(changed):
    return 100 * answer_rate(BatchEngine(changed, processor), requests, "right", batch=8).rate


print(f"{right_steps(model):.1f} % of {len(requests)} steps are right")

# %% [markdown]
# ## Predict
#
# The agent's weights are rounded to fewer and fewer bits, nothing is trained. At how many bits does it first get fewer than
# half of the steps right?

# %%
my_guess = None  # bits

# %% [markdown]
# ## By hand
#
# Eight numbers, four bits. The largest magnitude gets the largest code; everything else falls into line.

# %%
x = torch.tensor([0.11, -0.52, 0.03, 0.98, -0.27, 0.64, -1.4, 0.33])
top = 2 ** (4 - 1) - 1
scale = x.abs().max() / top
codes = torch.round(x / scale)
back = scale * codes
print("codes   ", codes.int().tolist())
print("back    ", [f"{value:.2f}" for value in back.tolist()])
print(f"scale {scale:.3f}, largest error {float((back - x).abs().max()):.3f}: never more than half a scale")
assert (back - x).abs().max() <= scale / 2 + 1e-6

# %% [markdown]
# Does the package's quantiser do the same? And PyTorch's own?

# %%
from autoglm_lab.compress.quantization import Scheme, quantize

theirs = quantize(x, Scheme(bits=4, granularity="tensor"))
torchs = torch.fake_quantize_per_tensor_affine(x, float(scale), 0, -top, top)
print("same codes:", torch.equal(theirs.codes.flatten().float(), codes), " same values as torch:", torch.allclose(torchs, back))
assert torch.equal(theirs.codes.flatten().float(), codes) and torch.allclose(torchs, back)

# %% [markdown]
# ## One layer, every choice
#
# A layer of the agent. Move the bits; give each channel or each group of 32 weights a scale of its own; let the range be
# that of the extremes, or the one with the least squared error. Grey is where the weights are, blue where they may be.

# %%
from autoglm_lab.compress.quantization import relative_error
from autoglm_lab.widgets.quantization_view import QuantizationView

weight = model.layers[1].mlp.down_proj.weight.detach()


def compute(bits, granularity, symmetric, method):
    found = quantize(weight, Scheme(bits, symmetric, granularity), method)
    numbers = (part.float().numpy() for part in (weight, found.dequantize(), found.scale))
    return QuantizationView(*numbers, found.zero_point.numpy(), bits, found.clipped, found.stored_bytes)


lab.widgets.quantization(compute)

# %%
from autoglm_lab.widgets.charts import bars, guessed, lines

widths = (8, 6, 5, 4, 3, 2)
errors = {
    f"one scale per {granularity}": (widths, [100 * relative_error(weight, quantize(weight, Scheme(bits, True, granularity), "mse").dequantize())
                                              for bits in widths])
    for granularity in ("tensor", "channel", "group")
}  # fmt: skip
lines("Rounding error of one layer", errors, "bits", "error, % of a weight")

# %% [markdown]
# ## The whole agent
#
# `quantize_weights` packs every linear layer, convolution and embedding: the model that comes back holds bytes, not floats,
# and unpacks a layer whenever it runs. The tied head and the embedding share one packed table, as they shared one before.

# %%
from autoglm_lab.compress import quantize_weights
from autoglm_lab.compress.files import stored_bytes

full_bytes = sum(4 * p.numel() for p in model.parameters())
variants = {8: Scheme(8, True, "channel")} | {bits: Scheme(bits, True, "group", 32) for bits in (4, 3, 2)}
size, success = {"16 bits": 50.0}, {32: right_steps(model)}
for bits, scheme in variants.items():
    small = quantize_weights(model, scheme, method="mse", quiet=True)
    size[f"{bits} bits"] = 100 * stored_bytes(small, half=True) / full_bytes
    success[bits] = right_steps(small)
bars("What is stored, everything included", {"share": size}, "% of the 32-bit model")

# %% [markdown]
# Three bits take as much as four here: codes of 3 bits do not fill a byte evenly, so each is given half of one.

# %%
broken = [bits for bits, rate in success.items() if rate < 50]
verdict = f"it first falls below half at {max(broken)} bits" if broken else "it never falls below half"
lines(
    "Right steps with rounded weights",
    {"measured": (list(variants), [success[bits] for bits in variants]), "your guess": ([my_guess], [50])}, "bits", "right steps, %",
    f"With {success[32]:.0f}% right as floats, {verdict}; {guessed(my_guess, '{} bits')}.",
)  # fmt: skip

# %% [markdown]
# ## What flows through
#
# A processor multiplies integers only if both sides are integers: weights *and* inputs. The range of the inputs is not known
# beforehand. **Dynamic** quantisation looks at each input as it comes; **static** quantisation looks at examples once, fixes
# the range, and saves the looking. Here is what flows into two layers.

# %%
from autoglm_lab.compress.low_rank import record_inputs

many = BatchEngine(model, processor)
with torch.inference_mode():
    flows = record_inputs(model, lambda changed: BatchEngine(changed, processor).loss(requests[:8]), most=1024)
spread = {name: float(x.abs().max() / x.square().mean().sqrt()) for name, x in flows.items() if name.startswith("layers.")}
tails = dict(sorted(spread.items(), key=lambda item: -item[1])[:8])
bars("Largest input, in typical inputs", {"times": tails}, "largest over root mean square")

# %% [markdown]
# One input many times as large as the rest stretches the range until the rest shares a handful of codes. Calibration decides
# how much of the tail to clip.

# %%
worst = max(spread, key=spread.get)
flow = flows[worst]
codes_used = {}
for method in ("minmax", "percentile", "mse"):
    found = quantize(flow, Scheme(8, False, "tensor"), method)
    codes_used[method] = {"error, %": 100 * relative_error(flow, found.dequantize()), "clipped, %": 100 * found.clipped}
bars(f"Eight-bit inputs of {worst}", codes_used, "per cent", digits=2)

# %% [markdown]
# Static quantisation of the agent's linear layers, weights and inputs, calibrated on a few real requests:

# %%
from autoglm_lab.compress import Recipe, apply

calibration = [many.inputs(requests[first : first + 8]) for first in range(0, 32, 8)]
static, report = apply(
    model, Recipe("static", bits=8, group_size=0, round_inputs=True), engine.example(), calibration=calibration, half=True
)
print(f"weights and inputs in 8 bits: {report.bytes / 1e6:.1f} MB, {right_steps(static):.1f} % of the steps right")

# %% [markdown]
# ## Is it faster?
#
# Smaller, yes. Faster only where a kernel computes with integers. Our packed layers unpack to floats first, so in PyTorch they
# are slower than floats. ONNX Runtime has a kernel for each kind: groups are unpacked block by block inside the product
# (`MatMulNBits`); for whole channels the input is rounded as it comes, and integers are multiplied (`MatMulInteger`). Exported, a
# layer keeps its codes, bit for bit. One layer, three files:

# %%
from autoglm_lab.compress.quantization import PackedLinear
from autoglm_lab.export.bundle import count_nodes
from autoglm_lab.export.graphs import onnx_module
from autoglm_lab.export.integers import exportable

matrix, rows = model.layers[0].mlp.gate_up_proj, torch.randn(1, 16, 512)
schemes = {"7 of 8 bits": Scheme(7, True, "channel"), "4 bits": variants[4]}
layers = {"floats": matrix} | {name: PackedLinear(matrix.weight, None, scheme) for name, scheme in schemes.items()}
files = {}
for name, layer in layers.items():
    files[name] = onnx_module(exportable(torch.nn.Sequential(layer)), {"x": rows}, dynamic={"x": {1: "tokens"}})
    print(f"{name:12} {len(files[name]) / 1e6:.2f} MB, operators: {', '.join(count_nodes(files[name]))}")

# %% [markdown]
# Why seven bits in a byte? Many x86 processors add two products of 8-bit numbers in 16 bits, and large ones overflow: the sum
# is wrong there, and right elsewhere. With one bit less nothing can (ONNX Runtime's own quantiser calls this `reduce_range`). Eight
# bits are written here as unsigned bytes, which are right on every processor too, but slower on those.

# %%
from functools import partial

import onnxruntime

from autoglm_lab.measure.machine import cpu_flags
from autoglm_lab.measure.timing import paired

print("integer instructions here:", ", ".join(flag for flag in cpu_flags() if "vnni" in flag or "int8" in flag) or "none")
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.force_spinning_stop", "1")  # idle threads would take the time of the next session
sessions = {name: onnxruntime.InferenceSession(file, options) for name, file in files.items()}
medians = {}
for tokens in (1, 16, 128):
    feed = {"x": np.random.default_rng(0).normal(size=(1, tokens, 512)).astype(np.float32)}
    times = paired({name: partial(session.run, None, feed) for name, session in sessions.items()}, runs=40)
    medians[f"{tokens} tokens" if tokens > 1 else "1 token"] = {name: 1000 * time.median_ms for name, time in times.items()}
bars("One layer in ONNX Runtime", medians, "microseconds", digits=0)

# %%
for tokens, row in medians.items():
    print(f"{tokens:10}", ", ".join(f"{name} {row['floats'] / row[name]:.1f} times as fast as floats" for name in schemes))

# %% [markdown]
# Two things set the time of a layer. One is fetching its weights: for a single token little else is to do, and fewer bytes
# help. The other is arithmetic: the more tokens use the same weights, the more it counts, and the more it matters whether the
# processor has instructions for integers, and how often a kernel has to unpack what is packed.
#
# ## The whole agent, in ONNX Runtime
#
# A thousand steps that nobody trained on, half of them spoken, each answered from a bundle: three graphs, a tokenizer, nothing
# of PyTorch. `autoglm-lab compress --recipe int8 --out small; autoglm-lab export --model small --tasks 500 --out bundle` makes one
# and measures it beside the agent with floats, in turns, in the same runtime.

# %%
from autoglm_lab.measure.report import read_reports
from autoglm_lab.paths import data_dir

known = read_reports(data_dir() / "reports" / "onnx")
for name in ("whole", "int8", "int8_static", "int4"):
    print(known[name])
faster = {name: known[name].whole_ms / known[name].answer_ms for name in ("int8", "int8_static", "int4")}
bars("A whole answer, beside floats in the same runtime", {"speed": faster}, "times faster", digits=2)

# %% [markdown]
# ## A picture in integers
#
# Why is `int8_static` ahead? In `int8` a matrix rounds its input when it comes, by the largest value that is in it, and convolutions
# are stored as bytes but computed with floats. Where ranges are known beforehand, everything between two convolutions can stay in
# bytes. The runtime's own quantiser does it: batch norms go into the weights, screens give the ranges, and the runtime puts what
# stands between two roundings together into one integer operator.

# %%
from autoglm_lab.export.convolutions import integer_convolutions, runtime_nodes
from autoglm_lab.export.graphs import SeenGraph
from autoglm_lab.runtime.features import image_features

screens = [image_features(lab.SimulatedPhone(seed=seed).screenshot())[None] for seed in range(24)]
given = {"pixel_values": torch.from_numpy(screens[0])}
seeing = {"floats": onnx_module(SeenGraph(model), given, outputs=["key_0", "value_0", "key_1", "value_1"])}
seeing["integers"] = integer_convolutions(seeing["floats"], screens[:16])
for name, file in seeing.items():
    nodes = runtime_nodes(file)
    print(
        f"{name:9} {len(file) / 1e6:.1f} MB, {sum(nodes.values())} nodes are run, {nodes['QLinearConv']} convolutions with integers"
    )

# %%
sight = {name: onnxruntime.InferenceSession(file, options) for name, file in seeing.items()}
feed = {"pixel_values": screens[20]}
keys = {name: session.run(["key_0"], feed)[0] for name, session in sight.items()}
took = paired({name: partial(session.run, None, feed) for name, session in sight.items()}, runs=30)
apart = np.linalg.norm(keys["integers"] - keys["floats"]) / np.linalg.norm(keys["floats"])
print(*(f"{name:9} {time}" for name, time in took.items()), sep="\n")
print(f"the keys of a screen that was not among the sixteen are {apart:.1%} apart")

# %% [markdown]
# ## A model nobody here wrote
#
# Prune, quantise, save, load: a Llama of random weights, in ten lines.

# %%
import tempfile
from pathlib import Path

from transformers import LlamaConfig, LlamaForCausalLM

from autoglm_lab import compress

foreign = LlamaForCausalLM(LlamaConfig(vocab_size=500, hidden_size=128, intermediate_size=256, num_hidden_layers=2,
                                       num_attention_heads=8, num_key_value_heads=4)).eval()  # fmt: skip
example = {"input_ids": torch.randint(0, 500, (1, 12)), "use_cache": False}
made, report = compress.apply(foreign, Recipe("third off, 4 bits", channels=0.33, bits=4), example)
with tempfile.TemporaryDirectory() as folder:
    compress.save(made, Path(folder) / "small")
    again = compress.load(LlamaForCausalLM(foreign.config), Path(folder) / "small").eval()
same = torch.equal(again(**example).logits, made(**example).logits)
print(
    f"{sum(4 * p.numel() for p in foreign.parameters()) / 1e3:,.0f} kB -> {report.bytes / 1e3:,.0f} kB; comes back as it was: {same}"
)
assert same

# %% [markdown]
# ## Exercise 1: codes
#
# Symmetric codes for a whole array: the largest magnitude becomes the largest code, and what lies between is rounded.


# %% tags=["exercise"]
def to_codes(x, bits):
    """Whole numbers from -(2 ** (bits - 1) - 1) to 2 ** (bits - 1) - 1, of the shape of x."""
    # <solution>
    top = 2 ** (bits - 1) - 1
    return np.round(x / (np.abs(x).max() / top)).astype(int)
    # </solution>
    # <stub> return None  # the scale first, then round


# %%
lab.check("05.to_codes", to_codes)

# %% [markdown]
# ## Exercise 2: two weights in a byte
#
# `codes` holds numbers from 0 to 15. Put two by two into bytes, the first of each pair in the low half. If one is left
# over, zero keeps it company.


# %% tags=["exercise"]
def pack4(codes):
    """An array of uint8, half as long as codes (rounded up)."""
    # <solution>
    even = np.append(codes, [0] * (len(codes) % 2)).astype(int)
    return (even[0::2] + 16 * even[1::2]).astype(np.uint8)
    # </solution>
    # <stub> return None  # even places, odd places, sixteen


# %%
lab.check("05.pack4", pack4)

# %% [markdown]
# ## What was simulated, what was real
#
# Bytes, errors and right steps are those of the real agent. In PyTorch its integers are unpacked to floats before they are
# multiplied; in ONNX Runtime they are multiplied as they are, and the last two pictures are times of real kernels: the first
# of this machine, the second of the machine that made the reports. Convolutions are stored as integers; those that see are computed
# with them where ranges are known, as in `int8_static`, all others with floats.
#
# ## To take away
#
# 1. A code is a rounded quotient; the error is at most half a scale, so the whole art is to keep scales small.
# 2. Small scales mean few weights under each: groups cost bytes and save accuracy.
# 3. Weights alone make a model smaller; weights and inputs together, and a kernel for them, make it faster.
