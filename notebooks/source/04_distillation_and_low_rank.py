# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: teach a smaller model what a larger one knows, and write big matrices as products of thin ones
# ---

# %% [markdown]
# # 04 Distillation and low rank
#
# After this chapter you can
#
# - soften a teacher's scores with a temperature, and say what the second-best answers are worth,
# - make a student from its teacher, train it with and without him, and compare the two,
# - write a matrix as two thin ones, choose the rank by energy or by budget, and fit it to what flows through,
# - let layers share their weights.
#
# Two ways to a smaller agent. One teaches a small model to speak like a large one; the other looks for a small model inside
# the weights of the large one.

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

from autoglm_lab.training.batch import BatchEngine
from autoglm_lab.training.evaluation import World, typed_requests

teacher, processor = engine.model, engine.processor
many, requests = BatchEngine(teacher, processor), typed_requests(World(seed=5), 16)


def loss(changed):
    """Cross-entropy of the right answers to steps that nobody trained on."""
    with torch.inference_mode():
        return float(many.loss(requests, changed, batch=8))


whole = loss(teacher)
print(f"the teacher: {sum(p.numel() for p in teacher.parameters()) / 1e6:.1f} million parameters, loss {whole:.3f}")

# %% [markdown]
# ## Predict
#
# The student gets two of the teacher's four decoder layers and a few seconds of training. Who learns faster: the one that
# sees the right answers, or the one that also sees how the teacher hesitates? By how much will their losses differ?

# %%
my_guess = None  # loss without the teacher, less loss with him

# %% [markdown]
# ## What a teacher knows
#
# Ask the teacher to open an app and look at the scores behind the first digit of the place it taps. The right answer wins; but
# places nearby are not as wrong as places far away, and the teacher knows it. A temperature makes that audible.

# %%
phone = lab.SimulatedPhone(seed=5)
inputs = many.inputs([request for request in requests if request.wanted.name == "Tap"][:1])
tap = processor.tokenizer.encode('do(action="Tap", element=[')
with torch.inference_mode():
    full = dict(inputs) | {"input_ids": torch.cat((inputs["input_ids"], torch.tensor([tap])), 1)}
    full["attention_mask"] = torch.ones_like(full["input_ids"])
    scores = teacher(**full, logits_to_keep=1).logits[0, -1].float()

# %%
from autoglm_lab.widgets.charts import bars, guessed, lines

best = scores.topk(6)
names = [processor.tokenizer.decode([token]) for token in best.indices.tolist()]
soft = {f"T = {t}": dict(zip(names, (100 * (scores / t).softmax(-1)[best.indices]).tolist(), strict=True)) for t in (1, 3, 5)}
bars("Where to tap: the six likeliest first coordinates", soft, "probability, %")

# %% [markdown]
# ## The loss, by hand
#
# Two distributions, softened alike. Their cross-entropy and their Kullback-Leibler divergence differ by the teacher's
# entropy, which no student can change: the gradients are equal. The squared temperature keeps their size.

# %%
from autoglm_lab.compress.distillation import kl_divergence, soft_cross_entropy

torch.manual_seed(0)
student_scores, teacher_scores, T = torch.randn(4, 9, requires_grad=True), torch.randn(4, 9), 3.0
p, q = (teacher_scores / T).softmax(-1), (student_scores / T).softmax(-1)
by_hand = (p * (p.log() - q.log())).sum(-1).mean() * T**2
divergence, crossed = kl_divergence(student_scores, teacher_scores, T), soft_cross_entropy(student_scores, teacher_scores, T)
gradients = [torch.autograd.grad(value, student_scores, retain_graph=True)[0] for value in (by_hand, divergence, crossed)]
print(f"by hand {by_hand:.6f}, package {divergence:.6f}; cross-entropy {crossed:.4f}, the same gradient:",
      all(torch.allclose(gradients[0], other, atol=1e-6) for other in gradients))  # fmt: skip
assert torch.allclose(by_hand, divergence, atol=1e-6)

# %% [markdown]
# ## A student from its teacher
#
# `drop_layers` copies the teacher and keeps some layers: the student starts as a teacher with holes, and not from nothing.
# A gated layer whose decoder layer goes moves to the last one that stays before it, if that place is free. Which two of the
# four should be left? Often every second one is taken; but it costs only a look at the loss to try them all.

# %%
from itertools import combinations

from autoglm_lab.compress.distillation import drop_layers

pairs = {pair: loss(drop_layers(teacher, pair)) for pair in combinations(range(4), 2)}
for pair in sorted(pairs, key=pairs.get):
    print(f"layers {pair[0]} and {pair[1]}: loss {pairs[pair]:.2f} before any training")

# %%
best = min(pairs, key=pairs.get)
student = drop_layers(teacher, best)
sizes = {name: sum(p.numel() for p in model.parameters()) / 1e6 for name, model in (("teacher", teacher), ("student", student))}
print(f"{sizes['student'] / sizes['teacher']:.0%} of the parameters, loss {loss(student):.2f} (teacher {whole:.2f})")

# %%
import copy
import tempfile
from pathlib import Path

from autoglm_lab.training.build import few_scenes
from autoglm_lab.training.recovery import Recovery

with tempfile.TemporaryDirectory() as folder:
    world = few_scenes(Path(folder), scenes=32)


def taught_by(who, steps=24):
    """The loss of a copy of the student on its way through some training."""
    made, curve = copy.deepcopy(student), [loss(student)]
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(name.startswith("layers."))  # eyes and ears stay as they are

    def look(row):
        if row["step"] % 8 == 0:
            curve.append(loss(made.train(False)))
            made.train()

    Recovery(world, steps=steps, learning_rate=6e-4, pictures=2, copies=2, teacher=who, bfloat16=False, on_step=look)(made)
    return curve


# %%
alone_curve, taught_curve = taught_by(None), taught_by(teacher)
steps = [8 * number for number in range(len(alone_curve))]
gain = alone_curve[-1] - taught_curve[-1]
expected = None if my_guess is None else alone_curve[-1] - my_guess
lines(
    "The same batches, with and without the teacher",
    {"right answers only": (steps, alone_curve), "and the teacher's scores": (steps, taught_curve), "your guess": (steps[-1:], [expected])},
    "training step", "loss on unseen steps", f"The teacher makes a difference of {gain:.2f}; {guessed(my_guess, '{:.2f}')}.",
)  # fmt: skip

# %% [markdown]
# The temperature may fall on the way, from soft hints to hard answers; and a student can be shown the teacher's hidden states as
# well as its scores. `Temperature` and `FeatureLoss` do that for any pair of models:

# %%
from autoglm_lab.compress.distillation import FeatureLoss, Temperature

cooling = Temperature(start=5.0, end=1.0)
print("temperature:", [cooling.at(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)])
narrow, wide = torch.randn(2, 6, 64), torch.randn(2, 6, 512)
print(
    f"distance of a narrow hidden state from a wide one, through a projection that is learned: {FeatureLoss([64], [512])([narrow], [wide]):.2f}"
)

# %% [markdown]
# ## Low rank
#
# A matrix is a sum of rank-one pieces, each as strong as its singular value. If a few carry most of the energy, two thin
# matrices do: `[O, I]` becomes `[O, r]` times `[r, I]`, and `O I` numbers become `r (O + I)`.

# %%
ffn = {
    name: layer for name, layer in teacher.named_modules() if name.startswith("layers.") and name.endswith("proj") and "mlp" in name
}
energy = {}
for name in list(ffn)[:2]:
    values = torch.linalg.svdvals(ffn[name].weight.detach()).square()
    kept = (100 * values.cumsum(0) / values.sum()).tolist()
    energy[name] = (list(range(1, len(kept) + 1, 8)), kept[::8])
chance = torch.linalg.svdvals(torch.randn(1536, 512)).square()
energy["noise of the same shape"] = (list(range(1, 513, 8)), (100 * chance.cumsum(0) / chance.sum()).tolist()[::8])
lines("How much of a matrix its first directions carry", energy, "rank", "energy kept, %")

# %%
from autoglm_lab.compress.low_rank import factorise, rank_for_budget, rank_for_energy

layer = ffn["layers.1.mlp.gate_up_proj"]
u, s, v = np.linalg.svd(layer.weight.detach().numpy(), full_matrices=False)
thin = factorise(layer, 64)
nearest = (u[:, :64] * s[:64]) @ v[:64]
print(f"package and NumPy agree to {np.abs(thin.weight.detach().numpy() - nearest).max():.1e}")
print(f"rank 64: {layer.weight.numel() / 1e3:.0f} K -> {(thin.up.numel() + thin.down.numel()) / 1e3:.0f} K parameters, "
      f"{1 - np.square(s[64:]).sum() / np.square(s).sum():.0%} of the energy")  # fmt: skip
print(
    "rank for 90 % of the energy:",
    rank_for_energy(layer.weight, 0.9),
    " for 40 % of the parameters:",
    rank_for_budget(1536, 512, 0.4),
)

# %% [markdown]
# A weight that is a little wrong matters only where something flows through it. Fit the factors to the layer's *outputs* on
# real inputs instead of to the weight, at the same size:

# %%
from autoglm_lab.compress.low_rank import factorise_layers, record_inputs

more = typed_requests(World(seed=6), 16)
with torch.inference_mode():
    flows = record_inputs(teacher, lambda model: many.loss(more, model, batch=8), most=384)
costs = {"weights": [], "outputs": []}
shares = (0.4, 0.2, 0.1)
for share in shares:
    for fitted, seen in (("weights", None), ("outputs", flows)):
        thinner = factorise_layers(teacher, share, select=lambda name: "mlp" in name, activations=seen, quiet=True)
        costs[fitted].append(loss(thinner))
lines(
    "Feed-forward matrices as two thin ones, nothing trained", {f"fitted to the {k}": ([100 * s for s in shares], v) for k, v in costs.items()},
    "parameters kept, %", f"loss (whole: {whole:.2f})",
)  # fmt: skip

# %% [markdown]
# ## Is it faster?
#
# Fewer multiplications, but two products instead of one. Whether that pays is measured, not argued.

# %%
from autoglm_lab.measure.timing import paired

rows = torch.randn(16, 512)
layers = {"one matrix": layer} | {f"rank {rank}": factorise(layer, rank) for rank in (256, 153, 64)}
with torch.inference_mode():
    times = paired({name: lambda made=made: made(rows) for name, made in layers.items()}, runs=60)
bars(f"A layer of 1536 x 512, 16 tokens, {torch.get_num_threads()} threads", {"median": {k: 1000 * t.median_ms for k, t in times.items()}},
     "microseconds", digits=0)  # fmt: skip

# %% [markdown]
# ## Sharing
#
# The cheapest matrix is one that is used twice. The agent's head *is* its embedding; whole layers can be shared, too: stored
# once, computed twice. Smaller, not faster, and without training not wise:

# %%
from autoglm_lab.compress.distillation import share_layers

shared = share_layers(teacher, {1: 0, 3: 2})
print("head and embedding are one:", teacher.lm_head.weight is teacher.embed_tokens.weight)
print(
    f"two layers of four stored: {sum(p.numel() for p in shared.parameters()) / 1e6:.1f} million parameters, loss {loss(shared):.2f}"
)

# %% [markdown]
# ## Thorough training
#
# These were measured on steps that nobody trained on, half of them spoken. A student needs its training: with the teacher
# (`autoglm-lab compress --recipe student --steps STEPS --rate RATE --tasks 500 --out small`) or without (`--alone`). With
# `--thoughts` it is shown what the teacher thinks as well, but only at the end: half the layers have to go ways of their own in
# between. Thin matrices that were fitted to their outputs (`--recipe rank40`) may need no training at all.

# %%
from autoglm_lab.measure.report import read_reports
from autoglm_lab.paths import data_dir

known = read_reports() | read_reports(data_dir() / "reports" / "compared")
for name in ("whole", "student", "student_alone", "rank40", "rank40_trained"):
    print(known[name])


def compare(text, mine, other):
    chance = (
        1.96 * sum(r.success * (1 - r.success) / r.n for r in (mine, other)) ** 0.5
    )  # 95 % of differences are smaller by chance
    print(f"{text}: {100 * (mine.success - other.success):+.1f} points; chance alone may give {100 * chance:.1f}")


compare(f"the student after {known['student'].steps} steps beside his teacher", known["student"], known["whole"])
compare("the same student with a teacher beside the one without", known["student"], known["student_alone"])
compare("thin matrices after training beside the same without", known["rank40_trained"], known["rank40"])

# %% [markdown]
# Training moves every weight, also those that were right: a high learning rate first destroys, and only many steps at a
# falling rate bring back what it destroyed. How much a model has lost says how far it has to move.

# %% [markdown]
# ## Exercise 1: soften
#
# Probabilities of each row of `scores`, softened by a temperature.


# %% tags=["exercise"]
def soften(scores, temperature):
    """[N, V] -> [N, V], each row sums to one."""
    # <solution>
    cooled = scores / temperature
    odds = np.exp(cooled - cooled.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)
    # </solution>
    # <stub> return None  # divide, then softmax


# %%
lab.check("04.soften", soften)

# %% [markdown]
# ## Exercise 2: the rank for an energy
#
# `singular_values` come in falling order. How many of them keep at least this share of the energy?


# %% tags=["exercise"]
def rank_for(singular_values, share):
    """A whole number from 1 to len(singular_values)."""
    # <solution>
    kept = np.cumsum(singular_values**2) / np.sum(singular_values**2)
    return int(np.argmax(kept >= share - 1e-12)) + 1
    # </solution>
    # <stub> return None  # squares, running sum, first place that is enough


# %%
lab.check("04.rank", rank_for)

# %% [markdown]
# ## What was simulated, what was real
#
# Teacher, students, factors, losses and times are real; the training is a few seconds of what a student needs. A student that
# is meant to work takes thousands of steps: `data/claims.csv` holds the command that made the one above.
#
# ## To take away
#
# 1. A teacher tells more than the right answer: how wrong each wrong one is. Whether that helps a student has to be measured,
#    with the same batches and steps.
# 2. Start a student from its teacher's own layers, and teach it with the same batches.
# 3. A low rank is a bet that little flows in most directions; the lower it is, the more it pays to ask the data and not the weight.
