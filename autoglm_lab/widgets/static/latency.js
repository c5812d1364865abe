const TURNS = 20; // after which a mean hardly changes

// For each variant a list of layers with a bar for its share of the profile, in the colour of its graph.
function insides(layers) {
  const most = Math.max(...layers.flatMap(({ rows }) => rows.map(({ ms }) => ms)));
  return layers
    .filter(({ turns }) => turns)
    .map(({ name, rows, turns }) =>
      make(
        "section",
        { class: "lab-layers__variant" },
        make("h4", { class: "lab-layers__name" }, `${name}, mean of ${turns === 1 ? "one profile" : `${turns} profiles`}`),
        make(
          "ol",
          { "aria-label": `Layers of ${name}` },
          ...rows.map(({ graph, layer, ms, share, stage }) =>
            make(
              "li",
              { class: "lab-layers__row", title: `${graph} graph: ${ms.toFixed(2)} ms while being profiled` },
              make("span", { class: "lab-layers__layer" }, layer),
              make("span", { class: "lab-number" }, `${(100 * share).toFixed(0)} %`),
              make("i", { class: `lab-layers__bar lab-time--${stage}`, style: `width: ${(100 * ms) / most}%` }),
            ),
          ),
        ),
      ),
    );
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const list = make("ol", { class: "lab-timeline", "aria-label": "Times of answers" });
  const said = make("p", { class: "lab-said", "aria-live": "polite" });
  const error = make("p", { class: "lab-error", role: "alert" });
  const go = button("Measure", ICONS.play, measure, "lab-primary");
  let looking = false;
  const live = make("p", { class: "lab-live lab-number", "aria-hidden": "true" });
  const look = button("Look inside", ICONS.play, inside);
  const stop = button("Stop", ICONS.stop, () => {
    looking = false;
    update();
    look.focus();
  });
  const layers = make("div", { class: "lab-layers" });
  const root = make(
    "div",
    { class: "lab lab-latency" },
    make("div", { class: "lab-row" }, go, look, stop, live),
    list,
    timelineKey(),
    layers,
    said,
    error,
  );
  el.append(root);

  async function measure() {
    go.disabled = true;
    for (const { name } of model.get("rows")) await ask({ kind: "measure", name });
    live.textContent = "";
    go.disabled = false;
  }

  // Profile turn after turn, all variants in each, until it is stopped.
  async function inside() {
    looking = true;
    update();
    stop.focus();
    for (let turn = 0; turn < TURNS && looking; turn++)
      for (const { name } of model.get("layers")) if (looking) await ask({ kind: "layers", name });
    looking = false;
    const left = stop.getRootNode().activeElement === stop;
    update();
    if (left) look.focus();
  }

  const tell = (row, input) => input.value !== "" && ask({ kind: "guess", name: row.name, ms: +input.value });
  const guess = (row) => [
    make(
      "label",
      { class: "lab-guess" },
      "Your guess, ms ",
      make("input", {
        type: "number",
        class: "lab-input",
        min: 0,
        step: 1,
        value: row.guess ?? "",
        "aria-label": `Your guess for ${row.name}, in milliseconds`,
        change: (event) => tell(row, event.target),
        keydown: (event) => event.key === "Enter" && tell(row, event.target),
      }),
    ),
  ];

  function update() {
    list.replaceChildren(...timeline(model.get("rows"), guess));
    layers.replaceChildren(...insides(model.get("layers")));
    look.hidden = looking || !model.get("layers").length;
    stop.hidden = !looking;
    said.textContent = model.get("said");
    error.textContent = model.get("message");
  }
  const tick = (content) => {
    if (content.live)
      live.textContent = `${content.live}: first token after ${content.before.toFixed(0)} ms, writing for ${content.decode.toFixed(0)} ms`;
  };
  model.on("change", update);
  model.on("msg:custom", tick);
  update();
  return () => {
    looking = false;
    model.off("change", update);
    model.off("msg:custom", tick);
    close();
  };
}

export default { render: watched(render) };
