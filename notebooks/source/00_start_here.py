# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: watch a tiny phone agent see, hear and act, and see where its time goes
# ---

# %% [markdown]
# # 00 Start here
#
# In five minutes you will have
#
# - given a phone agent a typed and a spoken command and watched it act,
# - read an answer the way the phone reads it: a thought, then one action,
# - measured where the time of one answer goes.
#
# Everything in this course happens to **one small model**. It looks at the picture of a phone's screen, reads or hears
# what you want, and answers with the next action. The phone is simulated: it draws its own screens and reacts to taps.
# The model is real: trained, small, and measured on tasks it has never seen.

# %%
import numpy as np

import autoglm_lab as lab

engine = lab.load()
parameters = sum(p.numel() for p in engine.model.parameters())
print(f"PhoneGLM has {parameters / 1e6:.1f} million parameters.")

# %% [markdown]
# ## The phone and the agent
#
# Tap the screen yourself: click, or move the cross with the arrow keys and press Enter. Then type a command
# (`open Settings`, `打开微信`, `turn on Wi-Fi`, `set an alarm for 7:30`) and press **Run**, or pick a spoken one.
# The ring shows where the agent taps.

# %%
from autoglm_lab.phone.speech import SpeechBank

bank, chance = SpeechBank.load(), np.random.default_rng(4)
sentences = [("open Settings", "en"), ("打开微信", "zh"), ("turn on Bluetooth", "en"), ("屏幕上有什么？", "zh")]
clips = [(text, bank.waveform(bank.find(text, lang, chance))) for text, lang in sentences]

phone = lab.SimulatedPhone(seed=7)
lab.widgets.phone(phone, engine, clips=clips)

# %% [markdown]
# ## The same in three lines of Python
#
# `steps` is the whole agent: take a screenshot, ask the engine, do what it says, look again. Here it may write down a
# thought before it acts.

# %%
phone = lab.SimulatedPhone(seed=7)
done = lab.agent.run("tell Mum happy birthday", phone, engine, think=True)
for step in done:
    print(f"{step.index + 1}. {step.thinking:45} {step.answer_text.split('</think>')[-1]}")

# %%
from autoglm_lab.phone.filmstrip import Frame, caption, filmstrip

film = filmstrip([Frame(step.screenshot, step.action, step.thinking) for step in done], height=360)
lab.widgets.picture(film, "The screens of the run, one for each step: " + ", then ".join(caption(step.action) for step in done))

# %% [markdown]
# Did it work? The simulated phone knows its own state, so success is a fact and not an impression.

# %%
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.tasks import recognise

wish = recognise("tell Mum happy birthday")
fresh = lab.SimulatedPhone(seed=7).state
print("done as wished:", wish.done(fresh, phone.state, done[-1].action.message or ""))
print("an oracle that knows the phone would have started with:", next_step(wish, fresh).action)

# %% [markdown]
# ## Predict: where does the time go?
#
# One answer passes through these stages: the picture is scaled (*features*), the image encoder looks at it (*image*),
# the sound is encoded if there is one (*audio*), the decoder reads the request (*prefill*) and writes its answer token
# by token (*decode*). Which takes longest? Write down a guess before you run the next cell.

# %%
my_guess = None  # "features", "image", "audio", "prefill" or "decode"


# %%
def answer_once(audio=None):
    screen = lab.SimulatedPhone(seed=5).screenshot()
    return engine.answer("" if audio is not None else "open Settings", screen, audio).answer


answer_once()  # the first call warms up
with lab.widgets.progress("answering", 5):
    typed = [answer_once().ms for _ in range(9)]
    spoken = [answer_once(clips[0][1]).ms for _ in range(9)]
medians = {
    name: {
        stage: float(np.median([ms.get(stage, 0.0) for ms in runs]))
        for stage in ("features", "image", "audio", "prefill", "decode")
    }
    for name, runs in (("typed", typed), ("spoken", spoken))
}

# %%
from autoglm_lab.widgets.charts import bars, guessed

slowest = max(medians["typed"], key=medians["typed"].__getitem__)
verdict = "as you guessed" if slowest == my_guess else guessed(my_guess)
bars("Where the time of one answer goes", medians, "ms, median of 9",
     f"The slowest stage of a typed answer is {slowest} with {medians['typed'][slowest]:.1f} ms, {verdict}.")  # fmt: skip

# %%
import torch

total = {name: sum(stages.values()) for name, stages in medians.items()}
print(
    f"typed {total['typed']:.0f} ms, spoken {total['spoken']:.0f} ms on {torch.get_num_threads()} threads of this machine, in PyTorch."
)
print(f"The slowest stage was {slowest} ({verdict}).")

# %% [markdown]
# These milliseconds are what the course works on. Pruning, quantisation, a better decoder and a runtime without
# PyTorch each take a part of them away, and each time the same tasks are played again to see which tap broke.
#
# ## Exercise 1: from pixels to an action
#
# The agent speaks in thousandths: `element=[x,y]` holds two whole numbers from 0 to 999, from the top left corner.
# Write the action that taps the pixel `(x, y)` of a screen that is `width` by `height` pixels large.


# %% tags=["exercise"]
def tap(x, y, width, height):
    """The text of the action that taps pixel (x, y)."""
    # <solution>
    return f'do(action="Tap", element=[{x * 1000 // width},{y * 1000 // height}])'
    # </solution>
    # <stub> return None  # do(action="Tap", element=[...,...])


# %%
lab.check("00.tap", tap)

# %% [markdown]
# ## Exercise 2: shares of the time
#
# `ms` maps each stage to its milliseconds and holds their `total` too. Give each stage's share of the time; the shares
# add up to 1.


# %% tags=["exercise"]
def shares(ms):
    """A dict from stage to its share of the time, without `total`."""
    # <solution>
    stages = {stage: value for stage, value in ms.items() if stage != "total"}
    return {stage: value / sum(stages.values()) for stage, value in stages.items()}
    # </solution>
    # <stub> return None  # a new dict; leave the old one as it is


# %%
lab.check("00.shares", shares)

# %% [markdown]
# ## What was simulated, what was real
#
# - **Simulated:** the phone, its apps and its icons are drawn; the voices come from speech synthesisers.
# - **Real:** the model was trained from nothing on such screens and voices, and is asked about phones it has never seen.
#   The times were measured on the machine under your fingers.
# - **Not this:** the public AutoGLM-Phone-9B is a 9 billion parameter model for images and text, served from a GPU.
#   PhoneGLM is a teaching-size model that also hears. The action grammar is the same.
#
# ## The course
#
# | chapter | you will be able to |
# | --- | --- |
# | [00 Start here](00_start_here.ipynb) | watch a tiny phone agent see, hear and act, and see where its time goes |
# | [01 Architecture](01_architecture.ipynb) | say what each part of a multimodal phone model does, holds and costs |
# | [02 Gated cross-attention](02_gated_cross_attention.ipynb) | build the layer through which a language model sees and hears, and watch it turn noise down |
# | [03 Pruning](03_pruning.ipynb) | take weights and whole channels out of a model, and find out which of them it needs |
# | [04 Distillation and low rank](04_distillation_and_low_rank.ipynb) | teach a smaller model what a larger one knows, and write big matrices as products of thin ones |
# | [05 Quantisation](05_quantization.ipynb) | turn weights into integers, see what each bit costs, and store the agent in a quarter of its bytes |
# | [06 Quantisation-aware training](06_quantization_aware_training.ipynb) | train a model on the grid it will live on, and get back what rounding took |
# | [07 Fast decoding](07_fast_decoding.ipynb) | write the cache that every language model lives by, and let a grammar write what needs no thought |
# | [08 Export](08_export.ipynb) | turn a model into a file that computes the same at every length, and name the layer when it does not |
# | [09 Serving](09_serving.ipynb) | serve the agent to many clients at once, break its server, and let agents work over HTTP |
# | [10 On a device](10_on_device.ipynb) | put the agent on a device, prove that it is the same agent there, and run it in a browser without a network |
# | [11 A phone's budget](11_phone_budget.ipynb) | keep an agent within a phone's memory, battery and chip, and exchange it while it works |
# | [12 Device and cloud](12_device_and_cloud.ipynb) | decide for each request where it is computed, lose no answer when the network goes, and prepare what comes next |
# | [13 Many devices of one owner](13_many_devices.ipynb) | keep several devices of one owner alike without a clock, and attack what leaves them before somebody else does |
# | [14 Claimed and measured](14_claimed_and_measured.ipynb) | say of a claimed figure whether it holds, and why |
#
# ## To take away
#
# 1. A phone agent is a loop: look, think, act, look again.
# 2. Its answers are text in a strict grammar; what does not parse is an error, never a success.
# 3. Time has addresses: before you make a model faster, measure which stage is slow.
