const QUIET_MS = 120; // a slider rests this long before Python is asked

// A slider from clean (left) to worst (right), whatever the numbers do.
function slider(title, unit, [clean, worst], step, moved) {
  const count = Math.round(Math.abs(worst - clean) / step);
  const number = make("span", { class: "lab-number" });
  const range = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: count,
    step: 1,
    "aria-label": title,
    input: move,
  });
  const value = () => clean + ((worst - clean) * range.value) / count;

  function show() {
    number.textContent = `${+value().toFixed(2)} ${unit}`;
    range.setAttribute("aria-valuetext", number.textContent);
    range.style.setProperty("--done", `${(100 * range.value) / count}%`);
  }

  function move() {
    show();
    moved();
  }

  function set(now) {
    range.value = Math.round(((now - clean) / (worst - clean)) * count);
    show();
  }

  const ends = make("span", { class: "lab-ends", "aria-hidden": "true" }, make("span", {}, "clean"), make("span", {}, "worst"));
  const root = make("label", { class: "lab-slider" }, make("span", { class: "lab-slider__title" }, title, number), range, ends);
  return { root, value, set };
}

const bar = (share, series) =>
  make("span", { class: "lab-bar" }, make("i", { class: `lab-series-${series % 4}`, style: `width: ${100 * share}%` }));

function meanRow(modality, mean, clean, series) {
  const track = bar(mean, series);
  track.append(make("b", { style: `left: ${100 * clean}%`, title: `${clean.toFixed(2)} on the clean input` }));
  return make(
    "div",
    { class: "lab-mean", "data-modality": modality },
    make("span", {}, `${modality} gate`),
    make("span", { class: "lab-number" }, mean.toFixed(2)),
    track,
  );
}

function tokenTable(shown) {
  const modalities = Object.keys(shown.gates);
  const head = make(
    "tr",
    {},
    make("th", { scope: "col" }, "token"),
    ...modalities.map((name) => make("th", { scope: "col" }, name)),
  );
  const cell = (name, i, series) => {
    const gate = shown.gates[name][i];
    return gate === null ? make("td", {}, "–") : make("td", {}, bar(gate, series), make("span", {}, gate.toFixed(2)));
  };
  const rows = shown.tokens.map((token, i) =>
    make(
      "tr",
      {},
      make("th", { scope: "row", dir: "auto" }, token.replace(/\n/g, "↵")),
      ...modalities.map((name, series) => cell(name, i, series)),
    ),
  );
  return [make("thead", {}, head), make("tbody", {}, ...rows)];
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(ask, () => root);

  const span = ([from, to]) => Math.abs(to - from);
  const blur = slider("Blur", "px", model.get("blur_range"), span(model.get("blur_range")) / 16, moved);
  const snr = slider("Speech to noise", "dB", model.get("snr_range"), span(model.get("snr_range")) / 30, moved);
  const image = make("img", { class: "lab-screen__picture", alt: "" });
  const means = make("div", { class: "lab-means" });
  const answer = make("p", { class: "lab-answer", dir: "auto" });
  const table = make("table", { class: "lab-tokens" });
  const scroll = make("div", { class: "lab-scroll", tabindex: "0", role: "group", "aria-label": "Gate of each token" }, table);
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });

  function moved() {
    wish({ kind: "set", blur: blur.value(), snr_db: snr.value() }, QUIET_MS);
  }

  function update() {
    const shown = model.get("shown");
    const clean = model.get("clean");
    if (resting()) {
      blur.set(model.get("blur"));
      snr.set(model.get("snr_db"));
    }
    means.replaceChildren(...Object.entries(shown.means).map(([name, mean], i) => meanRow(name, mean, clean[name] ?? mean, i)));
    answer.textContent = shown.answer;
    table.replaceChildren(...tokenTable(shown));
    said.textContent = model.get("said");
    message.textContent = model.get("message");
    image.alt = `The screen with a blur of ${model.get("blur")} pixels`;
  }
  const picture = () => showPng(image, model.get("screen"));

  const left = make(
    "div",
    { class: "lab-side" },
    make("div", { class: "lab-device" }, make("div", { class: "lab-screen" }, image)),
  );
  const right = make(
    "div",
    { class: "lab-main" },
    make("div", { class: "lab-sliders" }, blur.root, snr.root),
    means,
    said,
    message,
    answer,
    scroll,
  );
  const root = make("div", { class: "lab lab-gates" }, left, right);
  el.append(root);

  model.on("change", update);
  model.on("change:screen", picture);
  picture();
  update();
  return () => {
    stop();
    close();
    model.off("change", update);
    model.off("change:screen", picture);
    URL.revokeObjectURL(image.src);
  };
}

export default { render: watched(render) };
