# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: say what each part of a multimodal phone model does, holds and costs
# ---

# %% [markdown]
# # 01 Architecture
#
# After this chapter you can
#
# - say what a picture, a sound and a text become before the model sees them,
# - show that all three meet in one space, and measure how well,
# - count parameters and multiply-accumulates (MACs) of every part,
# - follow one answer from the first token to the last.

# %%
import autoglm_lab as lab

engine = lab.load()

# %%
import numpy as np
import torch

model, processor = engine.model, engine.processor
config = model.config
print(f"{config.num_hidden_layers} decoder layers, {config.hidden_size} wide, vocabulary {config.vocab_size}")

# %% [markdown]
# ## Three inputs
#
# **A picture** of any size and mode becomes 224 x 224 RGB in [0, 1]. Both sides are scaled on their own, so a place given
# in thousandths stays the same place. **A sound** of any rate becomes 16 kHz mono and then 80 log-mel bands, one hundred
# times a second. **A text** becomes tokens; the numbers 0 to 999 are one token each.

# %%
from PIL import Image

from autoglm_lab.runtime.features import image_features, log_mel

phone = lab.SimulatedPhone(seed=21)
screen = phone.screenshot()
pixels = image_features(screen)
print("screen", screen.size, "->", pixels.shape, f"values {pixels.min():.2f} to {pixels.max():.2f}")
small = Image.fromarray((np.moveaxis(pixels, 0, 2) * 255).astype(np.uint8))
lab.widgets.picture(small, f"The screen of {phone.current_app()}, squeezed into {small.width} x {small.height} pixels")

# %%
from autoglm_lab.phone.speech import SpeechBank

bank = SpeechBank.load()
clip = bank.waveform(bank.find("open Settings", "en", np.random.default_rng(1)))
mel = log_mel(clip)
print(f"{len(clip) / 16000:.2f} s of sound -> {mel.shape[0]} frames of {mel.shape[1]} bands")
bands = Image.fromarray(((mel.T[::-1] + 1) * 127).astype(np.uint8)).resize((3 * mel.shape[0], 240))
lab.widgets.picture(
    bands, f"The sound as a picture: {mel.shape[0]} moments from left to right, low bands at the bottom, loud is bright"
)

# %%
from autoglm_lab.runtime.prompt import write_prompt

prompt = write_prompt("打开微信", "System Home")
ids = processor.tokenizer.encode(prompt)
print([processor.tokenizer.decode([i]) for i in ids])
print("any text survives:", processor.tokenizer.decode(processor.tokenizer.encode("Grüße 🙂 你好 1234")))

# %% [markdown]
# ## One space for all three
#
# The image encoder gives 14 x 14 vectors, the speech encoder 25 a second, the embedding table one for each token. All of
# them live in **one space** of the decoder's width. During alignment the cell that shows an app was pulled towards the
# embedding of the app's name, and so was the moment at which the name is said.
#
# Test it without the decoder: for each icon on the screen, which app name lies nearest to the image cell in its middle?

# %%
from autoglm_lab.phone.catalog import APPS

names = [app.name("en") for app in APPS]


def name_vector(name):
    tokens = torch.tensor(processor.tokenizer.encode(" " + name))
    return torch.nn.functional.normalize(model.embed_tokens(tokens).mean(0), dim=0)


with torch.inference_mode():
    table = torch.stack([name_vector(name) for name in names])
    cells = torch.nn.functional.normalize(model.encode_image(torch.from_numpy(pixels)[None])[0], dim=-1)

# %%
from autoglm_lab.phone.screens import elements

icons = [item for item in elements(phone.state) if item.kind == "icon"]
nearest = {}
for icon in icons:
    x, y = icon.centre
    cell = (y * 14 // 1000) * 14 + x * 14 // 1000
    nearest[icon.concept] = APPS[int((cells[cell] @ table.T).argmax())].id
    print(f"{icon.concept:10} at {icon.centre!s:11} looks most like {nearest[icon.concept]}")

# %%
right = sum(shown == found for shown, found in nearest.items())
print(f"{right} of {len(nearest)} icons lie nearest to their own name; by chance it would be one in {len(names)}.")

# %% [markdown]
# ## Predict: which part is largest?
#
# Write down which part holds most parameters, and which does most work for one typed answer.

# %%
guess_parameters = "decoder layers"  # embeddings, image encoder, speech encoder, decoder layers or gates
guess_work = "decoder layers"

# %%
parts = {
    "embeddings": [model.embed_tokens], "image encoder": [model.image_encoder], "speech encoder": [model.audio_encoder],
    "decoder layers": [model.layers], "gates": [model.gated],
}  # fmt: skip
millions = {name: sum(p.numel() for m in modules for p in m.parameters()) / 1e6 for name, modules in parts.items()}
for name, count in millions.items():
    print(f"{name:15} {count:5.2f} M")

# %% [markdown]
# Work is counted while the model runs: PyTorch's counter sees every convolution and matrix product and knows in which
# module it happened. A MAC is one multiplication and one addition. The head uses the embedding table once more, so its
# work is listed under embeddings.

# %%
import re

from torch.utils.flop_counter import FlopCounterMode

where = {"embeddings": "lm_head", "image encoder": "image_encoder", "speech encoder": "audio_encoder",
         "decoder layers": r"layers\.\d+", "gates": r"gated\.\d+\.\w+(\.[kv]_proj)?"}  # fmt: skip


def work(audio=None):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(**processor(text="" if audio is not None else "open Settings", images=screen, audio=audio))
    counts = {key.partition(".")[2]: sum(ops.values()) / 2e6 for key, ops in counter.get_flop_counts().items()}
    return {part: sum(n for key, n in counts.items() if re.fullmatch(pattern, key)) for part, pattern in where.items()}


macs = {"typed": work(), "spoken": work(clip)}

# %%
from autoglm_lab.widgets.charts import bars

bars("Work to read one request", macs, "million MACs", digits=0)

# %%
bars("Parameters", {"parameters": millions}, "million", digits=2)

# %%
largest, busiest = max(millions, key=millions.get), max(macs["typed"], key=macs["typed"].get)
print(f"largest part: {largest} (you guessed {guess_parameters})")
print(f"most work for a typed request: {busiest} (you guessed {guess_work})")
print(f"the image encoder holds {millions['image encoder'] / sum(millions.values()):.0%} of the parameters "
      f"and does {macs['typed']['image encoder'] / sum(macs['typed'].values()):.0%} of the work")  # fmt: skip

# %% [markdown]
# Parameters and work are two different things: a convolution uses each weight at every place of the picture, an
# embedding uses one row per token. What is large on disk need not be slow, and the other way round. Keep this in mind
# when you prune.
#
# ## One answer, from end to end
#
# Each row is one token of the answer: the likeliest three tokens, how far the gates were open, and where the last gated
# layer looked (the place is the cell with most attention, in thousandths).

# %%
from autoglm_lab.model.trace import trace

seen = trace(engine, "open Settings", screen)
side = config.image_grid
for t, token in enumerate(seen.tokens):
    best = int(seen.image_attention[-1, :, t].mean(0).argmax())
    place = (int((best % side + 0.5) / side * 1000), int((best // side + 0.5) / side * 1000))
    others = ", ".join(f"{text!r} {share:.0%}" for text, share in seen.alternatives[t])
    print(f"{token!r:22} image gate {seen.gates['image'][-1, t]:.2f}  looks at {place!s:11} {others}")

# %%
settings = next((icon.centre for icon in icons if icon.concept == "settings"), "the other page")
print("Settings is at", settings, "- the answer was", seen.answer.action)

# %% [markdown]
# ## Exercise 1: parameters of grouped-query attention
#
# `heads` query heads of width `head_dim` share `kv_heads` keys and values. How many weights do the four projections have
# together (query, key, value, output; no biases)?


# %% tags=["exercise"]
def attention_parameters(width, heads, kv_heads, head_dim):
    """The number of weights of q, k, v and o."""
    # <solution>
    return 2 * width * heads * head_dim + 2 * width * kv_heads * head_dim
    # </solution>
    # <stub> return None  # two projections for the heads, two for the groups


# %%
lab.check("01.attention", attention_parameters)

# %% [markdown]
# ## Exercise 2: the work of a convolution
#
# A `kernel` x `kernel` convolution with padding reads `inputs` channels of `height` x `width` pixels and writes `outputs`
# channels, moving by `stride` pixels. How many MACs is that?


# %% tags=["exercise"]
def conv_macs(inputs, outputs, kernel, height, width, stride):
    """Multiply-accumulates of one convolution."""
    # <solution>
    return inputs * outputs * kernel**2 * (height // stride) * (width // stride)
    # </solution>
    # <stub> return None  # weights used at each output pixel, times output pixels


# %%
lab.check("01.conv", conv_macs)

# %% [markdown]
# ## What was simulated, what was real
#
# The screens are drawn and the voice is synthetic; the model, its parameters, the work counted and the traced answer are
# what they are. MACs were counted, not estimated. Time was not measured in this chapter: work and time are related, but
# not the same, as chapter 00 showed and the later chapters explain.
#
# ## To take away
#
# 1. Pictures, sound and text become vectors of one width in one space, so a query can find either by likeness.
# 2. Parameters decide the size of the file, MACs the work; different parts lead the two lists.
# 3. An answer is a sequence of small decisions, and each can be opened and looked at.
