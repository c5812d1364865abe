# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: train a model on the grid it will live on, and get back what rounding took
# ---

# %% [markdown]
# # 06 Quantisation-aware training
#
# After this chapter you can
#
# - let a gradient pass a rounding, and say why that lie works,
# - train weights and scales together, on the grid of the finished model,
# - find the layers that cannot bear few bits, and spare them or train them,
# - show that what was trained is, to the bit, what is stored.
#
# Rounding a trained model costs little at eight bits and much at two. Here the model learns to live with it.

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

from autoglm_lab.training.batch import BatchEngine
from autoglm_lab.training.evaluation import World, answer_rate, typed_requests

model, processor = engine.model, engine.processor
many, requests = BatchEngine(model, processor), typed_requests(World(seed=7), 16)


def loss(changed):
    """Cross-entropy of the right answers to steps that nobody trained on."""
    with torch.inference_mode():
        return float(many.loss(requests, changed, batch=8))


def right_steps(changed):
    return 100 * answer_rate(BatchEngine(changed, processor), requests, "right", batch=8).rate


whole = loss(model)
print(f"loss {whole:.3f}, {right_steps(model):.0f} % of the steps right")

# %% [markdown]
# ## Predict
#
# The matrices that think and that look go down to two bits: every weight is minus one, zero or one, times a scale. Rounded
# without training, then trained for a few seconds on that grid: how much of the lost ground comes back?

# %%
my_guess = None  # per cent of what rounding added to the loss

# %% [markdown]
# ## The staircase and the ramp
#
# A rounding is a staircase: flat everywhere, so its gradient is zero and nothing can be learned through it. The **straight-through**
# estimator computes the staircase forwards and pretends, backwards, that it was a ramp. Where a value is clipped, the ramp ends.

# %%
from autoglm_lab.widgets.charts import guessed, lines


def round_straight_through(x, scale, bits):
    """Forwards a staircase, backwards a ramp."""
    top = 2 ** (bits - 1) - 1
    codes = x / scale
    codes = codes + (codes.round() - codes).detach()
    return scale * codes.clamp(-top, top)


x = torch.linspace(-2, 2, 201, requires_grad=True)
y = round_straight_through(x, torch.tensor(0.5), 3)
y.sum().backward()
lines(
    "Three bits, scale one half",
    {"value": (x.tolist(), y.tolist()), "gradient that is used": (x.tolist(), x.grad.tolist())},
    "x",
    "rounded",
)

# %% [markdown]
# Does the package do the same, in value and in gradient? And PyTorch?

# %%
from autoglm_lab.compress.qat import fake_quantize
from autoglm_lab.compress.quantization import Scheme

theirs = x.detach().clone().requires_grad_()
rounded = fake_quantize(theirs[None], torch.full((1, 1), 0.5), torch.zeros(1, 1), Scheme(3, granularity="tensor"))[0]
rounded.sum().backward()
torchs = torch.fake_quantize_per_tensor_affine(x.detach(), 0.5, 0, -3, 3)
print("values:", torch.equal(rounded, y), torch.allclose(torchs, y), " gradients:", torch.equal(theirs.grad, x.grad))
assert torch.equal(rounded, y) and torch.equal(theirs.grad, x.grad)

# %% [markdown]
# ## A weight that learns where to stand
#
# The smallest example there is: one weight, a grid of step one, and a target between two grid points. The float underneath
# gathers small pushes until the rounded weight jumps; it ends up swinging about the border, and its mean is the target.

# %%
weight, target, path = torch.tensor([0.2], requires_grad=True), 0.7, []
for _ in range(120):
    seen = round_straight_through(weight, torch.tensor(1.0), 3)
    (0.5 * (seen - target) ** 2).sum().backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad = None
    path.append((weight.item(), seen.item()))
under, on_grid = zip(*path, strict=True)
lines("One weight on a grid", {"the float underneath": (range(120), under), "on the grid": (range(120), on_grid)}, "step", "value",
      f"The weight ends between {min(on_grid[60:]):.0f} and {max(on_grid[60:]):.0f}; its mean is {np.mean(on_grid[60:]):.2f}, the target {target}.")  # fmt: skip

# %% [markdown]
# ## Which layers cannot bear it?
#
# Round one block at a time to two bits, with one scale for each output channel, and look at the loss.

# %%
from autoglm_lab.compress.qat import convert, prepare
from autoglm_lab.compress.sensitivity import scan
from autoglm_lab.widgets.charts import bars

TWO = Scheme(2, granularity="channel")
linears = [name for name, module in model.named_modules()
           if type(module) is torch.nn.Linear and name.startswith(("layers.", "gated."))]  # fmt: skip
blocks = sorted({name.rsplit(".", 1)[0] for name in linears})


def on_two_bits(changed, *parts):
    """A copy with the matrices of some blocks on the grid of two bits."""
    return convert(prepare(changed, TWO, select=lambda name: name in linears and name.startswith(parts), quiet=True))


found = scan(model, blocks, (2,), lambda changed, block, _bits: on_two_bits(changed, block), loss)
bars("Two bits in one block alone", {"rise": {block: row[2] for block, row in found.rises().items()}}, "rise of the loss", digits=3)

# %% [markdown]
# Most of this agent does not mind two bits at all. Two ways to deal with the few blocks that do: spare them, or train them.
#
# ## Round, spare, or train
#
# `prepare` puts every chosen layer on its grid: forwards it computes with rounded weights, backwards the floats underneath and
# the scales learn. Only the touchy blocks learn here; the rest is rounded and stays.

# %%
import tempfile
from pathlib import Path

from autoglm_lab.compress.files import stored_bytes
from autoglm_lab.training.build import few_scenes
from autoglm_lab.training.recovery import Recovery

touchy = tuple(found.ranking()[:2])
print("touchy:", ", ".join(touchy))


def tell(name, made):
    print(
        f"{name:20} {stored_bytes(made, half=True) / 1e6:5.1f} MB, loss {loss(made):.3f}, {right_steps(made):.0f} % of the steps right"
    )


everywhere = on_two_bits(model, *blocks)
tell("as floats", model)
tell("all rounded", everywhere)
tell("touchy ones spared", on_two_bits(model, *(block for block in blocks if block not in touchy)))
rounded_loss = loss(everywhere)
del everywhere

# %%
curve = [rounded_loss]
learning = prepare(model, TWO, select=lambda name: name in linears)
for name, parameter in learning.named_parameters():
    parameter.requires_grad_(name.startswith(touchy))


def look(row):
    if row["step"] % 10 == 0:
        curve.append(loss(learning.train(False)))
        learning.train()


with tempfile.TemporaryDirectory() as folder:
    Recovery(few_scenes(Path(folder), scenes=32), steps=40, learning_rate=1.5e-3, pictures=2, copies=2, teacher=model, bfloat16=False,
             on_step=look)(learning)  # fmt: skip

# %%
steps, back = [10 * number for number in range(len(curve))], 100 * (curve[0] - curve[-1]) / (curve[0] - whole)
expected = None if my_guess is None else curve[0] - (curve[0] - whole) * my_guess / 100
lines(
    "Two bits, trained on the grid",
    {"on the grid": (steps, curve), "as floats": ([0, steps[-1]], [whole, whole]), "your guess": (steps[-1:], [expected])}, "training step",
    "loss on unseen steps", f"{back:.0f}% of what rounding added is gone after {steps[-1]} steps; {guessed(my_guess, '{}%')}.",
)  # fmt: skip

# %%
trained = convert(learning)
tell("trained on the grid", trained)

# %% [markdown]
# ## What was trained is what is stored
#
# `convert` packs the very codes and scales the training ended with. The finished model has no floats to fall back on, and
# computes what the learning one computed:

# %%
from autoglm_lab.compress.qat import scales

example = engine.example()
with torch.inference_mode():
    difference = float((learning.train(False)(**example).logits - trained(**example).logits).abs().max())
first = next(iter(scales(trained)))
print(f"largest difference of any score: {difference:.1e}")
print(f"{first}: {scales(trained)[first]['scale'].numel():,} learned scales, stored as they were learned:",
      torch.equal(scales(trained)[first]["scale"], scales(learning)[first]["scale"]))  # fmt: skip
print(
    f"stored: {stored_bytes(model, half=True) / 1e6:.1f} MB as 16-bit floats, {stored_bytes(trained, half=True) / 1e6:.1f} MB trained"
)
assert difference < 1e-3

# %% [markdown]
# ## Thorough training, and everything together
#
# The same two bits, for every layer of the agent and for longer: `autoglm-lab compress --recipe int2 --steps 400 --rate 0.0005 --thoughts 4 --tasks 500`.

# %%
from autoglm_lab.measure.report import read_reports
from autoglm_lab.paths import data_dir

rounded = read_reports(data_dir() / "reports" / "compared")["int2_rounded"]
for report in (read_reports()["whole"], rounded, read_reports()["int2"]):
    print(report)

# %% [markdown]
# A runtime has to have kernels for what was trained. ONNX Runtime multiplies groups of two, four or eight bits block by block,
# and whole channels as they are, so an agent can be measured in it, from a bundle with everything it needs. Here are those
# that were, on one plane. Nothing beats those on the line. Choose one, by mouse or with the arrow keys, to load its recipe.

# %%
from autoglm_lab.compress.recipe import Recipe, apply, named

known = read_reports(data_dir() / "reports" / "onnx")


def recipe(report):
    return Recipe() if report.name == Recipe().name else named(report.name)


plane = lab.widgets.pareto(list(known.values()), lambda report: f"loaded: {recipe(report).to_json()}")
plane.choose("int4")
plane

# %% [markdown]
# Chosen for you was `int4`. A recipe that only rounds weights is applied in a moment; one that asks examples, cuts channels or
# trains takes longer, and 2 GB (see `autoglm-lab compress --help`). There is a dial, too: say what fits, and get the recipe with the most success.

# %%
mine = recipe(plane.report)
if mine.bits < 16 and not (mine.channels or mine.train_rounding or mine.wants_examples):
    small, report = apply(model, mine, example, half=True)
    print(f"{report}; {right_steps(small):.0f} % of the {len(requests)} steps above are right")
print(f"the best within 12 MB: {Recipe.for_budget(megabytes=12).name}, within 20 ms: {Recipe.for_budget(milliseconds=20).name}")

# %% [markdown]
# ## Exercise 1: on the grid
#
# The nearest value of a symmetric grid, as floats. What lies outside goes to the last grid point.


# %% tags=["exercise"]
def fake(x, scale, bits):
    """An array like x."""
    # <solution>
    top = 2 ** (bits - 1) - 1
    return scale * np.clip(np.round(x / scale), -top, top)
    # </solution>
    # <stub> return None  # divide, round, clip, multiply


# %%
lab.check("06.fake_quantize", fake)

# %% [markdown]
# ## Exercise 2: straight through
#
# `gradient` is that of the rounded values. What is handed on to `x`?


# %% tags=["exercise"]
def backwards(gradient, x, scale, bits):
    """An array like gradient."""
    # <solution>
    top = 2 ** (bits - 1) - 1
    return gradient * (np.abs(np.round(x / scale)) <= top)
    # </solution>
    # <stub> return None  # a ramp, where it has not ended


# %%
lab.check("06.straight_through", backwards)

# %% [markdown]
# ## What was simulated, what was real
#
# The grid, the training and the losses are real; a few seconds of training show the direction, not the end of the road:
# `autoglm-lab compress --recipe int2 --steps 2000 --out two`. The packed model unpacks its codes to floats before it multiplies;
# a runtime with kernels for few bits would not.
#
# ## To take away
#
# 1. Forwards the truth, backwards a useful lie: that is all there is to training on a grid.
# 2. Scales can learn like weights, and they are worth more than any rule for choosing them.
# 3. Train on the grid that ships, or the phone gets a model nobody trained.
