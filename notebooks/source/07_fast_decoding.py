# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: write the cache that every language model lives by, and let a grammar write what needs no thought
# ---

# %% [markdown]
# # 07 Fast decoding
#
# After this chapter you can
#
# - write a key-value cache twice, growing and fixed, and plug both into the real model,
# - say why one token costs almost as much as eight, and what follows from it,
# - make attention sparse so that it really computes less, and say from which length on that pays,
# - let a grammar write the tokens that need no thought, and the model confirm in one pass what usually comes.
#
# A language model writes one token at a time, and each token asks about all that came before. How little of it has to be done twice?

# %%
import autoglm_lab as lab
from autoglm_lab.export.kept import kept_bundle

with lab.widgets.progress("exporting for the end of this chapter, the first time", 30):
    folder = kept_bundle()  # the same agent as graphs for a phone; a process of its own writes them, once
engine = lab.load()

# %%
import numpy as np
import torch

model, processor = engine.model, engine.processor
phone = lab.SimulatedPhone(seed=21)
asked = processor(text="open Settings", images=phone.screenshot())
prompt = asked["input_ids"]
with torch.inference_mode():
    memories = model.remember(model.encode_image(asked["pixel_values"]), None, 1)
print(f"{prompt.shape[1]} tokens to read, {torch.get_num_threads()} threads")

# %% [markdown]
# ## Predict
#
# The model writes 96 tokens: once with a cache, once reading everything again for each token. How many times faster is the
# cache? (An article about such a system says 3.4.)

# %%
my_guess = None

# %% [markdown]
# ## Everything again, for every token
#
# Without a cache the model is a function of all tokens so far. Each new token goes through it together with all the old ones.


# %%
@torch.inference_mode()
def recompute(count):
    """Write `count` tokens, reading all of them again each time."""
    ids = prompt
    for _ in range(count):
        hidden, _ = model.decode(ids, memories)
        token = model.head(hidden[-1][:, -1:]).argmax(-1)
        ids = torch.cat((ids, token), 1)
    return ids[0, prompt.shape[1] :].tolist()


print(processor.tokenizer.decode(recompute(12)))

# %% [markdown]
# ## The cache, by hand
#
# In a decoder an old token never looks at a newer one. So its keys and values are what they were, in every layer: keep them, and
# compute those of the new token alone. The layers of the library ask a cache two things: *take these keys and values, give me
# all there are* (`update`), and *how many are there?*, from which follows what may be seen.


# %%
class GrowingCache:
    """Keys and values [1, K, tokens, E] of each layer, made anew and one longer each time."""

    def __init__(self):
        self.layers, self.is_compileable = {}, False

    def update(self, key, value, layer, *_):
        if layer in self.layers:
            key, value = (torch.cat(pair, dim=2) for pair in zip(self.layers[layer], (key, value), strict=True))
        self.layers[layer] = key, value
        return key, value

    def get_seq_length(self, layer=0):
        return self.layers[layer][0].shape[2] if layer in self.layers else 0

    def get_mask_sizes(self, new_tokens, layer=0):
        return self.get_seq_length(layer) + new_tokens, 0  # how many keys there will be, and where they begin

    def get_query_offset(self, layer=0):
        return self.get_seq_length(layer)


# %% [markdown]
# The first pass reads the whole request: **prefill**. Every later pass reads one token: **decode**.


# %%
@torch.inference_mode()
def with_cache(cache, count):
    """Write `count` tokens; each is read once."""
    said, new = [], prompt
    for _ in range(count):
        hidden, _ = model.decode(new, memories, past_key_values=cache, use_cache=True)
        new = model.head(hidden[-1][:, -1:]).argmax(-1)
        said.append(int(new))
    return said


mine = GrowingCache()
print("the same tokens:", with_cache(mine, 24) == recompute(24))
assert with_cache(GrowingCache(), 24) == recompute(24)

# %% [markdown]
# And the library's own cache, after the same tokens: does it hold the same numbers?

# %%
from transformers import DynamicCache

theirs = DynamicCache(config=model.config)
with_cache(theirs, 24)
difference = max(float((a - b).abs().max()) for i, layer in enumerate(theirs.layers)
                 for a, b in zip(mine.layers[i], (layer.keys, layer.values), strict=True))  # fmt: skip
kept = sum(part.numel() * part.element_size() for pair in mine.layers.values() for part in pair)
print(
    f"largest difference {difference:.0e}; {kept / mine.get_seq_length():,.0f} bytes for each token, in {len(mine.layers)} layers"
)
assert difference < 1e-5

# %% [markdown]
# ## Room made once
#
# A growing cache is copied at every token. A phone reserves the room at the beginning and writes into it: nothing moves, and the
# size of the buffer is known before the answer begins, which is what a graph compiled for fixed shapes needs.


# %%
class FixedCache(GrowingCache):
    """The same, in buffers [1, K, room, E] that are made once."""

    def __init__(self, room):
        super().__init__()
        self.room, self.buffers, self.filled = room, {}, {}

    def update(self, key, value, layer, *_):
        if layer not in self.buffers:
            empty = key.new_zeros(*key.shape[:2], self.room, key.shape[3])
            self.buffers[layer], self.filled[layer] = (empty, empty.clone()), 0
        start = self.filled[layer]
        self.filled[layer] = end = start + key.shape[2]
        for buffer, new in zip(self.buffers[layer], (key, value), strict=True):
            buffer[:, :, start:end] = new
        return tuple(buffer[:, :, :end] for buffer in self.buffers[layer])

    def get_seq_length(self, layer=0):
        return self.filled.get(layer, 0)


fixed = FixedCache(room=256)
assert with_cache(fixed, 24) == recompute(24)

# %% [markdown]
# Here it is, seen from above: the size of the keys of the last layer, place by place. What is white waits to be written.

# %%
from autoglm_lab.widgets.charts import grids, guessed, lines

last = max(fixed.buffers)
rows = {f"key head {head}": fixed.buffers[last][0][0, head, :48, ::8].abs().T.tolist() for head in range(2)}
grids(f"Keys of layer {last}", rows, "token", "every eighth number",
      f"The first {fixed.filled[last]} of {fixed.room} places of the buffer are filled, the others are still zero.")  # fmt: skip

# %% [markdown]
# ## Why one token costs almost as much as eight
#
# How long does a pass through the decoder take, by the number of new tokens it reads?

# %%
from autoglm_lab.measure.timing import paired


@torch.inference_mode()
def one_pass(count):
    cache = FixedCache(room=256)
    model.decode(prompt, memories, past_key_values=cache, use_cache=True)
    new = prompt[:, :1].expand(1, count)

    def call():
        cache.filled = dict.fromkeys(cache.filled, prompt.shape[1])  # forget what the last call wrote
        with torch.inference_mode():
            model.head(model.decode(new, memories, past_key_values=cache, use_cache=True)[0][-1][:, -1:])

    return call


# %%
counts = (1, 2, 4, 8, 16, 32, 64)
took = paired({count: one_pass(count) for count in counts}, runs=15)
each = [took[count].median_ms for count in counts]
lines("One pass through the decoder", {"whole pass": (counts, each), "for each token": (counts, [ms / n for ms, n in zip(each, counts, strict=True)])},
      "new tokens", "ms", f"A pass that reads 8 tokens takes {each[3] / each[0]:.1f} times as long as one that reads a single token, not 8 times.")  # fmt: skip

# %% [markdown]
# With eight tokens every weight is used eight times while it is there, and every operator is called once for all of them. For a
# single token both are paid in full: the weights have to come from memory, and hundreds of small operators have to be called.
# Which of the two it is that costs? Compare the rate at which weights are used with the rate at which this machine reads memory:

# %%
from autoglm_lab.measure.race import read_bytes_per_s

parts = (model.layers, model.gated, model.lm_head)
weights = sum(4 * p.numel() for part in parts for p in part.parameters())
reads = np.median(read_bytes_per_s(torch.get_num_threads(), runs=5)) / 1e9
print(
    f"{weights / 1e6:.0f} MB of weights in {each[0]:.1f} ms: {weights / 1e6 / each[0]:.1f} GB/s; this machine reads {reads:.1f} GB/s"
)
print(f"PyTorch uses {weights / 1e6 / each[0] / reads:.0%} of that for one token; the rest of the time goes to calls")

# %% [markdown]
# ## The race
#
# The same tokens by three ways, in turns, at several lengths.

# %%
ways = {
    "everything again": recompute,
    "growing cache": lambda count: with_cache(GrowingCache(), count),
    "fixed cache": lambda count: with_cache(FixedCache(prompt.shape[1] + count), count),
}
lengths = (8, 32, 96)
race = {count: paired({name: lambda way=way, count=count: way(count) for name, way in ways.items()}, runs=2, warm_up=0)
        for count in lengths}  # fmt: skip
longest = race[96]["everything again"].median_ms
ratio, expected = longest / race[96]["fixed cache"].median_ms, longest / my_guess if my_guess else None
lines("Writing an answer in PyTorch",
      {name: (lengths, [race[count][name].median_ms for count in lengths]) for name in ways} | {"your guess": ([96], [expected])},
      "tokens written", "ms", f"At 96 tokens the fixed cache is {ratio:.1f} times faster; {guessed(my_guess)}. The article says 3.4.")  # fmt: skip

# %%
for count in lengths:
    print(f"{count:4} tokens: {race[count]['everything again'].median_ms / race[count]['fixed cache'].median_ms:.1f} times")

# %% [markdown]
# There is no one factor: it grows with the length of the answer. The agent's actions are short, and there the cache earns least; a
# thought before the action, or a description of the screen, makes it worth far more.
#
# What was seen is kept as well: the keys and values of the picture are computed once for an answer, not for every token.

# %%
with torch.inference_mode():
    cells = model.encode_image(asked["pixel_values"])


def in_inference(call):
    with torch.inference_mode():
        return call()


once = paired({
    "see": lambda: in_inference(lambda: model.encode_image(asked["pixel_values"])),
    "keys and values": lambda: in_inference(lambda: model.remember(cells, None, 1)),
}, runs=9)  # fmt: skip
print(*(f"{name:16} {time}" for name, time in once.items()), sep="\n")
said = engine.answer("open Settings", phone.screenshot()).answer.tokens
print(
    f"paid again for each of the {said} tokens of this answer: {(said - 1) * sum(time.median_ms for time in once.values()):.0f} ms more"
)

# %% [markdown]
# ## On the phone's runtime
#
# The same step, as a graph in ONNX Runtime: one operator for self-attention with its cache, which is written in place. `Step`
# holds the memories and the cache of one answer, and gives the scores of the next token.

# %%
from autoglm_lab.runtime.onnx_engine import OnnxEngine, Step

device = OnnxEngine(folder, speculate=False)  # token by token, for now
screen = device.nothing | dict(zip(
    (output.name for output in device.sessions["image"].get_outputs()),
    device.sessions["image"].run(None, {device.sessions["image"].get_inputs()[0].name: asked["pixel_values"].numpy()}), strict=True,
)) | {"present": np.array([1, 0], np.float32)}  # fmt: skip


# %%
def on_the_phone(count, cached):
    """Write `count` tokens with ONNX Runtime; without a cache each of them begins with an empty one."""
    ids = prompt[0].tolist()
    room, read = len(ids) + count, 0
    step = Step(device.sessions["step"], screen, room)
    for _ in range(count):
        if not cached:
            step, read = Step(device.sessions["step"], screen, room), 0
        token = int(step.scores(ids[read:]).argmax())
        read = len(ids)
        ids.append(token)
    return ids[prompt.shape[1] :]


assert on_the_phone(24, True) == on_the_phone(24, False) == recompute(24)

# %%
kinds = {"everything again": False, "cache": True}
phones = paired({kind: lambda cached=cached: on_the_phone(96, cached) for kind, cached in kinds.items()}, runs=2, warm_up=0)
used = weights / 1e6 / (phones["cache"].median_ms / 96)
print(*(f"{kind:18} {time}" for kind, time in phones.items()), sep="\n")
print(f"{phones['everything again'].median_ms / phones['cache'].median_ms:.1f} times faster with a cache, at 96 tokens")
print(
    f"{used:.1f} GB/s of weights are used, {used / reads:.0%} of what memory gives; what stays in the processor's cache is read faster"
)

# %% [markdown]
# ## Look at less
#
# Attention over T tokens compares T x T pairs. Patterns drop most of them: a **window** keeps the last few tokens, **strides** keep
# a window and every n-th token before it. With n the square root of T a token sees about 2 n others, so that all of them
# together cost T times the square root of T.

# %%
from autoglm_lab.model.patterns import allowed, attend

shown = {"dense": allowed(16), "window of 4": allowed(16, "window", 4), "strides of 4": allowed(16, "strided", 4)}
pairs = {name: int(seen.sum()) for name, seen in shown.items()}
grids("Who sees whom", {name: seen.int().tolist() for name, seen in shown.items()}, "looked at", "token",
      f"Of 16 tokens: {'; '.join(f'{name} has {count} pairs' for name, count in pairs.items())}.")  # fmt: skip

# %% [markdown]
# A mask over the full matrix would hide the rest and still compute it. A window in blocks does not: cut the tokens into blocks
# as long as the window; whatever a token sees lies in its own block or in the one before.


# %%
def window_attention(q, k, v, reach):
    """[H, T, E] -> [H, T, E], for T a multiple of `reach`; no matrix is larger than reach x 2 reach."""
    q, k, v = (x.unflatten(-2, (-1, reach)) for x in (q, k, v))  # [H, blocks, reach, E]
    before = lambda x: torch.nn.functional.pad(x, (0, 0, 0, 0, 1, -1))  # noqa: E731
    k, v = (torch.cat((before(x), x), -2) for x in (k, v))  # [H, blocks, 2 reach, E]
    back = torch.arange(reach)[:, None] + reach - torch.arange(2 * reach)  # how far a key lies behind its query
    seen = ((back >= 0) & (back < reach)).repeat(q.shape[1], 1, 1)
    seen[0, :, :reach] = False  # before the first block there is nothing
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    return (scores.softmax(-1) @ v).flatten(-3, -2)


q, k, v = torch.randn(3, 8, 96, 64, generator=torch.Generator().manual_seed(0))
masked = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed(96, "window", 16))
assert torch.allclose(window_attention(q, k, v, 16), masked, atol=1e-5)
assert torch.allclose(window_attention(q, k, v, 16), attend(q, k, v, "window", 16), atol=1e-5)
print("the same as the masked matrix:", float((window_attention(q, k, v, 16) - masked).abs().max()))

# %% [markdown]
# What does it save? Two heads of 64 numbers, from 256 to 8,192 tokens. Dense attention is timed as PyTorch's own operator, which
# is fused and never stores the matrix. The lines are fitted to the upper lengths: `time = c * T ^ exponent`.

# %%
spans = (256, 512, 1024, 2048, 4096, 8192)
patterns = {"dense": ("dense", None), "window of 64": ("window", 64), "strided": ("strided", None)}
times = {name: [] for name in patterns}
for tokens in spans:
    q, k, v = torch.randn(3, 1, 2, tokens, 64)
    calls = {name: lambda p=pattern, r=reach: attend(q, k, v, p, r) for name, (pattern, reach) in patterns.items()}  # noqa: B023
    with torch.inference_mode():
        for name, time in paired(calls, runs=7, warm_up=2).items():
            times[name].append(time.median_ms)
exponents = {name: np.polyfit(np.log(spans[-3:]), np.log(ms[-3:]), 1)[0] for name, ms in times.items()}
told = {f"{name}: T^{exponents[name]:.2f}": (spans, ms) for name, ms in times.items()}
lines("Time of attention", told, "tokens", "ms", log=True)

# %%
for name, (pattern, reach) in patterns.items():
    pairs = [float(allowed(tokens, pattern, reach).sum()) for tokens in (1024, 2048)]
    first = next((n for n, a, b in zip(spans, times["dense"], times[name], strict=True) if b < a), None)
    faster = "" if name == "dense" else f", faster than dense from {first} tokens on" if first else ", never faster here"
    print(f"{name:13} pairs T^{np.log2(pairs[1] / pairs[0]):.2f}, time T^{exponents[name]:.2f}{faster}")
print(f"a request of this agent has about {prompt.shape[1]} tokens, at most 512")

# %% [markdown]
# The claim for strides is an exponent of one and a half. The pairs have it; what a call costs whatever its length flattens the
# time of the shorter ones. But an exponent is worth nothing to this agent, whose requests are short. A phone agent that reads a screen as thousands of tokens is another matter. And what would a window do to its answers? The loss of
# right answers to steps that nobody trained on, each layer seeing only the last tokens:

# %%
from autoglm_lab.training.batch import BatchEngine
from autoglm_lab.training.evaluation import World, typed_requests

steps = typed_requests(World(seed=7), 24)
many = BatchEngine(model, processor)
ready = [many.rightly_answered([step]) for step in steps]


@torch.inference_mode()
def loss(pattern, reach=None):
    """Mean cross-entropy of the answers, every layer seeing what the pattern lets it see."""
    losses = []
    for tensors, said in ready:
        ids = tensors["input_ids"]
        mask = allowed(ids.shape[1], pattern, reach)[None, None]
        scores = model(**(tensors | {"attention_mask": mask}), logits_to_keep=said.shape[1] + 1).logits[:, :-1][said]
        losses.append(torch.nn.functional.cross_entropy(scores, ids[:, -said.shape[1] :][said]))
    return float(torch.stack(losses).mean())


# %%
reaches = (2, 8, 32)
with lab.widgets.progress("answering with less in sight", 10):
    whole, windows, strides = loss("dense"), [loss("window", r) for r in reaches], [loss("strided", r) for r in reaches]
lines("Answers of a model that sees less", {"window": (reaches, windows), "strides": (reaches, strides), "dense": (reaches, [whole] * len(reaches))},
      "tokens that are seen, or between two of them", "loss")  # fmt: skip

# %% [markdown]
# The request stands at the beginning and the action at the end: a window that does not reach from one to the other cuts the wish
# off from the deed. A model has to be *trained* with its pattern; this one was not.
#
# ## Write what needs no thought
#
# An answer is an action: `do(action="Tap", element=[503,271])`. After `do(action="Tap"` there is only one way on, up to the bracket.
# A grammar that knows the tokens says at each place which may come. Where it is only one, the model is not asked: the token is
# written down, and read together with the next one that needs thought. As a pass over several tokens costs about as much as a
# pass over one, that is nearly free.

# %%
from autoglm_lab.runtime.grammar import Grammar

grammar = Grammar(device.tokenizer)
state, table = grammar.start(think=False), []
answer = device.answer("open Settings", phone.screenshot()).answer
for token in (*device.tokenizer.encode(answer.text, add_special_tokens=False).ids, device.bundle.end):
    choices = len(state.edges) + (0 if state.free is None else int(state.free.sum()))
    table.append((device.tokenizer.decode([token], skip_special_tokens=False), choices))
    state = state.after(token)
for text, choices in table:
    print(f"{text!r:22} {'forced' if choices == 1 else f'one of {choices:,}'}")
print(f"{sum(choices == 1 for _, choices in table)} of {len(table)} tokens need no thought")

# %% [markdown]
# The loop of the engine changes by a few lines: it collects what is forced, and reads it with the next question.


# %%
def answer_by_grammar(step, ids, most=96):
    """The tokens of an answer, and how often the decoder ran."""
    state, unread, said, passes = grammar.start(think=False), list(ids), [], 0
    for left in range(most, 0, -1):
        token = state.forced
        if token is None:
            scores, unread, passes = step.scores(unread), [], passes + 1
            token = state.choose(scores, left)
        if token == device.bundle.end:
            break
        state = state.after(token)
        said.append(token)
        unread.append(token)
    return said, passes


said, passes = answer_by_grammar(Step(device.sessions["step"], screen, 256), prompt[0].tolist())
print(f"{device.tokenizer.decode(said)}: {len(said)} tokens, {passes} passes")
assert device.tokenizer.decode(said) == answer.text

# %% [markdown]
# Same answers, fewer passes: over requests that nobody trained on, with the engine's own grammar.

# %%
held = device.writing(grammar=True, speculate=False)  # the same graphs, another way to write


def answers(engine, requests=steps):
    return [engine.answer(r.task.text, r.image, current_app=r.app, last=r.memory(engine.memory)).answer for r in requests]


with lab.widgets.progress("answering", 5):
    free, bound = answers(device), answers(held)
times = paired({"free": lambda: answers(device), "by the grammar": lambda: answers(held)}, runs=2, warm_up=0)
print(f"{sum(a.text == b.text for a, b in zip(free, bound, strict=True))} of {len(steps)} answers are the same")
print(f"passes: {sum(a.passes for a in free)} free, {sum(a.passes for a in bound)} by the grammar")
print(
    f"an answer takes {times['free'].median_ms / len(steps):.1f} ms free, {times['by the grammar'].median_ms / len(steps):.1f} ms by the grammar"
)
assert all(a.text == b.text for a, b in zip(free, bound, strict=True) if a.action is not None)

# %% [markdown]
# And where a model is bad? With random scores it still writes a valid action: the grammar knows what an action is, not which one is right.

# %%
from autoglm_lab.runtime.engine import Answer

chance, size = np.random.default_rng(0), device.tokenizer.get_vocab_size()
state, said = grammar.start(think=False), []
for left in range(24, 0, -1):
    token = state.forced or state.choose(chance.normal(size=size).astype(np.float32), left)
    if token == device.bundle.end:
        break
    state = state.after(token)
    said.append(token)
print(Answer.read(device.tokenizer.decode(said), len(said), {}).action)

# %% [markdown]
# ## Guess, and let the model check
#
# The grammar is a promise, and a promise changes the model: what it may not write, it cannot. Can the passes be saved and the model left
# alone? Read ahead what *usually* comes, a **draft**, and ask for the scores after each of its tokens in the same pass. As long as the model
# would have written just that, the tokens are done. At the first that it would have written otherwise, its own token counts, and the cache
# forgets the rest. Whatever the draft was, the answer is the one that the model would have written token by token. That is **speculative
# decoding**. Large models let a small one write the drafts; here the grammar does, and where it leaves a choice it guesses a tap.
# `confirmed` compares; you will write it below.

# %%
from autoglm_lab.runtime.onnx_engine import confirmed


def answer_with_drafts(step, ids, most=96):
    """The tokens of an answer, and what was drafted and written in each pass."""
    state, unread, said, passes = grammar.start(think=False), list(ids), [], []
    while len(said) < most:
        drafts = state.draft(most - len(said) - 1) if state else []
        tokens = confirmed(step.read(unread, drafts), drafts, lambda scores: int(scores.argmax()))
        step.forget(1 + len(drafts) - len(tokens))
        passes.append((drafts, tokens))
        for token in tokens:
            if token == device.bundle.end:
                return said, passes
            said.append(token)
            state = state and state.leads(token)  # None once the model leaves the grammar: nothing is drafted from there on
        unread = tokens[-1:]
    return said, passes


# %%
def spelled(tokens):
    return device.tokenizer.decode(tokens, skip_special_tokens=False)


said, passes = answer_with_drafts(Step(device.sessions["step"], screen, 256), prompt[0].tolist())
for number, (drafts, tokens) in enumerate(passes, 1):
    print(f"pass {number}: drafted {spelled(drafts)!r:32} written {spelled(tokens)!r}")
assert device.tokenizer.decode(said) == answer.text

# %% [markdown]
# A wrong guess costs a few tokens in a pass that is paid for its weights anyway. How often is a tap right, on the way through whole tasks?

# %%
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.training.evaluation import Request, episodes

errands = []
for run in episodes(World(seed=7), 4):
    name, done = "", []  # the last action; the name of each, and whether it changed the screen
    while name != "finish":
        wanted = next_step(run.task, run.phone.state, history=done).action
        seen = run.phone.screenshot(), None, name, run.phone.current_app()
        errands.append(Request(run.task, run.phone.state, run.start, *seen, wanted, steps=tuple(done)))
        name = wanted.name
        if name != "finish":
            done.append((name, run.phone.perform(wanted)))
taps, doing = (sum(one.wanted.name in names for one in errands) for names in (["Tap"], ["Tap", "Swipe", "Type", "Home", "Back"]))
print(f"of {len(errands)} right answers {taps} are taps, {doing - taps} do something else, {len(errands) - doing} end the task")

# %% [markdown]
# And what is left of the passes, with the guess and with the promise?

# %%
drafted = device.writing()  # as engines are, unless they are told not to
both = device.writing(grammar=True)
ways = {"token by token": device, "by the grammar": held, "drafts": drafted, "grammar and drafts": both}
with lab.widgets.progress("answering", 10):
    found = {name: answers(engine, errands) for name, engine in ways.items()}
assert [a.text for a in found["drafts"]] == [a.text for a in found["token by token"]]
times = paired({name: lambda engine=engine: answers(engine, errands) for name, engine in ways.items()}, runs=2, warm_up=0)
for name, time in times.items():
    passes = sum(answer.passes for answer in found[name])
    print(f"{name:20} {passes:4} passes   {time.median_ms / len(errands):5.1f} ms an answer, with seeing and reading")

# %% [markdown]
# All of the drafted answers are those of token by token. With sampling they are too: a token is drawn from the scores as ever, and the draft
# only compared with it. One kind of bundle goes without drafts: `int8` rounds all that is read at once with one scale, so that a draft
# would change what the tokens beside it give.
#
# ## Exercise 1: write into the room
#
# `buffer` [room, E] holds `filled` rows already. Return a buffer in which the rows `new` follow them, and how many are filled then.
# The buffer that was given stays as it was.


# %% tags=["exercise"]
def append(buffer, filled, new):
    """(a buffer like the one given, the number of filled rows)."""
    # <solution>
    end = filled + len(new)
    written = buffer.copy()
    written[filled:end] = new
    return written, end
    # </solution>
    # <stub> return None  # where do the new rows begin, where do they end?


# %%
lab.check("07.append", append)

# %% [markdown]
# ## Exercise 2: jump forward
#
# `edges` says for each state which token leads where: `{state: {token: next state}}`. From `state`, follow the tokens that are
# forced, until there is a choice or the end. Return them.


# %% tags=["exercise"]
def jump(edges, state):
    """A list of tokens."""
    # <solution>
    forced = []
    while len(edges.get(state, {})) == 1:
        token, state = next(iter(edges[state].items()))
        forced.append(token)
    return forced
    # </solution>
    # <stub> return None  # how many ways lead on from here?


# %%
lab.check("07.jump", jump)

# %% [markdown]
# ## Exercise 3: confirm
#
# `scores` [1 + n, V] are those after the last known token and after each of `n` drafted tokens. Return the tokens that are written: the
# likeliest at each place, up to and with the first that was not drafted.


# %% tags=["exercise"]
def confirm(scores, drafts):
    """A list of tokens, one at least."""
    # <solution>
    tokens = []
    for row, draft in zip(scores, [*drafts, None], strict=True):
        tokens.append(int(row.argmax()))
        if tokens[-1] != draft:
            break
    return tokens
    # </solution>
    # <stub> return None  # what would the model have written after each of them?


# %%
lab.check("07.confirm", confirm)

# %% [markdown]
# ## What was simulated, what was real
#
# Caches, graph, grammar, drafts and times are real, on this machine: the ratios depend on its memory and its number of threads. The long
# answers of the race are whatever the model goes on to say after its answer; only their length matters.

# %% [markdown]
# ## To take away
#
# 1. Old keys and values never change: keep them, and an answer costs one pass over one token for each token.
# 2. A pass over few tokens is paid for its weights and its calls, not for the tokens: whatever makes several tokens share it is won.
# 3. A guess that is checked in the same pass changes no answer, whoever guessed; the better the guess, the fewer the passes.
# 4. Sparse attention saves what it does not compute, and only where the requests are long.
