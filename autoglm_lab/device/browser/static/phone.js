// The page: a phone to look at, a command to write or to say, and what the agent in the worker makes of it.

import { declined, follow, readAction } from "./action.js";
import { writeMemory } from "./memory.js";

const HERE = new URL(".", import.meta.url);
const ROOT = new URL("../../", HERE); // not "/": a proxy may put the page into a folder
const RATE = 16000;
const MAX_SECONDS = 30;
const MAX_PIXELS = 50e6;
const MAX_STEPS = 14;
const PAUSE_MS = 500;
const STAGES = ["understand", "features", "image", "audio", "prefill", "decode"];
/** The element with an id, of the kind that the page gives it. @template {Element} T @param {string} id @param {new () => T} kind */
function part(id, kind) {
  const element = document.getElementById(id);
  if (element instanceof kind) return element;
  throw new Error(`the page has no ${id}; load it again`);
}
const [picture, marks] = [part("picture", HTMLImageElement), part("marks", SVGElement)];
const [status, hint, steps] = ["status", "hint", "steps"].map((id) => part(id, HTMLElement));
const progress = part("progress", HTMLProgressElement);
const form = part("form", HTMLFormElement);
const [task, shot, consent] = ["task", "shot", "consent"].map((id) => part(id, HTMLInputElement));
const [speak, home] = ["speak", "home"].map((id) => part(id, HTMLButtonElement));

const worker = new Worker(new URL("agent.js", HERE), { type: "module" });
const waiting = new Map();
let asked = 0;
worker.onmessage = ({ data }) => {
  if (data.loaded !== undefined) progress.value = data.loaded;
  else if (data.text !== undefined) waiting.get(data.id).onText?.(data.text);
  else {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.failed === undefined) resolve(data.done);
    else reject(new Error(data.failed));
  }
};
worker.onerror = (event) => say(`The agent cannot start: ${event.message}`, true);

function toWorker(kind, request, onText) {
  return new Promise((resolve, reject) => {
    waiting.set(++asked, { resolve, reject, onText });
    worker.postMessage({ id: asked, kind, request });
  });
}

// What is on the screen: a screen of the deck (a number), or a picture of the user's (null).
let page = null;
let shown = 0;
let busy = false;

const ready = start();
ready.catch((error) => say(error.message, true));

async function start() {
  const began = performance.now();
  hint.textContent = whyNoMicrophone();
  page = await toWorker("load");
  await show(0);
  progress.hidden = true;
  rest();
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  say(`Ready after ${seconds} s: ${page.recipe}, ${(page.bytes / 1e6).toFixed(1)} MB. Everything is computed on this device.`);
  keep();
}

// From now on without a server, where the browser allows it.
async function keep() {
  if (!("serviceWorker" in navigator)) return;
  try {
    await navigator.serviceWorker.register(new URL("sw.js", ROOT));
    await navigator.serviceWorker.ready;
    document.body.dataset.kept = "true";
    say(`${status.textContent} It works without a network now.`);
  } catch {
    say(`${status.textContent} This browser does not keep it for later.`);
  }
}

function say(text, wrong = false) {
  status.textContent = text;
  status.classList.toggle("error", wrong);
}

function rest(working = false) {
  busy = working;
  for (const control of [...form.elements, home, shot])
    if (control instanceof HTMLInputElement || control instanceof HTMLButtonElement) control.disabled = working;
  if (whyNoMicrophone()) speak.disabled = true;
}

function whyNoMicrophone() {
  if (!isSecureContext)
    return "A browser opens the microphone only for https or localhost: see the chapter for a phone on a cable.";
  return navigator.mediaDevices ? "" : "This browser gives no microphone.";
}

async function show(number) {
  shown = number;
  await put(new URL(`deck/${number}.webp`, HERE).href);
}

async function put(address) {
  marks.replaceChildren();
  picture.src = address;
  await picture.decode();
}

// The picture as it is, pixel by pixel.
function rgba() {
  const [width, height] = [picture.naturalWidth, picture.naturalHeight];
  if (width * height > MAX_PIXELS) throw new Error(`the picture has ${width} x ${height} pixels; at most ${MAX_PIXELS} are read`);
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return { data: new Uint8Array(context.getImageData(0, 0, width, height).data.buffer), width, height };
}

function mark(action) {
  const height = (1000 * picture.naturalHeight) / picture.naturalWidth;
  marks.setAttribute("viewBox", `0 0 1000 ${height}`);
  const at = ([x, y]) => [x + 0.5, ((y + 0.5) * height) / 1000];
  const draw = (tag, attributes) => {
    for (const kind of ["shade", ""]) {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries({ ...attributes, class: kind })) node.setAttribute(name, value);
      marks.append(node);
    }
  };
  if (action.element) draw("circle", { cx: at(action.element)[0], cy: at(action.element)[1], r: 40 });
  if (action.start) draw("path", { d: `M${at(action.start)}L${at(action.end)}` });
}

// A line for one step: what was answered, how long each stage took.
function line() {
  const item = document.createElement("li");
  const text = item.appendChild(document.createElement("code"));
  steps.append(item);
  return {
    text: (words) => (text.textContent = words),
    note(words, wrong = false) {
      const note = item.appendChild(document.createElement("p"));
      note.className = wrong ? "error" : "soft";
      note.textContent = words;
    },
    ask(words, label, yes) {
      const note = item.appendChild(document.createElement("p"));
      note.textContent = `${words} `;
      const answer = note.appendChild(document.createElement("button"));
      answer.type = "button";
      answer.textContent = "Yes";
      answer.setAttribute("aria-label", label);
      answer.addEventListener("click", () => busy || yes());
      return answer;
    },
    times(ms) {
      const bar = item.appendChild(document.createElement("div"));
      bar.className = "bar";
      const told = STAGES.filter((stage) => ms[stage]).map((stage) => {
        const piece = bar.appendChild(document.createElement("span"));
        piece.className = stage;
        piece.style.width = `${(100 * ms[stage]) / ms.total}%`;
        return `${stage} ${ms[stage].toFixed(0)}`;
      });
      this.note(`${ms.total.toFixed(0)} ms: ${told.join(", ")}`);
    },
  };
}

// The agent works until it says that it is done, or until the deck ends: on one wish of a command after the other. A picture of
// the user's gets one answer. Where it is not sure what a command means it asks first; `meant` are the wishes that were confirmed.
async function run(words, audio, meant = null) {
  steps.replaceChildren();
  rest(true);
  let done = []; // [name, whether the screen changed] of each action
  let wishes = meant; // what the command means, as far as it is still to be done
  const messages = [];
  try {
    for (let count = 0; count < MAX_STEPS; count++) {
      say(count ? `Step ${count + 1}` : "The agent is thinking");
      const row = line();
      const own = shown === null;
      const screen = own ? null : page.deck.screens[shown];
      const last = writeMemory(done, page.memory);
      const request = { task: words, app: own ? "System Home" : screen.app, last, image: rgba(), audio, goal: wishes?.[0] };
      const { text, ms, goals = [], asks } = await toWorker("answer", request, row.text);
      if (asks && !wishes) return askBack(row, asks, () => run(words, audio, goals));
      row.text(text);
      if (!wishes && goals.length) row.note(`Understood: ${goals.join(", then ")}`);
      wishes ??= goals;
      row.times(ms);
      tell(ms);
      const action = readAction(text);
      mark(action);
      if (action.name === "finish" || action.name === "Take_over") {
        messages.push(action.message);
        wishes = wishes.slice(1);
        const isDeclined = messages.every((message) => declined(message, page.refusals));
        if (action.name === "Take_over" || own || !wishes.length)
          return say(`${isDeclined ? "Declined" : "Done"}: ${messages.join(" ")}`);
        done = [];
        continue;
      }
      if (own) return say(`On your screenshot: ${action.name}.`);
      const to = follow(screen, action);
      if (to === null) return say("The pictures of the simulated phone end here; the notebook's phone goes on.");
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      done.push([action.name, to !== undefined && to !== shown]);
      if (to !== undefined) await show(to);
    }
    say(`Not done after ${MAX_STEPS} steps.`, true);
  } catch (error) {
    say(error.message, true);
  } finally {
    rest();
  }
}

function askBack(row, asks, yes) {
  row.text("");
  const answer = row.ask(asks, `Yes. ${asks}`, yes);
  say("Not sure what you mean, so nothing was done. Say yes, or say it in other words.");
  setTimeout(() => answer.focus()); // once the controls are free again
}

function tell(ms) {
  if (!consent.checked) return;
  const [, system = "a device"] = /\(([^)]*)\)/.exec(navigator.userAgent) ?? [];
  const device = system.slice(0, 80);
  const token = document.querySelector("meta[name=page-token]").getAttribute("content");
  const headers = { "Content-Type": "application/json", "X-Page-Token": token };
  const body = JSON.stringify({ device, ms });
  fetch(new URL("latency", ROOT), { method: "POST", headers, body }).catch(() => {}); // the server may be gone
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (busy) return;
  if (task.value.trim()) run(task.value);
  else say("The command is empty; write what the phone should do.", true);
});
home.addEventListener("click", () => show(0));
shot.addEventListener("change", async () => {
  const [file] = shot.files;
  if (!file) return;
  const before = shown;
  try {
    await put(URL.createObjectURL(file));
    shown = null;
    say(`${file.name}: ${picture.naturalWidth} x ${picture.naturalHeight} pixels.`);
  } catch {
    say(`${file.name} is not an image that can be read; give a PNG or JPEG file.`, true);
    await show(before ?? 0);
  }
  shot.value = "";
});

let recording = null;
speak.addEventListener("click", async () => {
  if (recording) return recording.stop();
  try {
    recording = await record();
  } catch (error) {
    return say(`The microphone cannot be used: ${error.message}`, true);
  }
  speak.setAttribute("aria-pressed", "true");
  speak.textContent = "Stop";
  say("Listening. Press Stop, or the space bar, when you have said it.");
  const sound = await recording.sound;
  recording = null;
  speak.setAttribute("aria-pressed", "false");
  speak.textContent = "Speak";
  if (sound.length < RATE / 10) return say("That was too short; say the command and then press Stop.", true);
  run("", sound);
});

// The microphone at 16 kHz, as it is: what makes calls pleasant would change what is heard.
async function record() {
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 1 };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
  const context = new AudioContext({ sampleRate: RATE });
  await context.audioWorklet.addModule(new URL("recorder.js", HERE));
  const node = new AudioWorkletNode(context, "recorder");
  const blocks = [];
  let length = 0;
  let stop = () => {};
  const sound = new Promise((resolve) => {
    stop = () => resolve(null);
    node.port.onmessage = ({ data }) => {
      blocks.push(data);
      length += data.length;
      if (length >= MAX_SECONDS * RATE) stop();
    };
  }).then(async () => {
    for (const track of stream.getTracks()) track.stop();
    await context.close();
    const all = new Float32Array(Math.min(length, MAX_SECONDS * RATE));
    let at = 0;
    for (const block of blocks) {
      const fits = block.subarray(0, all.length - at);
      all.set(fits, at);
      at += fits.length;
    }
    return all;
  });
  context.createMediaStreamSource(stream).connect(node);
  return { sound, stop };
}

// For tests and for other pages: an answer as the page would get it.
Object.assign(window, { phone: { ready, answer: (request) => toWorker("answer", request), record } });
