// The agent, in a worker: graphs, tokenizer and template come from the bundle; only the loop around them is written here.

import * as ort from "./runtime/ort.wasm.min.mjs";
import { Tokenizer } from "./runtime/tokenizers.min.mjs";
import { Quotes, Typing, spelling } from "./constraints.js";
import { plain, question, splitGoal, understood } from "./understanding.js";

// threads share memory, which browsers allow to a page of its own; inside another page, such as a notebook, there is one
ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency || 1) : 1;
ort.env.logLevel = "error";

const GRAPHS = ["step", "image", "audio", "pixels", "mel"];
const KEPT = 64; // commands that stay understood
let agent = null;

self.onmessage = async ({ data: { id, kind, request } }) => {
  try {
    if (kind === "load") postMessage({ id, done: await load() });
    else postMessage({ id, done: await answer(request, (text) => postMessage({ id, text })) });
  } catch (error) {
    postMessage({ id, failed: error.message });
  }
};

async function load() {
  const page = await (await fetched("page.json")).json();
  const sizes = Object.values(page.sizes).reduce((a, b) => a + b, 0);
  let read = 0;
  const count = (bytes) => {
    read += bytes;
    postMessage({ loaded: read / sizes });
  };
  const vocabulary = await (await fetched("bundle/tokenizer.json")).json();
  const tokenizer = new Tokenizer(vocabulary, {});
  const graphs = {};
  // one after the other: memory for one file at a time
  for (const name of GRAPHS)
    graphs[name] = await ort.InferenceSession.create(await bytes(`bundle/${name}.onnx`, page.sizes[name], count), {
      executionProviders: ["wasm"],
    });
  agent = { page, tokenizer, graphs, commands: new Map(), spelt: null };
  agent.spelt = page.commands && spelling(vocabulary, encode, page.commands);
  return page;
}

async function fetched(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name} cannot be loaded (${response.status}); load the page again`);
  return response;
}

async function bytes(name, size, heard) {
  const content = new Uint8Array(size);
  const reader = (await fetched(name)).body.getReader();
  for (let at = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return content;
    content.set(value, at);
    at += value.length;
    heard(value.length);
  }
}

// One answer. `request` holds task, app, last (of `writeMemory`), and perhaps image {data, width, height} (RGBA) and audio (16 kHz
// samples). Where the bundle understands commands first, the answer's `goals` are the wishes that this one means, and its text is
// about the first of them; a request with such a `goal` is not understood again. If the model is less confident of them than the
// bundle wants, `asks` is a question: a person should say yes to it before anything is done.
async function answer({ task = "", app = "System Home", last = "", image = null, audio = null, goal = "" }, onText) {
  const { page, tokenizer } = agent;
  task = task.trim();
  if (!task && !audio) throw new Error("the request is empty; write or say something");
  const watch = stopwatch();
  let goals = goal ? [goal] : [];
  let asks = "";
  if (page.commands && !goal) {
    const meant = await understand(task, audio);
    watch.lap("understand");
    if (meant.refusal) {
      const text = `finish(message=${JSON.stringify(meant.refusal)})`;
      onText(text);
      return { text, tokens: [], passes: 0, ms: watch.total(), goals, asks };
    }
    goals = splitGoal(meant.goal, page.commands.goals);
    if (meant.confidence < page.commands.confirm_below) asks = question(goals, page.commands.goals);
  }
  if (goals.length) [task, audio] = [goals[0], null];
  const template = page.prompts[[image && "image", audio && "audio"].filter(Boolean).join(" ")];
  const fields = { task, app, last: last || "none" };
  const prompt = template.replace(/\{(task|app|last)\}/g, (_, name) => fields[name]);
  const constraint = goals.length ? new Typing(task, encode, page.commands) : null;
  const { said, passes } = await write(
    prompt,
    { image, audio, constraint, most: page.max_new_tokens, drafts: page.drafts, watch },
    onText,
  );
  return { text: spelled(tokenizer, said), tokens: said, passes, ms: watch.total(), goals, asks };
}

// What a command means, read once and kept.
async function understand(task, audio) {
  const { page, tokenizer, commands } = agent;
  const key = task || Array.from(audio).join();
  if (!commands.has(key)) {
    const prompt = task ? page.commands.prompts.typed.replace("{command}", () => plain(task)) : page.commands.prompts.spoken;
    const constraint = task ? new Quotes(task, agent.spelt, page.commands) : null;
    const request = {
      image: null,
      audio: task ? null : audio,
      constraint,
      most: page.commands.most,
      drafts: null,
      watch: stopwatch(),
    };
    const { said, confidence } = await write(prompt, request, () => {});
    commands.set(key, { ...understood(spelled(tokenizer, said), task, page.commands.goals), confidence });
    if (commands.size > KEPT) commands.delete(commands.keys().next().value);
  }
  return commands.get(key);
}

const encode = (text) => agent.tokenizer.encode(text, { add_special_tokens: false }).ids;

function stopwatch() {
  const ms = {};
  const began = performance.now();
  let mark = began;
  const lap = (stage) => {
    const now = performance.now();
    ms[stage] = (ms[stage] || 0) + now - mark;
    mark = now;
  };
  return { lap, total: () => ({ ...ms, total: performance.now() - began }) };
}

// The tokens that follow a prompt, up to `most`, in how many passes they were written, and how confident the model was of them: the
// geometric mean of their probabilities, before any constraint (`runtime/confidence.py`).
async function write(prompt, { image, audio, constraint, most, drafts: tables, watch }, onText) {
  const { page, tokenizer, graphs } = agent;
  let ids = tokenizer.encode(prompt, { add_special_tokens: false }).ids;
  if (ids.length > page.max_tokens) throw new Error(`the request has ${ids.length} tokens; at most ${page.max_tokens} fit`);
  const seen = image && { rgba: new ort.Tensor("uint8", image.data, [image.height, image.width, 4]) };
  const pixels = seen && (await graphs.pixels.run(seen));
  const mel = audio && (await graphs.mel.run({ wave: new ort.Tensor("float32", audio, [1, audio.length]) }));
  watch.lap("features");
  const states = nothing(graphs.step, ids.length + most);
  states.present = new ort.Tensor("float32", [image ? 1 : 0, audio ? 1 : 0], [2]);
  for (const [name, features] of [
    ["image", pixels],
    ["audio", mel],
  ])
    if (features) {
      Object.assign(states, await graphs[name].run({ [graphs[name].inputNames[0]]: Object.values(features)[0] }));
      watch.lap(name);
    }
  const [said, logs] = [[], []];
  let [total, passes, state, ended] = [0, 0, tables && 0, false];
  while (!ended && said.length < most) {
    const drafts = state === null ? [] : tables.states[state].draft.slice(0, most - said.length - 1);
    ids = [...ids, ...drafts];
    total += ids.length;
    passes += 1;
    states.input_ids = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
    states.total = new ort.Tensor("int32", [total], [1]);
    states.places = new ort.Tensor(
      "int64",
      BigInt64Array.from([...drafts, 0], (_, n) => BigInt(n - drafts.length - 1)),
    );
    const { scores, ...kept } = await graphs.step.run(states);
    for (const [name, value] of Object.entries(kept)) states[name.replace("present", "past")] = value;
    const tokens = confirmed(scores, drafts, said, constraint);
    for (const [place, token] of tokens.entries()) logs.push(logProbability(scores, place, token));
    total -= 1 + drafts.length - tokens.length; // the cache forgets what was not confirmed
    watch.lap(said.length ? "decode" : "prefill");
    ended = tokens.at(-1) === page.end;
    said.push(...(ended ? tokens.slice(0, -1) : tokens));
    for (const token of tokens) state = state === null ? null : leads(tables, state, token);
    ids = tokens.slice(-1);
    onText(spelled(tokenizer, said));
  }
  return { said, passes, confidence: logs.length ? Math.exp(logs.reduce((a, b) => a + b) / logs.length) : 1 };
}

// Natural logarithm of a token's probability, from one place of scores [places, V].
function logProbability({ data, dims: [, size] }, place, token) {
  const row = data.subarray(place * size, (place + 1) * size);
  const highest = row.reduce((a, b) => Math.max(a, b));
  return row[token] - highest - Math.log(row.reduce((sum, score) => sum + Math.exp(score - highest), 0));
}

// The likeliest tokens that may come at each place of scores [1 + drafts, V], up to the first that was not drafted.
function confirmed({ data, dims: [places, size] }, drafts, said, constraint) {
  const tokens = [];
  for (let place = 0; place < places; place++) {
    const row = data.subarray(place * size, (place + 1) * size);
    const allowed = constraint?.allowed([...said, ...tokens]);
    const better = (best, token) => (row[token] > row[best] ? token : best);
    tokens.push(allowed ? [...allowed].reduce(better) : row.reduce((best, score, token) => (score > row[best] ? token : best), 0));
    if (tokens[place] !== drafts[place]) break;
  }
  return tokens;
}

// Where a token leads in the grammar's tables; null where nothing is drafted from. A wrong turn would cost time and no token.
function leads({ numbers, states }, state, token) {
  const { edges, number, text } = states[state];
  return edges[token] ?? (number !== null && numbers.includes(token) ? number : text ? state : null);
}

const spelled = (tokenizer, ids) => tokenizer.decode(ids, { skip_special_tokens: false, clean_up_tokenization_spaces: false });

// What there is before anything was seen, heard or said: empty places, and room for the whole answer.
function nothing(step, room) {
  const states = {};
  for (const { name, shape } of step.inputMetadata) {
    if (!/^(image|audio|past)_/.test(name)) continue;
    const sizes = shape.map((size) => (typeof size === "number" ? size : name.startsWith("past") ? room : 1));
    states[name] = new ort.Tensor("float32", new Float32Array(sizes.reduce((a, b) => a * b)), sizes);
  }
  return states;
}
