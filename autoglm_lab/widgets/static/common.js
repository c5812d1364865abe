// What the widgets share; base.py puts this file before each of theirs.

// An element with attributes (a function is a listener, true and false set and leave out), classes and children.
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "path", "circle", "line", "g", "text"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  // JupyterLab takes keys in command mode from whatever has the focus, unless that very element carries this mark.
  if (["input", "button"].includes(tag) || "tabindex" in attributes) node.dataset.lmSuppressShortcuts = "true";
  node.append(...children);
  return node;
}

function button(label, icon, onclick, kind = "") {
  const sign = icon ? [make("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, make("path", { d: icon }))] : [];
  return make("button", { type: "button", class: `lab-button ${kind}`, click: onclick }, ...sign, make("span", {}, label));
}

const ICONS = {
  play: "M4 2.5v11l9-5.5z",
  stop: "M3.5 3.5h9v9h-9z",
  step: "M3 2.5v11l7-5.5zM11 2.5h2v11h-2z",
  back: "M11 2.5v11L3.5 8z",
  home: "M8 2.2 14 7.6V13.5H9.7V9.6H6.3v3.9H2V7.6z",
  voice:
    "M8 1.5a2.2 2.2 0 0 1 2.2 2.2v4a2.2 2.2 0 0 1-4.4 0v-4A2.2 2.2 0 0 1 8 1.5zM3.6 7.4H5a3 3 0 0 0 6 0h1.4A4.4 4.4 0 0 1 8.7 11.7v2.8H7.3v-2.8A4.4 4.4 0 0 1 3.6 7.4z",
};

// ask(content) sends a wish to Python and resolves once Python has answered it and its changes have arrived.
function asker(model) {
  const waiting = new Map();
  const answered = () => {
    waiting.get(model.get("answered"))?.();
    waiting.delete(model.get("answered"));
    watches.get(model)?.settled(waiting.size);
  };
  model.on("change:answered", answered);
  const ask = (content) =>
    new Promise((resolve) => {
      const id = Math.random().toString(36).slice(2);
      waiting.set(id, resolve);
      model.send({ ...content, id });
      watches.get(model)?.asked();
    });
  return { ask, close: () => model.off("change:answered", answered) };
}

const SILENT_MS = 6000; // Python gives a sign of life every two seconds while it works for the page
const GONE = "The kernel that drew this is gone. Run the cell again.";
const SILENT = "No answer for some seconds. The kernel is busy with another cell, or gone: then run the cell again.";
const watches = new WeakMap();

// A render function whose widget says when its kernel is gone, and hides the still picture that stands in for it without one.
// JupyterLab tells of a restart; a kernel that died is known by its silence. What is shown then is drawn anew from what Python
// last said, so that no half of a run is left, unless `again` is false.
function watched(render, again = true) {
  return ({ model, el }) => {
    const notice = make("p", { class: "lab-message lab-gone", role: "alert" });
    const still = make("style");
    still.textContent = `[data-still="${model.get("still")}"] { display: none; }`;
    const body = make("div", {});
    el.append(make("div", { class: "lab lab-notice" }, notice), still, body);
    let [dispose, timer, gone] = [null, null, false];
    const listen = () => {
      clearTimeout(timer);
      timer = setTimeout(() => (notice.textContent = SILENT), SILENT_MS);
    };
    const rest = () => {
      clearTimeout(timer);
      if (!gone) notice.textContent = "";
    };
    const sign = (content) => {
      if (!content.alive) return;
      rest();
      listen();
    };
    const settled = (count) => {
      rest();
      if (count) listen();
    };
    watches.set(model, { asked: listen, settled });
    const draw = () => (dispose = render({ model, el: body }));
    const lost = () => {
      clearTimeout(timer);
      if (gone) return;
      gone = true;
      if (again) {
        dispose?.();
        body.replaceChildren();
        draw();
      }
      body.inert = true;
      body.classList.add("lab-lost");
      notice.textContent = GONE;
    };
    model.on("comm_live_update", lost);
    model.on("msg:custom", sign);
    draw();
    return () => {
      clearTimeout(timer);
      model.off("comm_live_update", lost);
      model.off("msg:custom", sign);
      dispose?.();
    };
  };
}

// wish(content, quiet_ms) asks Python once no other wish came for that long: one question at a time, in the order of the wishes,
// and of those about the same thing (`about`) only the last. While Python works, `root()` carries a class.
function wisher(ask, root, rested = () => {}, /** @type {(wish: any) => string} */ about = ({ kind }) => kind) {
  const wishes = new Map();
  let timer = null;
  let waiting = false;
  async function send() {
    timer = null;
    if (waiting) return;
    waiting = true;
    root().classList.add("lab-working");
    while (wishes.size) {
      const [thing, content] = wishes.entries().next().value;
      wishes.delete(thing);
      await ask(content);
    }
    waiting = false;
    root().classList.remove("lab-working");
    rested();
  }
  function wish(content, quiet = 0) {
    wishes.delete(about(content)); // the latest goes to the end of the queue
    wishes.set(about(content), content);
    clearTimeout(timer);
    timer = setTimeout(send, quiet);
  }
  return { wish, resting: () => !waiting && !timer, stop: () => clearTimeout(timer) };
}

const svgText = (x, y, anchor, words) => make("text", { x, y, "text-anchor": anchor }, words);

// A list of figures, each under its name.
const figureList = (rows) =>
  rows.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", { class: "lab-number" }, value)));

// Shows PNG bytes in an image and lets go of the ones before.
function showPng(image, bytes) {
  const old = image.src;
  image.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
  return image.decode().catch(() => {}); // a newer picture took its place
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
