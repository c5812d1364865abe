# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: take weights and whole channels out of a model, and find out which of them it needs
# ---

# %% [markdown]
# # 03 Pruning
#
# After this chapter you can
#
# - zero the least weights of a model and say what that does to its answers, its file and its speed,
# - find out which layers bear it and which do not, and spread a budget over them,
# - see which channels can only go together, and why,
# - take channels out so that the network is really smaller, let the others speak for them, and train it back.
#
# The agent has many weights. Does it need them all?

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

from autoglm_lab.training.batch import BatchEngine
from autoglm_lab.training.evaluation import World, answer_rate, typed_requests

model, processor = engine.model, engine.processor
requests = typed_requests(World(seed=3), 18)


def right_steps(changed):
    return 100 * answer_rate(BatchEngine(changed, processor), requests, "right", batch=8).rate


print(f"{right_steps(model):.1f} % of {len(requests)} steps are right")

# %% [markdown]
# ## Predict
#
# Half of all weights, those of least magnitude, become zero. Nothing is trained afterwards. How many steps are still right?

# %%
my_guess = None  # per cent

# %% [markdown]
# ## By hand


# %%
def prune_by_magnitude(weight, share):
    """The weight with the `share` of least magnitude set to zero."""
    threshold = weight.abs().flatten().kthvalue(max(1, round(share * weight.numel()))).values
    return weight * (weight.abs() > threshold)


print(prune_by_magnitude(torch.tensor([[0.1, -2.0, 0.3], [-0.2, 1.0, 0.05]]), 0.5))

# %% [markdown]
# The package does the same for a whole model, with one threshold for all layers or one for each. Do the two agree?

# %%
from autoglm_lab.compress.sparsity import compressed_bytes, magnitude_masks, prune

name = "layers.0.mlp.down_proj.weight"
weight = model.get_parameter(name).detach()
mine = prune_by_magnitude(weight, 0.5)
theirs = magnitude_masks(model, 0.5, scope="layer").keep[name] * weight
differ = weight[(mine == 0) != (theirs == 0)].abs()
print(f"zeros: {(mine == 0).float().mean():.4%} by hand, {(theirs == 0).float().mean():.4%} in the package")
print(f"{len(differ)} of {weight.numel():,} weights differ, all of one magnitude: {differ.unique().tolist()}")
assert len(differ.unique()) <= 1

# %% [markdown]
# The weights were stored in 16 bits, so many are exactly alike. A threshold takes all that lie on it; the package counts, and
# takes as many as were asked for.

# %%
from autoglm_lab.widgets.charts import bars, guessed, lines

shares = (0.0, 0.3, 0.5, 0.7)
success = [right_steps(prune(model, magnitude_masks(model, share, scope="global")) if share else model) for share in shares]
at_half = success[shares.index(0.5)]
lines(
    "Right steps without retraining", {"measured": (shares, success), "your guess": ([0, 0.5], [success[0], my_guess])},
    "share of zeros", "right steps, %",
    f"With half of the weights zero {at_half:.0f}% of the steps are right; {guessed(my_guess, '{:.0f}%')}.",
)  # fmt: skip

# %% [markdown]
# ## What a zero is worth
#
# The matrix keeps its shape, and a dense kernel multiplies by zero as diligently as by anything else. Zeros pay only where
# something skips them: a compressed file, for instance.

# %%
from concurrent.futures import ThreadPoolExecutor

from autoglm_lab.measure.timing import paired

half = prune(model, magnitude_masks(model, 0.5, scope="global"))
example = engine.example()


def forward_times(inputs, **models):
    """Of each model, the time of one forward pass."""
    with torch.inference_mode():
        return paired({name: lambda one=one: one(**inputs) for name, one in models.items()})


for name, timing in forward_times(example, whole=model, half_zero=half).items():
    print(f"forward pass, {name}: {timing}, {torch.get_num_threads()} threads")
with ThreadPoolExecutor() as pool:
    whole_bytes, half_bytes = pool.map(compressed_bytes, (model, half))
print(f"file, deflated: {whole_bytes / 1e6:.1f} MB whole, {half_bytes / 1e6:.1f} MB with zeros")
del half

# %% [markdown]
# ## Which layers bear it?
#
# Prune one layer at a time and look at the loss of the right answers: quicker than answering, and finer than right or wrong.

# %%
from autoglm_lab.compress.sensitivity import scan
from autoglm_lab.compress.sparsity import masks_by_layer

many, few = BatchEngine(model, processor), requests[:16]
layers = [f"layers.{i}.{part}" for i in range(4) for part in ("self_attn.o_proj", "mlp.gate_up_proj")]


def loss(changed):
    with torch.inference_mode():
        return float(many.loss(few, changed, batch=8))


found = scan(model, layers, (0.5, 0.9), lambda m, layer, share: prune(m, masks_by_layer(m, {layer: share})), loss)

# %%
rises = found.rises()
bars("What pruning one layer costs", {f"{share:.0%} zeros": {layer: rises[layer][share] for layer in layers} for share in (0.9, 0.5)},
     "rise of the loss", digits=2)  # fmt: skip

# %% [markdown]
# Some layers hardly notice, others are hurt at once. So spread the zeros, most where they cost least. Does that pay? Costs were
# measured one layer at a time, and what two layers lose together need not be the sum.

# %%
sizes = {layer: model.get_submodule(layer).weight.numel() for layer in layers}
uneven = found.budget(sizes, saved=0.7)
even = dict.fromkeys(layers, 0.7)
for title, chosen in (("the same share everywhere", even), ("spread by the scan", uneven)):
    zeros = sum(chosen[layer] * sizes[layer] for layer in layers) / sum(sizes.values())
    print(
        f"{title}: {zeros:.0%} zeros in these matrices, {right_steps(prune(model, masks_by_layer(model, chosen))):.0f} % of the steps right"
    )

# %% [markdown]
# ## Your turn: cross the line
#
# The bar for all layers sets one threshold; the bars below it belong to one layer each. Cross the line: four of five of these
# weights zero, and the loss no more than half above what it was.

# %%
weights = {layer: model.get_submodule(layer).weight.detach().numpy() for layer in layers[:8]}


def measure(shares):
    return {"loss": loss(prune(model, masks_by_layer(model, {layer: min(share, 0.99) for layer, share in shares.items()})))}


dial = lab.widgets.sparsity(weights, measure)
dial

# %%
zeros = sum(share * sizes[layer] for layer, share in dial.shares.items()) / sum(sizes[layer] for layer in dial.shares)
rise = measure(dial.shares)["loss"] / found.base - 1
print(f"{zeros:.0%} zeros, loss {rise:+.0%}: you are {'across' if zeros >= 0.8 and rise <= 0.5 else 'not across yet'}")

# %% [markdown]
# ## Channels that go together
#
# To be faster a network has to be smaller: whole channels have to go. But a channel is written by one layer and read by
# others, and some travel in company. Drop ink into one channel of a layer's output and see where it comes out. NaN makes a
# good ink: it survives every sum, product and activation. Here it runs through a small language model nobody trained.

# %%
from collections import Counter

from transformers import GlmConfig, GlmForCausalLM

from autoglm_lab.compress.groups import trace

tiny = GlmForCausalLM(GlmConfig(vocab_size=64, hidden_size=32, intermediate_size=24, num_hidden_layers=1, num_attention_heads=4,
                                num_key_value_heads=2, head_dim=8, pad_token_id=0))  # fmt: skip


def show(groups):
    """One group of each family, and how many are like it."""
    for family, count in Counter(group.family for group in groups).items():
        print(f"{count:4} like: {next(group for group in groups if group.family == family)}")


show(trace(tiny, {"input_ids": torch.randint(1, 64, (1, 4)), "use_cache": False}))

# %% [markdown]
# Nobody told it about grouped queries: a key/value head goes with all the query heads that read it. Nor about the fused
# projection: a neuron has a row in each half of `gate_up_proj`.
#
# Now the agent. With a request of words alone the ink stays in its decoder, which runs once for every token of an answer.
# (`autoglm-lab compress` sends it through eyes and ears as well, which takes longer; a bar shows how far it is.)

# %%
words = {name: example[name] for name in ("input_ids", "attention_mask", "use_cache")}
groups = trace(model, words)
show(groups)

# %% [markdown]
# ## A latency puzzle
#
# Half of the decoder's attention goes, or half of its neurons. Which cut saves more time? Which hurts more? Look at where the
# work is, and write down your guess before you run the cell after next.

# %%
from autoglm_lab.compress.structured import layer_macs, prune_structured

work = Counter()
for name, macs in layer_macs(model, words).items():
    work["attention" if "self_attn" in name else "neurons" if "mlp" in name else "head"] += macs / 1e6
bars("Where the work is", {"MACs": dict(work.most_common())}, "million multiply-accumulates for a dozen words")

# %%
my_pick = "attention"  # attention or neurons: which cut saves more time?

# %%
saved, hurt = {"work": {}, "time": {}, "parameters": {}}, {}
for part, mark in (("attention", "self_attn"), ("neurons", "mlp")):
    inside = [group for group in groups if mark in group.family[0][0]]
    cut = None  # the one before makes room
    cut = prune_structured(model, words, 0.5 * work[part] / work.total(), groups=inside, quiet=True)
    times = forward_times(words, whole=model, cut=cut.model)
    saved["work"][part], saved["parameters"][part] = 100 * cut.saved["macs"], 100 * cut.saved["parameters"]
    saved["time"][part] = 100 * (1 - times["cut"].median_ms / times["whole"].median_ms)
    hurt[part] = loss(cut.model), right_steps(cut.model)
del cut

# %%
fastest = max(saved["time"], key=saved["time"].get)
bars("What each cut saves", saved, "% of the whole", f"Cutting {fastest} saves more time; you picked {my_pick}.")

# %%
for part, (loss_after, right_after) in hurt.items():
    print(f"without half of the {part}: loss {found.base:.3f} -> {loss_after:.3f}, {right_after:.0f} % of the steps right")

# %% [markdown]
# Work, time and bytes are three different things: a cut has to be chosen for one of them.
#
# ## Who goes?
#
# Two fifths of the decoder's work go, ranked over all its layers. By what? By the size of weights; by weights times gradients
# (Taylor); by gradients alone; or by what the loss of each request would feel without a channel, for each multiplication
# saved (Fisher). All but the first ask requests; here only two of them, so that they fit into little memory.

# %%
more = typed_requests(World(seed=4), 24)
costs = {"none gone": found.base}
for kind in ("fisher", "gradient", "taylor", "l1"):
    smaller = None  # the one before makes room
    smaller = prune_structured(model, words, 0.4, groups=groups, importance=kind, loss=lambda m: many.loss(more[:2], m), quiet=True)
    costs[kind] = loss(smaller.model)
bars("Two fifths of the decoder's work gone, nothing trained", {"loss": costs}, "loss of the right answers", digits=2)

# %% [markdown]
# Two requests say little about what others need; the size of a weight has seen all of the training. With 32 requests, and the
# whole agent to choose from, it is the other way round: that is how `channels45` below was cut.

# %% [markdown]
# ## What is left speaks for what went
#
# A neuron is seldom alone: others rise and fall with it. So, before anything is trained, let a layer that lost inputs read
# the others in such a way that its outputs on real requests change least. That is least squares: with $M$ the products of
# every two inputs, summed over requests, the new weights $v$ of a row solve $M_{kept,kept}\, v = M_{kept}\, w$. By hand, for a layer
# that loses every second input:

# %%
from autoglm_lab.compress.refit import input_moments, refit, refit_channels


def moments_of(layers):
    """The products of every two inputs of some layers, while the model reads the requests."""
    with torch.inference_mode():
        return input_moments(model, lambda m: many.loss(more, m, batch=8), layers)


name = "layers.1.mlp.down_proj"
moments = moments_of([name])
M, w = moments[name].double().numpy(), model.get_parameter(f"{name}.weight").detach().double().numpy()
M = M + 1e-3 * M.diagonal().mean() * np.eye(len(M))  # what the requests say nothing about stays as it was
kept = np.arange(0, len(M), 2)
by_hand = np.zeros_like(w)
by_hand[:, kept] = np.linalg.solve(M[np.ix_(kept, kept)], M[kept] @ w.T).T
stays = torch.zeros(w.shape, dtype=torch.bool)
stays[:, kept] = True
in_package = refit(torch.from_numpy(w), moments[name], stays).numpy()
print(f"by hand and in the package: {np.abs(by_hand - in_package).max():.0e} apart, weights are as large as {np.abs(w).max():.1f}")
assert np.allclose(by_hand, in_package, atol=1e-4)
for title, v in (("left out", w * stays.numpy()), ("spoken for", by_hand)):
    error = np.sqrt(np.einsum("oi,ij,oj", v - w, M, v - w) / np.einsum("oi,ij,oj", w, M, w))
    print(f"every second input {title}: outputs change by {error:.0%}")

# %% [markdown]
# The same for every layer of the decoder that lost inputs, in the last of the four cuts:

# %%
readers = {layer for group in groups for layer, side in group.parts if side == "in"}
fitted = refit_channels(smaller.model, model, smaller.removed, moments_of(readers))
print({name: f"-{share:.0%}" for name, share in smaller.saved.items()})
right = {}
for title, changed in (("whole", model), ("cut", smaller.model), ("refitted", fitted)):
    right[title] = right_steps(changed)
    print(f"{title:9} loss {loss(changed):.3f}, {right[title]:.0f} % of the steps right")

# %% [markdown]
# ## Train it back
#
# Every layer was fitted to what it used to read; but the layers before it have changed as well, and after a cut as deep as this
# one it shows. What least squares cannot mend, training may. The decoder trains for a moment on freshly drawn screens, with the whole agent
# as its teacher: gently, for a step that is too large undoes more than it mends.

# %%
import tempfile
from pathlib import Path

from autoglm_lab.training.build import few_scenes
from autoglm_lab.training.recovery import Recovery

curve = []
for name, parameter in fitted.named_parameters():
    parameter.requires_grad_(name.startswith("layers."))
with tempfile.TemporaryDirectory() as folder:
    Recovery(few_scenes(Path(folder), scenes=24), steps=30, learning_rate=5e-4, pictures=2, teacher=model, bfloat16=False,
             on_step=lambda row: curve.append(row["soft"]))(fitted)  # fmt: skip

# %%
lines("Finding back", {"distance to the teacher's answers": (list(range(1, len(curve) + 1)), curve)}, "training step", "divergence")

# %%
right["trained"], times = right_steps(fitted), forward_times(words, whole=model, cut=fitted)
print("right steps:", ", ".join(f"{share:.0f} % {title}" for title, share in right.items()))
print(f"a dozen words: {times['whole']} whole, {times['cut']} cut")

# %% [markdown]
# ## Thorough training
#
# Thirty steps show the direction. These were refitted and trained for longer, with eyes and ears, and then measured on steps
# that nobody trained on, half of them spoken. What each line says after the times goes into the command that made it:
# `autoglm-lab compress --recipe channels45 --steps STEPS --rate RATE --tasks 500 --out small`.

# %%
from autoglm_lab.measure.report import read_reports

known = read_reports()
for name in ("whole", "sparse80", "channels45"):
    print(known[name])
fewer, dense = known["channels45"], known["whole"]
print(f"channels45: {1 - fewer.macs / dense.macs:.0%} of the multiply-accumulates gone; a forward pass is "
      f"{fewer.whole_forward_ms / fewer.forward_ms:.2f} times faster, a whole answer {fewer.whole_ms / fewer.answer_ms:.2f} times")  # fmt: skip

# %% [markdown]
# An answer gains less than a forward pass: it writes one token after the other, and PyTorch's calling of kernels, which takes
# as long for a narrow layer as for a wide one, counts for more the less there is to compute. Here is the same agent in ONNX
# Runtime, which calls fewer, beside the whole one in the same runtime. (Its channels went in packs of sixteen: as many
# numbers as the widest registers of today's processors hold.)

# %%
from autoglm_lab.paths import data_dir

cut = read_reports(data_dir() / "reports" / "onnx")["channels45"]
print(cut)
print(f"in {cut.runtime} the first token comes {cut.whole_first_token_ms / cut.first_token_ms:.2f} times faster, "
      f"a whole answer {cut.whole_ms / cut.answer_ms:.2f} times")  # fmt: skip
print(
    f"gone: {1 - cut.macs / dense.macs:.0%} of the multiply-accumulates, {1 - cut.parameters / dense.parameters:.0%} of the weights"
)

# %% [markdown]
# Up to the first token an agent looks, hears and reads: there multiply-accumulates count. Every token after it waits for the
# decoder's weights to come from memory, and fewer of those went. A cut is chosen for one of the two: this one was chosen for
# multiply-accumulates.
#
# `answers40` was chosen for answers. What losing a channel does to the loss is divided by what it saves of a **whole answer**: its
# multiply-accumulates before the first token, and for each of some tokens after it (`Recipe(answer=...)`) the weights of the decoder once
# more. A weight takes as long to come from memory as many multiply-accumulates. Fewer multiply-accumulates go, and more weights:

# %%
from autoglm_lab.compress.recipe import named
from autoglm_lab.compress.structured import READ

print(f"priced for {named('answers40').answer} tokens, each weight that they read as {READ} multiply-accumulates")
told = read_reports(data_dir() / "reports" / "onnx")
for name in ("channels45", "answers40"):
    cut = told[name]
    print(f"{name}: {cut.success:.1%} right, gone {1 - cut.macs / dense.macs:.0%} of the MACs, {1 - cut.parameters / dense.parameters:.0%} of "
          f"the weights; first token {cut.whole_first_token_ms / cut.first_token_ms:.2f} times faster, "
          f"whole answer {cut.whole_ms / cut.answer_ms:.2f} times")  # fmt: skip

# %% [markdown]
# The first token comes later than with the other cut, the answer is whole sooner. The price list decides.

# %% [markdown]
# ## Beside another tool
#
# Torch-Pruning finds groups of channels by following gradients. Both tools took half of some small untrained networks. A cut is
# exact if the smaller network answers as the whole one does when nothing reads the channels that went. Half is half of the work here
# and half of the channels there. Torch-Pruning was called in one general way, with ten seconds for a network: where it fails, settings
# made for that network by hand may do better.

# %%
import csv

with (data_dir() / "reports" / "peers" / "pruning.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
print(f"{'':20} here            Torch-Pruning")
for row in rows:
    verdicts = {}
    for tool in ("here", "torch_pruning"):
        works, exact = (row[f"{tool}_{what}"] == "True" for what in ("works", "exact"))
        gone = f"-{float(row[f'{tool}_parameters_gone']):.0%}"
        verdicts[tool] = f"{gone} {'exact' if exact else 'differs'}" if works else "fails"
    print(f"{row['architecture']:20} {verdicts['here']:15} {verdicts['torch_pruning']}")
for tool in ("here", "torch_pruning"):
    print(f"{tool}: {sum(row[f'{tool}_exact'] == 'True' for row in rows)} of {len(rows)} architectures exact")

# %% [markdown]
# ## Exercise 1: the mask
#
# `weight` is an array of any shape. Which weights stay when the `share` of least magnitude goes? One threshold for the
# whole array; the number that goes is `share * weight.size`, rounded.


# %% tags=["exercise"]
def keep_mask(weight, share):
    """True where a weight stays."""
    # <solution>
    order = np.argsort(np.abs(weight), axis=None)
    keep = np.ones(weight.size, bool)
    keep[order[: round(share * weight.size)]] = False
    return keep.reshape(weight.shape)
    # </solution>
    # <stub> return None  # sort by magnitude, drop the first ones


# %%
lab.check("03.keep_mask", keep_mask)

# %% [markdown]
# ## Exercise 2: the company of a key/value group
#
# `heads` query heads share `groups` keys and values, and every head is `head_dim` rows of the query projection. Which rows
# go when key/value group number `group` goes?


# %% tags=["exercise"]
def query_rows(group, heads, groups, head_dim):
    """The numbers of the rows, in order."""
    # <solution>
    each = heads // groups
    return list(range(group * each * head_dim, (group + 1) * each * head_dim))
    # </solution>
    # <stub> return None  # which heads read this group, and where do their rows lie?


# %%
lab.check("03.query_rows", query_rows)

# %% [markdown]
# ## What was simulated, what was real
#
# The agent, its weights, the cuts and the training are real, and so are the times: of this machine, of one request, with
# the threads printed above. The few steps of training here only show the direction; a real recovery takes hundreds.
#
# ## To take away
#
# 1. A zero saves nothing by itself: it pays where something skips it, in a file or in a kernel made for it.
# 2. Channels go in company, and the company can be found by letting ink run through the network.
# 3. Measure what you want to save, because work, time and bytes go different ways.
# 4. What is left can be told to speak for what went, by least squares, before anybody trains; then train gently.
