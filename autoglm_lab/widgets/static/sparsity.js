const QUIET_MS = 150; // a slider rests this long before Python is asked
const percent = (share) => `${Math.round(100 * share)} %`;

function shareSlider(label, moved, chosen = () => {}) {
  const range = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: 100,
    step: 1,
    "aria-label": label,
    input: () => {
      show();
      moved(range.value / 100);
    },
    focus: chosen,
  });
  const number = make("span", { class: "lab-number" });

  function show() {
    number.textContent = `${range.value} %`;
    range.setAttribute("aria-valuetext", `${range.value} % zeros`);
    range.style.setProperty("--done", `${range.value}%`);
  }

  function set(share) {
    range.value = Math.round(100 * share);
    show();
  }
  return { range, number, set };
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const {
    wish: send,
    resting,
    stop,
  } = wisher(
    ask,
    () => root,
    update,
    ({ kind, name = "" }) => kind + name,
  );
  const wish = (content, quiet = QUIET_MS) => send(content, quiet);

  const image = make("img", { class: "lab-weights", alt: "" });
  const caption = make("p", { class: "lab-said" });
  const all = shareSlider("Zeros in all layers", (share) => wish({ kind: "all", share }));
  const list = make("ul", { class: "lab-layers", "aria-label": "Zeros in each layer" });
  const figures = make("dl", { class: "lab-figures" });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const rows = new Map();

  for (const { name, shape } of model.get("shown").layers) {
    const look = () => model.get("layer") !== name && wish({ kind: "look", name }, 0);
    const one = shareSlider(`Zeros in ${name}`, (share) => wish({ kind: "layer", name, share }), look);
    const row = make(
      "li",
      { "data-layer": name, click: look },
      make("span", { class: "lab-layer__name", title: `${shape[0]} x ${shape[1]}` }, name),
      one.number,
      one.range,
    );
    rows.set(name, { row, one });
    list.append(row);
  }

  function update() {
    const shown = model.get("shown");
    if (resting()) all.set(shown.total);
    for (const { name, share } of shown.layers) {
      const { row, one } = rows.get(name);
      if (resting() || document.activeElement !== one.range) one.set(share);
      row.classList.toggle("lab-chosen", name === model.get("layer"));
    }
    const chosen = shown.layers.find(({ name }) => name === model.get("layer"));
    caption.textContent = `${chosen.name}, a corner of ${chosen.shape[0]} x ${chosen.shape[1]} weights: ${percent(chosen.share)} zeros`;
    image.alt = caption.textContent;
    const measured = Object.entries(shown.measured).map(([name, value]) => [name, `${+value.toPrecision(3)}`]);
    figures.replaceChildren(...figureList([["zeros in all layers", percent(shown.total)], ...measured]));
    said.textContent = model.get("said");
    message.textContent = model.get("message");
  }
  const picture = () => showPng(image, model.get("corner"));

  const legend = make(
    "p",
    { class: "lab-legend" },
    make("span", { class: "lab-sign lab-positive" }, "above zero"),
    make("span", { class: "lab-sign lab-negative" }, "below zero"),
    make("span", { class: "lab-sign lab-none" }, "zero"),
  );
  const root = make(
    "div",
    { class: "lab lab-sparsity" },
    make("div", { class: "lab-side" }, image, caption, legend),
    make(
      "div",
      { class: "lab-main" },
      figures,
      make("label", { class: "lab-all" }, make("span", {}, "Zeros in all layers, one threshold"), all.number, all.range),
      list,
      said,
      message,
    ),
  );
  el.append(root);

  model.on("change", update);
  model.on("change:corner", picture);
  picture();
  update();
  return () => {
    stop();
    close();
    model.off("change", update);
    model.off("change:corner", picture);
    URL.revokeObjectURL(image.src);
  };
}

export default { render: watched(render) };
