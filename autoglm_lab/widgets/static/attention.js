const HEAT = [
  [22, 11, 57],
  [101, 21, 110],
  [188, 55, 84],
  [243, 120, 25],
  [252, 255, 164],
];
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const MEAN = -1;

const percent = (share) => `${(share * 100).toFixed(share >= 0.0995 ? 0 : 1)} %`;
const argmax = (values) => values.reduce((best, value, place) => (value > values[best] ? place : best), 0);
const quoted = (token) => `'${token.replaceAll("\n", "\\n")}'`;
const readable = (token) => token.replace(/\n/g, "↵").replace(/^ | $/g, "·") || "∅";

function heat(strength) {
  const place = strength * (HEAT.length - 1);
  const low = Math.min(Math.floor(place), HEAT.length - 2);
  const mixed = HEAT[low].map((from, i) => Math.round(from + (HEAT[low + 1][i] - from) * (place - low)));
  return `rgb(${mixed.join(" ")} / ${0.15 + 0.75 * Math.sqrt(strength)})`;
}

// The numbers: the same as `AttentionMaps` in attention_view.py.
function mapsOf(model) {
  const [, heads, tokens, cells] = model.get("shape");
  const bytes = model.get("weights");
  const weights = new Uint16Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
  const side = Math.sqrt(cells);
  const names = model.get("names");

  function of(layer, head, token) {
    const one = (h) => {
      const start = ((layer * heads + h) * tokens + token) * cells;
      return Array.from(weights.subarray(start, start + cells), (value) => value / 65535);
    };
    if (head !== MEAN) return one(head);
    const all = Array.from({ length: heads }, (_, h) => one(h));
    return all[0].map((_, cell) => all.reduce((sum, values) => sum + values[cell], 0) / heads);
  }

  const centre = (cell) => [cell % side, Math.floor(cell / side)].map((place) => Math.floor(((place + 0.5) * 1000) / side));
  const where = (cell) => `(${centre(cell).join(", ")})${names[cell] ? `, ${names[cell]}` : ""}`;
  return { of, side, where };
}

// Radio buttons that look like one row of keys; arrow keys move between them.
function choice(title, labels, chosen, pick) {
  const group = `lab-${Math.random().toString(36).slice(2)}`;
  const keys = labels.map(([value, label]) => {
    const box = make("input", { type: "radio", name: group, value, class: "lab-radio", change: () => pick(value) });
    return make("label", { class: "lab-choice" }, box, make("span", { dir: "auto" }, label), make("i", {}));
  });
  const root = make("fieldset", { class: "lab-group" }, make("legend", {}, title), make("div", { class: "lab-choices" }, ...keys));
  const boxes = keys.map((key) => key.firstChild);
  const update = () => boxes.forEach((box) => (box.checked = Number(box.value) === chosen()));
  const fill = (shares) => keys.forEach((key, i) => key.style.setProperty("--share", shares[i]));
  return { root, update, fill };
}

function draw(canvas, image, weights, side, cell) {
  const pen = canvas.getContext("2d");
  const [width, height] = [canvas.width, canvas.height];
  const [wide, high] = [width / side, height / side];
  const most = Math.max(...weights, 1e-9);
  pen.drawImage(image, 0, 0, width, height);
  pen.fillStyle = "rgb(18 18 24 / 0.4)";
  pen.fillRect(0, 0, width, height);
  weights.forEach((weight, place) => {
    const [x, y] = [(place % side) * wide, Math.floor(place / side) * high];
    pen.fillStyle = heat(weight / most);
    pen.fillRect(Math.round(x), Math.round(y), Math.round(x + wide) - Math.round(x), Math.round(y + high) - Math.round(y));
  });
  if (cell === null) return;
  const [x, y] = [(cell % side) * wide, Math.floor(cell / side) * high];
  for (const { colour, line } of [
    { colour: "#000", line: 5 },
    { colour: "#fff", line: 2.5 },
  ]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line * (canvas.width / 270);
    pen.strokeRect(x, y, wide, high);
  }
}

function render({ model, el }) {
  const maps = mapsOf(model);
  const [layers, heads] = model.get("shape");
  const tokens = model.get("tokens");
  const counted = (count) => Array.from({ length: count }, (_, i) => [i, `${i}`]);
  const picker = (trait) => (value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const group = (title, trait, labels) => choice(title, labels, () => model.get(trait), picker(trait));
  const groups = [
    group("Layer", "layer", counted(layers)),
    group("Head", "head", [[MEAN, "mean"], ...counted(heads)]),
    group(
      "Token",
      "token",
      tokens.map((token, i) => [i, readable(token)]),
    ),
  ];
  let weights = [];
  let cell = null;

  const image = make("img", { alt: "" });
  const canvas = make("canvas", {
    class: "lab-map",
    tabindex: "0",
    role: "application",
    "aria-label": "Attention over the screen. Arrow keys move from cell to cell, Home goes to the strongest.",
    keydown: key,
    pointermove: point,
    pointerdown: point,
    pointerleave: () => select(null),
    focus: () => select(cell ?? argmax(weights)),
  });
  const scale = make("span", { class: "lab-scale__most" });
  const said = make("p", { class: "lab-said lab-sentence", role: "status" });
  const cellLine = make("p", { class: "lab-cell", "aria-live": "polite" });
  const strongest = make("ol", { class: "lab-strongest", "aria-label": "Strongest cells" });

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const part = (value, size) => clamp(Math.floor((value / size) * maps.side), 0, maps.side - 1);
    select(part(event.clientY - box.top, box.height) * maps.side + part(event.clientX - box.left, box.width));
  }

  function key(event) {
    const from = cell ?? argmax(weights);
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(arrow || event.key === "Home")) return;
    event.preventDefault();
    event.stopPropagation();
    if (!arrow) return select(argmax(weights));
    const place = [from % maps.side, Math.floor(from / maps.side)].map((v, i) => clamp(v + arrow[i], 0, maps.side - 1));
    select(place[1] * maps.side + place[0]);
  }

  function select(next) {
    cell = next;
    cellLine.textContent = cell === null ? "Point at a cell to read it." : `${percent(weights[cell])} at ${maps.where(cell)}`;
    if (image.naturalWidth) draw(canvas, image, weights, maps.side, cell);
  }

  function update() {
    const [layer, head, token] = ["layer", "head", "token"].map((trait) => model.get(trait));
    weights = maps.of(layer, head, token);
    const best = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
    const who = head === MEAN ? "mean of heads" : `head ${head}`;
    said.textContent = `layer ${layer}, ${who}, token ${quoted(tokens[token])} puts ${percent(weights[best[0]])} on the cell at ${maps.where(best[0])}`;
    scale.textContent = percent(weights[best[0]]);
    const rows = best.slice(0, 3).map((place) => {
      const style = `width: ${(100 * weights[place]) / Math.max(weights[best[0]], 1e-9)}%`;
      return make("li", {}, make("b", {}, percent(weights[place])), make("span", {}, maps.where(place)), make("i", { style }));
    });
    strongest.replaceChildren(...rows);
    groups.forEach((each) => each.update());
    groups[2].fill(tokens.map((_, t) => Math.max(...maps.of(layer, head, t))));
    select(cell);
  }

  const left = make(
    "div",
    { class: "lab-side" },
    canvas,
    make("div", { class: "lab-scale", "aria-hidden": "true" }, make("span", {}, "0"), make("i", {}), scale),
    cellLine,
  );
  const right = make(
    "div",
    { class: "lab-main" },
    ...groups.map((each) => each.root),
    make("div", { class: "lab-reading" }, said, strongest),
  );
  el.append(make("div", { class: "lab lab-attention" }, left, right));

  showPng(image, model.get("screen")).then(() => {
    canvas.width = 540;
    canvas.height = Math.round((540 * image.naturalHeight) / image.naturalWidth);
    select(cell);
  });
  model.on("change", update);
  update();
  return () => {
    model.off("change", update);
    URL.revokeObjectURL(image.src);
  };
}

export default { render: watched(render) };
