# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: build the layer through which a language model sees and hears, and watch it turn noise down
# ---

# %% [markdown]
# # 02 Gated cross-attention
#
# After this chapter you can
#
# - write gated cross-attention in ten lines and match the real layer,
# - watch where the agent looks while it writes a coordinate,
# - blur the screen, add noise to the voice, and see each gate answer,
# - say what the gate is worth, and why the starting point of its weights decides whether it learns at all.
#
# The formula of the whole chapter, for a query `q` and one modality with keys `k` and values `v`:
#
# $$ \mathrm{out} = g \cdot \mathrm{attend}(q, k, v) + (1 - g) \cdot q, \qquad g = \sigma(W [q, \mathrm{attend}(q, k, v)] + b) $$
#
# The gate `g` is computed from what was asked *and* what was found, so it can notice that nothing useful was found.

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

model, processor = engine.model, engine.processor
layer = model.gated[str(model.config.gated_layers[-1])]["image"]
print(layer)

# %% [markdown]
# ## Predict
#
# The screen will be blurred until no icon can be told from another. What will the mean image gate do: stay, fall, or
# rise? And by how much, as a share of its value on a sharp screen?

# %%
my_guess = None  # the gate at the strongest blur, divided by the gate without blur

# %% [markdown]
# ## By hand, in ten lines


# %%
def gated_cross_attention(hidden, states, part):
    """[T, D] and [S, D] -> [T, D] and the gate [T]."""
    heads, width = part.heads, hidden.shape[-1]
    normed = part.query_norm(hidden)
    q, k, v = (
        x.unflatten(-1, (heads, -1)).transpose(0, 1) for x in (part.q_proj(normed), part.k_proj(states), part.v_proj(states))
    )
    weights = torch.softmax(q @ k.transpose(1, 2) / (width // heads) ** 0.5, dim=-1)
    attended = part.o_proj((weights @ v).transpose(0, 1).flatten(1))
    gate = torch.sigmoid(torch.cat((normed, attended), -1) @ part.gate_proj.weight.T + part.gate_proj.bias)
    return gate * attended + (1 - gate) * hidden, gate.squeeze(-1)


# %% [markdown]
# Does it do what the package's layer does? Same weights, same input, compared on a real screen, and in double precision, where
# rounding does not hide a mistake.

# %%
import copy

exact = copy.deepcopy(layer).double()
phone = lab.SimulatedPhone(seed=21)
screen = phone.screenshot()
with torch.inference_mode():
    inputs = processor(text="open Settings", images=screen)
    states = (model.encode_image(inputs["pixel_values"]) + model.image_position).double()
    hidden = model.embed(inputs["input_ids"]).double()
    mine, my_gate = gated_cross_attention(hidden[0], states[0], exact)
    theirs = exact(hidden, exact.remember(states, torch.ones(1, states.shape[1], dtype=torch.bool), torch.ones(1)))

# %%
difference = float((mine - theirs.hidden[0]).abs().max())
print(f"largest difference {difference:.1e}")
assert difference < 1e-6

# %% [markdown]
# ## Where does it look?
#
# Choose a token of the answer and a layer; the warm places are where the agent looked while it wrote this token. Move
# over the cells with the mouse or the arrow keys to read the values.

# %%
from autoglm_lab.model.trace import trace
from autoglm_lab.phone.screens import elements

seen = trace(engine, "open Settings", screen)
things = [(item.box, item.concept) for item in elements(phone.state) if item.concept]
lab.widgets.attention(screen, seen.tokens, seen.image_attention, names=things)

# %% [markdown]
# ## Blur the screen, drown the voice
#
# The left slider blurs the picture (in pixels of the 224-pixel input), the right one sets the speech-to-noise ratio of
# the spoken command, "launch Duolingo". Everything is computed anew each time: features, encoders, gates, answer. Nobody tells
# the model how noisy its input is; but in training every open gate had a small price, and it paid to be more open to what is
# clean than to what is spoilt. Watch the other gate, too: whom does a blind agent trust?

# %%
from autoglm_lab.phone.speech import SpeechBank, add_noise
from autoglm_lab.runtime.features import gaussian_blur, image_features

bank = SpeechBank.load()
voice = bank.waveform(bank.find("launch Duolingo", "en", np.random.default_rng(1)))
sharp = image_features(screen)


def look_and_listen(blur, snr_db):
    pixels = np.moveaxis(gaussian_blur(sharp, blur), 0, 2).clip(0, 1)
    noisy = add_noise(voice, snr_db, np.random.default_rng(0))
    return trace(engine, "", pixels, noisy), pixels


# %%
from PIL import Image

from autoglm_lab.widgets.gates_view import GateView


def compute(blur, snr_db):
    found, pixels = look_and_listen(blur, snr_db)
    gates = {"image": found.gates["image"].mean(0).tolist(), "speech": found.gates["audio"].mean(0).tolist()}
    picture = Image.fromarray((pixels * 255).astype(np.uint8)).resize((180, 400))
    return GateView(found.tokens, gates, picture, found.answer.text)


lab.widgets.gates(compute)

# %% [markdown]
# One screen proves little. Here is the mean over many phones and commands that were never trained on; each point is the
# mean gate over all tokens of the agent's own answers.

# %%
from autoglm_lab.training.batch import BatchEngine, gate_response

many = BatchEngine(model, processor)
response = gate_response(many, seed=1, count=32)
for modality, values in response.items():
    print(modality, values)

# %%
from autoglm_lab.widgets.charts import guessed, lines

blur, image_gates = [0, 2, 4, 8], list(response["image"].values())
ratio = image_gates[-1] / image_gates[0]
lines(
    "The image gate as the screen is blurred",
    {"measured": (blur, [gate / image_gates[0] for gate in image_gates]), "your guess": ([0, 8], [1, my_guess])},
    "blur, pixels", "mean image gate, share of that on a sharp screen",
    f"The image gate goes from {image_gates[0]:.2f} to {image_gates[-1]:.2f}, {ratio:.0%} of its first value; {guessed(my_guess, '{:.0%}')}.",
)  # fmt: skip

# %%
snr, speech_gates = ["clean", "10 dB", "0 dB"], list(response["speech"].values())
lines("The speech gate as noise is added", {"measured": ([40, 10, 0], speech_gates)}, "speech-to-noise ratio, dB (clean drawn at 40)",
      "mean speech gate")  # fmt: skip

# %% [markdown]
# These are the gates where an answer is chosen. The request itself is heard earlier, while the prompt is read. What do the
# gates do there?


# %%
def prompt_gates(snr_db):
    """At each token of the prompt, the speech gate that is open widest."""
    heard = dict(processor(text="", images=screen, audio=add_noise(voice, snr_db, np.random.default_rng(0))))
    with torch.inference_mode():
        widest = torch.stack([layer["audio"][0] for layer in model(**heard).gates]).amax(0)
    return [processor.tokenizer.decode([token]) for token in heard["input_ids"][0].tolist()], widest.tolist()


for token, clean, noisy in zip(*prompt_gates(30), prompt_gates(0)[1], strict=True):
    open_then, open_now = ("#" * round(20 * gate) for gate in (clean, noisy))
    print(f"{' '.join(token.split()):20} clean {clean:.2f} {open_then:20}   as loud as noise {noisy:.2f} {open_now}")

# %% [markdown]
# Some stand wide open, noise or not. Training put its price on the tokens of the answer; here listening was free, and a model
# takes what is free. What follows the noise is the gate behind each decision.
#
# ## What does the agent do when it cannot see?
#
# It has a sensible way out: launch the app by its name. When it cannot hear, it asks to repeat.

# %%
blind, _ = look_and_listen(blur=12, snr_db=30)
deaf, _ = look_and_listen(blur=0, snr_db=-15)
print("blurred screen, clear voice:", blind.answer.text)
print("sharp screen, voice lost in noise:", deaf.answer.text)

# %% [markdown]
# ## Remove the gate
#
# What is the gate worth? Hold every gate at one value, whatever was found, and play the same steps again. A gate that
# never reacts cannot help with noise, and the layers behind it were trained with one that does.

# %%
from contextlib import contextmanager


@contextmanager
def gates_held_at(value):
    """Replace the gate's linear map by a constant."""
    odds = float(np.log(value / (1 - value)))
    parts = [part for level in model.gated.values() for part in level.values()]
    kept = [{k: v.clone() for k, v in part.gate_proj.state_dict().items()} for part in parts]
    for part in parts:
        part.gate_proj.weight.data.zero_()
        part.gate_proj.bias.data.fill_(odds)
    try:
        yield
    finally:  # also when the cell is interrupted: the model is to have its own gates again
        for part, weights in zip(parts, kept, strict=True):
            part.gate_proj.load_state_dict(weights)


# %%
from autoglm_lab.training.evaluation import World, answer_rate, typed_requests

requests = typed_requests(World(seed=1), 64)
success = {"learned gate": answer_rate(many, requests, "learned").rate}
for value in (0.1, 0.5, 0.9):
    with gates_held_at(value):
        success[f"held at {value}"] = answer_rate(many, requests, f"held at {value}").rate

# %%
from autoglm_lab.widgets.charts import bars

bars("Right steps with and without a gate that reacts", {"share": {k: 100 * v for k, v in success.items()}}, "% of 64 typed steps")

# %% [markdown]
# ## Train a miniature: the start decides
#
# Here is the agent's problem in its smallest form. There are 49 places; at each lies one of 60 things, as a vector, plus
# the place itself as a vector of the same strength. The query is the vector of one thing; the answer is where it lies.
# One gated layer and one linear map have to learn it. The only difference between the two runs is where the layer's
# weights start: at random, or **in the shared space** (query and key projections equal, value and output the identity,
# gate at one half), so that like finds like from the first step.

# %%
from autoglm_lab.model.fusion import GatedCrossAttention

THINGS, PLACES, WIDTH = 60, 49, 64
torch.manual_seed(0)
things_seen = torch.randn(THINGS, WIDTH)
places = torch.nn.functional.normalize(torch.randn(PLACES, WIDTH), dim=-1) * WIDTH**0.5


def miniature_batch(size, generator):
    order = torch.rand(size, THINGS, generator=generator).argsort(1)[:, :PLACES]
    target = torch.randint(PLACES, (size,), generator=generator)
    query = things_seen[order[torch.arange(size), target]]
    return query[:, None], things_seen[order] + places, target


# %%
def train_miniature(shared_start, steps=300):
    torch.manual_seed(1)
    part, head = GatedCrossAttention(WIDTH, heads=4), torch.nn.Linear(WIDTH, PLACES)
    if shared_start:
        part.start_in_shared_space()
    optimizer = torch.optim.AdamW([*part.parameters(), *head.parameters()], lr=2e-3)
    generator, everywhere, curve = torch.Generator().manual_seed(2), torch.ones(64, PLACES, dtype=torch.bool), []
    for _ in range(steps):
        query, states, target = miniature_batch(64, generator)
        logits = head(part(query, part.remember(states, everywhere, torch.ones(64))).hidden[:, 0])
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, target).backward()
        optimizer.step()
        curve.append(float((logits.argmax(1) == target).float().mean()))
    return np.convolve(curve, np.ones(20) / 20, "valid")


# %%
with lab.widgets.progress("training twice", 10):
    shared, random_start = train_miniature(True), train_miniature(False)
axis = np.arange(20, 20 + len(shared))
lines(
    "Finding the place of a thing",
    {"started in the shared space": (axis[::10], shared[::10]), "started at random": (axis[::10], random_start[::10])},
    "training step", "share right (mean of 20 steps)",
)  # fmt: skip


# %%
def steps_to(level, curve):
    return int(axis[np.argmax(curve >= level)]) if (curve >= level).any() else None


print(
    f"steps until half are right: shared start {steps_to(0.5, shared)}, random start {steps_to(0.5, random_start)}; chance is {1 / PLACES:.0%}"
)

# %% [markdown]
# Look at the flat beginning of the random start. The query lands in one space and the keys in another: the attention is
# nearly even, its mean over all places says nothing about any of them, and there is hardly a gradient to follow until the
# two spaces happen to meet. In the shared space the right place already stands out; what remains is to read it off. A
# miniature gets over its plateau in seconds. A whole model that has other things to learn meanwhile may close its gates
# first, because what comes through them is noise, and then the plateau has no end. PhoneGLM therefore starts in the shared
# space, after a stage that aligns its encoders with the token embeddings, and keeps its gates at one half for a while.
#
# ## How the whole model learned
#
# The run that made this model left its curve beside it. First comes alignment alone: cells find the names of what they
# show, moments of speech the names of what is said. Then the decoder begins to answer. Its last gated layer is also shown
# *where* the evidence for each answer lies: the icon to tap, the switch in question, the dots that tell the page.

# %%
import csv

from autoglm_lab.paths import data_dir

with (data_dir() / "model" / "training.csv").open(newline="") as file:
    log = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
answering = [row for row in log if row["answer"] > 0]
curves = {"things found in pictures": ("image_right", log), "things heard in speech": ("audio_right", log),
          "looks where the evidence is": ("point_right", answering), "whole answers right": ("answer_right", answering)}  # fmt: skip
lines(
    "Training PhoneGLM", {name: ([r["step"] for r in rows], [r[key] for r in rows]) for name, (key, rows) in curves.items()},
    "training step", "share right",
)  # fmt: skip


# %%
def first_step(key, level):
    return next((int(row["step"]) for row in answering if row[key] >= level), None)


print(f"half of its looks fall on the evidence from step {first_step('point_right', 0.5)} on, "
      f"half of its answers are right from step {first_step('answer_right', 0.5)} on")  # fmt: skip

# %% [markdown]
# Looking comes first, answering long after: what cannot be found cannot be said. The batches of this curve are training
# data; what counts is held out, and stands in the model's card.
#
# To train an agent yourself, in a cell of your own: `lab.train("mini")`. It draws its phones, makes its voices, and shows
# these curves while they grow; the line above them says how long your machine will need. Interrupt it and call it again to go
# on. The small agent knows one home page; `autoglm-lab evaluate --preset mini --model build/mini/model` measures it. One such
# run, from nothing, left these figures:

# %%
import json

facts, found = (json.loads((data_dir() / "mini" / f"{name}.json").read_text()) for name in ("training", "results"))
print(
    f"{facts['parameters'] / 1e6:.1f} million parameters, {facts['step']:,} steps, {facts['minutes']:.0f} minutes on {facts['threads']} threads"
)
for name, rate in found.items():
    print(f"{name}: {rate['rate']:.1%} of {rate['n']} right ({rate['ci95'][0]:.1%} to {rate['ci95'][1]:.1%})")

# %% [markdown]
# ## Exercise 1: attend
#
# Scaled dot-product attention in numpy: `query` [T, E], `key` and `value` [S, E], result [T, E].


# %% tags=["exercise"]
def attend(query, key, value):
    """Each query's mean of the values, weighted by how well it matches their keys."""
    # <solution>
    scores = query @ key.T / np.sqrt(query.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ value
    # </solution>
    # <stub> return None  # scores, softmax over the places, weighted mean


# %%
lab.check("02.attend", attend)

# %% [markdown]
# ## Exercise 2: the gate
#
# `query` and `attended` are [T, D], `weight` is [2D] and belongs to the two laid end to end, `bias` is one number.


# %% tags=["exercise"]
def gate(query, attended, weight, bias):
    """out = g * attended + (1 - g) * query, with g = sigmoid([query, attended] @ weight + bias) for each row."""
    # <solution>
    g = 1 / (1 + np.exp(-(np.concatenate((query, attended), -1) @ weight + bias)))[:, None]
    return g * attended + (1 - g) * query
    # </solution>
    # <stub> return None  # one gate for each row


# %%
lab.check("02.gate", gate)

# %% [markdown]
# ## What was simulated, what was real
#
# The blur is a Gaussian on the model's own input, the noise is shaped noise at an exact ratio; real cameras and rooms are
# messier. The gates, the answers and the rates are those of the real model on tasks it has not seen. The miniature is a
# real training run, on a made-up problem.
#
# ## To take away
#
# 1. A gate that sees both the question and the finding can turn a bad modality down and keep the question.
# 2. Attention by likeness needs both sides in one space: start it there.
# 3. A gate is only worth having if there is something sensible to do when it closes.
