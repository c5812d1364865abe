# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: serve the agent to many clients at once, break its server, and let agents work over HTTP
# ---

# %% [markdown]
# # 09 Serving
#
# After this chapter you can
#
# - put the agent behind the interface that every client of a language model speaks, with pictures, sound and thoughts,
# - say what an answer costs alone, what it costs in company, and why the two differ,
# - predict how many answers a second a server gives, and measure it,
# - send a server the worst you can think of, and read what it says,
# - let one agent, or thirty, do whole tasks over HTTP, on a phone that is driven through `adb`.

# %%
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

import autoglm_lab as lab
from autoglm_lab.export.kept import kept_bundle

folder = Path(lab.open_once("room", tempfile.TemporaryDirectory))
with lab.widgets.progress("exporting, the first time", 60):
    whole = kept_bundle(rows=True)  # a process of its own writes it: a server needs no PyTorch, and nor does this notebook
{path.name: f"{path.stat().st_size / 1e6:.1f} MB" for path in sorted(whole.glob("*.onnx"))}

# %% [markdown]
# `rows.onnx` is the step of chapter 08 once more, with a difference: it takes a token of *each of several* answers. Only servers need it.
#
# ## Predict
#
# One client that asks again as soon as it is answered gets, say, thirty answers a second from this bundle on two cores. How many answers a
# second do sixteen such clients get together?

# %%
my_guess = None  # answers a second

# %% [markdown]
# ## A server, and who is there
#
# `autoglm-lab serve --bundle DIR` does the same in a terminal. It listens where only this machine can reach it; anywhere else it wants a key.

# %%
from autoglm_lab.serve import running

url = lab.open_once("server", running, whole)  # run again, it stops the one before
print("a server is running:", url)

# %%
from urllib.request import Request, urlopen


def get(path, data=None):
    """What the server says, without any client library."""
    asked = Request(url.removesuffix("/v1") + path, data, {"Content-Type": "application/json"})
    return urlopen(asked).read().decode()


print(get("/health"))
question = {"messages": [{"role": "user", "content": "open Settings"}]}
print(json.dumps(json.loads(get("/v1/chat/completions", json.dumps(question).encode())), indent=1))

# %% [markdown]
# With curl, and the address that was printed above in place of URL: `curl URL/chat/completions -H 'Content-Type: application/json' -d '{"messages": [{"role": "user", "content": "open Settings"}]}'`.
# No screen was sent, so the agent does what it does blind. Whole sentences of JSON for one action: that is the price of an interface that
# a thousand clients know.
#
# ## The clients that are there already
#
# OpenAI's own client, with a screenshot as a data URL. A stream shows what travels:

# %%
from openai import OpenAI

from autoglm_lab.serve.remote import conversation

screen = lab.SimulatedPhone(7, lang="en").screenshot()
asked = conversation("open Settings", screen)
client = OpenAI(base_url=url, api_key="EMPTY")
for chunk in client.chat.completions.create(model="autoglm-lab", messages=asked, stream=True, extra_body={"enable_thinking": True}):
    print(chunk.choices[0].delta.model_dump(exclude_none=True), chunk.choices[0].finish_reason or "")

# %% [markdown]
# The thought comes first, then the action, and **nothing after its closing bracket**: the public phone agent would take a word more for a
# part of the action, fail to read it, and report the task as completed.
#
# LangChain, by the line that articles on this subject print:

# %%
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

chat = ChatOpenAI(base_url=url, api_key="EMPTY", streaming=True, model="autoglm-lab",
                  extra_body={"enable_thinking": True, "return_reasoning": True})  # fmt: skip
said = chat.invoke([HumanMessage(asked[0]["content"])])
print(said.content, said.additional_kwargs)

# %% [markdown]
# It asks for the thoughts, the server sends them, and `ChatOpenAI` drops them: it reads only the fields that OpenAI defines. A subclass of a
# few lines keeps them. The same question spoken, without a word of text:

# %%
from autoglm_lab.phone.speech import SpeechBank
from autoglm_lab.serve import ChatAutoGLM

bank = SpeechBank.load()
voice = bank.waveform(bank.find("open Settings", "en", np.random.default_rng(0)))
keeps = ChatAutoGLM(base_url=url, api_key="EMPTY", model="autoglm-lab", think=True)
heard = keeps.invoke([HumanMessage(conversation("", screen, voice)[0]["content"])])
print(heard.content, "| thought:", heard.additional_kwargs["reasoning_content"])

# %% [markdown]
# A question about a screen, in the flat form that some articles use, picture and words beside the messages:

# %%
from autoglm_lab.serve.remote import data_url

flat = {"image": data_url(screen).partition(",")[2], "query": "what is on the screen?"}
print(ChatOpenAI(base_url=url, api_key="EMPTY", model="autoglm-lab", extra_body=flat).invoke("look").content)

# %% [markdown]
# ## What company costs
#
# To write a token, every weight of the decoder comes from memory once. If sixteen answers want a token at the same time, the weights can
# still come once. By hand: the rows graph with one, two, ... sixteen answers, each with its own picture, cache and length.

# %%
from statistics import median
from time import perf_counter

import onnxruntime

from autoglm_lab.runtime.onnx_engine import Step
from autoglm_lab.runtime.rows import Rows
from autoglm_lab.runtime.sessions import quiet

engine = lab.OnnxEngine(whole, threads=1)
prepared = engine.prepare("open Settings", screen)
read = Step(engine.sessions["step"], prepared.states, room=len(prepared.ids))
read.scores(prepared.ids)


# %%
def step_times(counts):
    """Of each number of answers, the median time of a step in ms; what they take of memory goes when this is over."""
    session = onnxruntime.InferenceSession(str(engine.bundle.path("rows")), quiet())
    rows, medians = Rows(session, most=16, room=engine.bundle.places), []
    for count in counts:
        while rows.count < count:
            rows.join(prepared.states, read.cache, read.total)
        times = []
        for _ in range(25):
            began = perf_counter()
            rows.step([10] * count)
            times.append(1000 * (perf_counter() - began))
        medians.append(median(times))
    return medians


counts = (1, 2, 4, 8, 16)
step_ms = step_times(counts)

# %%
from autoglm_lab.widgets.charts import lines

lines("A step for several answers", {"ms a step": (counts, step_ms), "ms a step, for each answer": (counts, np.divide(step_ms, counts))},
      "answers in the step", "ms", log=True)  # fmt: skip

# %%
print(f"sixteen in a step: {16 * step_ms[0] / step_ms[-1]:.1f} times the tokens of one at a time")

# %% [markdown]
# Not sixteen times: each answer brings its own picture, whose keys and values are read again in every step, and arithmetic grows with the
# rows. Now the other half. Before its first token an answer has a screen to unpack, to shrink and to look at, and a prompt to read. None
# of that is shared:

# %%
import base64
import io

from PIL import Image

from autoglm_lab.measure.timing import paired

png = base64.b64decode(flat["image"])


def read_prompt():
    """Everything up to the first token."""
    one = engine.prepare("open Settings", screen)
    return Step(engine.sessions["step"], one.states, room=len(one.ids)).scores(one.ids)


alone = {"unpack": lambda: Image.open(io.BytesIO(png)).load(), "see and read": read_prompt}
cost = {name: time.median_ms for name, time in paired(alone, runs=15).items()}
print({name: f"{ms:.1f} ms on one core" for name, ms in cost.items()})

# %% [markdown]
# So in company an answer costs `read / cores` plus its share of
# some steps. You will write that as a formula below.
#
# ## How it is served
#
# - A **queue** in which every client has its turn, however many requests it has sent. When it is full, the next is told to come again.
# - **Readers**, one for each core: unpack, see, hear, read the prompt and a draft behind it, pick the first tokens.
# - A **writer**: takes in whoever is ready, writes a token of everyone, lets out who has ended. It waits a moment for company as long as
#   readers are busy, because a step for ten costs little more than a step for one.
#
# Nobody waits for the slowest of a batch, and no answer changes: a row knows its own length. The same answers, alone and in company:

# %%
from concurrent.futures import ThreadPoolExecutor

from autoglm_lab.measure.bench import questions

far, twelve = lab.connect(url), questions(12)
alone_said = [engine.answer(**one).answer.text for one in twelve]
with ThreadPoolExecutor(12) as crowd:
    together_said = list(crowd.map(lambda one: far.answer(**one).answer.text, twelve))
assert alone_said == together_said
print(f"{len(twelve)} answers at once, token for token those of one at a time: {together_said[0]}, {together_said[1]}, ...")

# %% [markdown]
# ## Load it
#
# Guess in the table, then press the button (`load` does the same from Python). Blue waits, orange is being written.

# %%
crowded = lab.widgets.server(url, clients=(1, 4, 16), answers=32)
if my_guess is not None:
    crowded.guess(16, my_guess)
crowded.load()
crowded

# %% [markdown]
# Here clients and server share this notebook's process and its two cores. `autoglm-lab load --bundle DIR` serves in a process of its own
# and takes turns between four ways to serve: one answer after the other, token by token; the same with the drafts of chapter 07, which
# all that follow have as well; an answer in each thread; and batches. Measured on the machine of the reports, per number of clients:

# %%
from autoglm_lab.paths import data_dir

known = json.loads((data_dir() / "reports" / "serve" / "whole.json").read_text())
lines("Answers a second, by clients at once",
      {name: ([row["clients"] for row in found], [row["answers_per_s"]["median"] for row in found]) for name, found in known["ways"].items()},
      "clients", "answers a second")  # fmt: skip

# %%
for name, found in known["ways"].items():
    for row in found:
        print(f"{name:14} {row['clients']:3} clients   {row['answers_per_s']['median']:5.0f} answers/s   "
              f"95 % within {row['p95_ms']['median']:5.0f} ms   failed: {row['failed']}")  # fmt: skip

# %% [markdown]
# And without batches, how should two cores be shared out? So many workers, each with so many threads, sixteen clients:

# %%
from autoglm_lab.widgets.charts import bars

grid = {
    f"{name.replace('x', 'workers,')} threads each": found[0]["answers_per_s"]["median"] for name, found in known["grid"].items()
}
bars("Workers and threads", {"answers a second": grid}, "answers a second", digits=0)

# %% [markdown]
# More threads than cores only get in each other's way, and a second thread for one answer brings less than a second answer beside it.
#
# ## Reconcile
#
# Only writing gets cheaper in company, and answers of this agent are short. If writing cost nothing at all, reading would still have to be
# done, on the same two cores that an answer alone uses as well. How much could be gained at most, and how much with the steps measured above?

# %%
from autoglm_lab.checks.serving import throughput

reading, one_by_one = sum(cost.values()), known["ways"]["one at a time"][0]
tokens = round(one_by_one["tokens_per_s"]["median"] / one_by_one["answers_per_s"]["median"])
single = throughput(reading, tokens, step_ms[0], 1, 2)
print(f"an answer has {tokens} tokens; {throughput(reading, tokens, step_ms[-1], 16, 2) / single:.1f} times as many answers in company, "
      f"{throughput(reading, tokens, 0, 16, 2) / single:.1f} times if writing cost nothing")  # fmt: skip

# %% [markdown]
# With longer answers that turns around. By your formula from exercise 2, or the package's:

# %%
lengths = (4, 9, 20, 50, 100, 200)
gains = [throughput(reading, n, step_ms[-1], 16, 2) / throughput(reading, n, step_ms[0], 1, 2) for n in lengths]
lines(
    "Sixteen clients against one, by the length of an answer",
    {"times as many answers": (lengths, gains)},
    "tokens of an answer",
    "times",
)

# %% [markdown]
# That is why servers of large models, whose answers have hundreds of tokens, live by batching, and why a phone agent's server lives by how
# fast it sees.
#
# Drafts are another way to read the weights less often. They need no company, and of what is drafted nothing is left to be shared.
# Answers a second to sixteen clients, as multiples of one at a time, token by token:

# %%
for bundle in ("whole", "int8_static"):
    ratios = json.loads((data_dir() / "reports" / "serve" / f"{bundle}.json").read_text())["ratios"]
    gains = {way: ratios[f"{way.replace(' ', '_')}_vs_one_at_a_time_16"]["median"] for way in ("with drafts", "threads", "batches")}
    print(f"{bundle:12}", *(f"{way} {gain:.2f}" for way, gain in gains.items()), sep="   ")

# %% [markdown]
# ## Break it
#
# A server that strangers reach is sent everything. What is wrong with a request is the client's to mend, so it is a 4xx with a sentence that
# says what would be right; a 5xx would make most clients send it twice more.

# %%
import zlib

from openai import APIStatusError


def bomb(side):
    """A PNG of a few kilobytes that unpacks to side x side pixels."""

    def part(kind, content):
        return len(content).to_bytes(4) + kind + content + zlib.crc32(kind + content).to_bytes(4)

    head = side.to_bytes(4) * 2 + bytes([1, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def shown(address):
    """A message with one picture."""
    return [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": "open Mail"}]}
    ]


# %%
packed = "data:image/png;base64," + base64.b64encode(bomb(60_000)).decode()
worst = {
    "nothing": {"messages": []},
    "a picture of 3.6 billion pixels": {"messages": shown(packed)},
    "a file of the server": {"messages": shown("file:///etc/passwd")},
    "a page inside its network": {"messages": shown("http://localhost/admin")},
    "half a picture": {"messages": shown(data_url(screen)[: 20_000 + len("data:image/png;base64,")])},
    "a novel": {"messages": [{"role": "user", "content": "and then " * 4000}]},
    "a thousand answers": {"messages": asked, "n": 1000},
    "very hot": {"messages": asked, "temperature": 99},
}

# %%
for name, request in worst.items():
    try:
        client.chat.completions.create(model="autoglm-lab", **request)
        print(f"{name:32} was answered")
    except APIStatusError as error:
        print(f"{name:32} {error.status_code}  {error.body['message'][:88]}")

# %% [markdown]
# What else was tried on it, by suites that others wrote and by ours, as it was last measured (`tests/beside/conformance.py`):

# %%
conformance = json.loads((data_dir() / "reports" / "serve" / "conformance.json").read_text())
for suite, found in conformance.items():
    print(f"{suite:34} {found['passed']:5} passed   {found['skipped']:3} do not apply   {found['failed']} failed")

# %% [markdown]
# ## An agent over HTTP
#
# The loop of chapter 00 takes any engine; now it is an address. (With `RemoteEngine("http://HOST:8000/v1")` it would be the real
# AutoGLM-Phone-9B on vLLM.) An action that the model marks as sensitive is done only if somebody agrees.

# %%
at_home = lab.SimulatedPhone(7, lang="en")
lab.agent.run("set an alarm for 7:30", at_home, far, think=True, confirm=lambda action, screen: False)
lab.widgets.phone(at_home, far)

# %% [markdown]
# Fifty phones it has never seen, each with a task, half of them spoken; sixteen agents at once:

# %%
from autoglm_lab.training.evaluation import Rate, World, episodes


def done(run):
    """Whether an agent, left alone with a phone, did what was wished."""
    steps = lab.agent.run("" if run.audio is not None else run.task.text, run.phone, far, audio=run.audio)
    last = steps[-1].action
    finished = steps[-1].error is None and last is not None and last.name == "finish"
    return finished and run.task.done(run.start, run.phone.state, last.message)


with ThreadPoolExecutor(16) as crowd:
    successes = list(crowd.map(done, episodes(World(0), 30)))
rate = Rate.of(sum(successes), len(successes))
print(f"{rate.rate:.0%} of {rate.n} tasks done, 95 % interval {rate.ci95[0]:.0%} to {rate.ci95[1]:.0%}")

# %% [markdown]
# ## A phone behind `adb`
#
# Agents for real phones do not know our simulated one, they know a command, `adb`. So there is one: it answers as Android's does, and behind
# it stands a simulated phone. `AdbPhone` is the other side, and would drive a real phone just as well.

# %%
from autoglm_lab.phone.adb import AdbPhone
from autoglm_lab.phone.adb_front import install

adb = install(folder / "bin", seed=7, lang="en")
for words in ("devices", "shell wm size", "shell input tap 270 600", "shell dumpsys window"):
    told = subprocess.run([adb, *words.split()], capture_output=True, text=True, check=False).stdout
    print(f"adb {words:26} -> {' '.join(told.split())[:80]}")

# %%
real = AdbPhone(adb=str(adb), settle_s=0)
for step in lab.agent.steps("open Settings", real, far):
    print(step.action, "changed the phone" if step.changed else "")
print("in front now:", real.current_app())

# %% [markdown]
# The public phone agent, Open-AutoGLM, drives this phone unmodified: `tests/beside/open_autoglm.py` runs it from a checkout of its own against
# this server and this `adb`.
#
# ## Exercise 1: words that appear one by one
#
# `stream` is what comes over the line: events, each followed by an empty line; those that begin with `data: ` hold JSON, the last
# is `data: [DONE]`, and a line that begins with a colon is a comment. Give the text of the answer, without its thoughts.


# %% tags=["exercise"]
def text_of(stream):
    """The `content` of all events, put together."""
    # <solution>
    text = ""
    for event in stream.split("\n\n"):
        if event.startswith("data: ") and event != "data: [DONE]":
            for choice in json.loads(event.removeprefix("data: "))["choices"]:
                text += choice["delta"].get("content") or ""
    return text
    # </solution>
    # <stub> return None  # take the events apart first


# %%
lab.check("09.stream", text_of)

# %% [markdown]
# ## Exercise 2: what a server can give
#
# To read an answer's screen and prompt takes `read_ms` of one core. A step, on all `cores`, writes a token of each of `rows` answers and
# takes `step_ms`. All rows are read first, side by side, then written together, `tokens` each. How many answers a second is that?


# %% tags=["exercise"]
def answers_per_second(read_ms, tokens, step_ms, rows, cores):
    """Answers a second."""
    # <solution>
    reading = rows * read_ms / cores
    writing = tokens * step_ms
    return 1000 * rows / (reading + writing)
    # </solution>
    # <stub> return None  # how long does it take until all rows are done?


# %%
lab.check("09.throughput", answers_per_second)

# %% [markdown]
# ## What was simulated, what was real
#
# The server, its batches, clients, refusals and times are real, and the same code runs as `autoglm-lab serve`. The load came from this very
# machine, which therefore paid for both sides. The phones are simulated, also the one behind `adb`; an Android phone was not part of it. The
# server goes when this notebook's kernel is shut down; the bundle stays in the work folder, for the next time.
#
# ## To take away
#
# 1. What all answers share, the weights, gets cheaper in company; what each brings along, its screen, sets the limit.
# 2. Bad input is an answer of its own: quick, with a status that is the client's, and a sentence that says what would be right.
# 3. Old interfaces are worth their awkwardness: behind `/v1/chat/completions` and `adb`, agents that never heard of this model just work.
