const PLOT = { width: 640, height: 170 };
const QUIET_MS = 120; // a slider rests this long before Python is asked
const percent = (share) => `${Math.round(100 * share)} %`;

// A bar for each person: as high as the attacker is sure of the right name, orange where the first guess is right.
function people({ certainty, right, chance }) {
  const room = PLOT.width / certainty.length;
  const bars = certainty.map((sure, n) => {
    const high = Math.max(1.5, PLOT.height * sure);
    const [left, top] = [n * room + room * 0.15, PLOT.height - high];
    return make("path", {
      class: right[n] > 0.5 ? "lab-person lab-named" : "lab-person",
      d: `M${left.toFixed(1)} ${top.toFixed(1)}h${(room * 0.7).toFixed(1)}v${high.toFixed(1)}h${(-room * 0.7).toFixed(1)}z`,
    });
  });
  const y = PLOT.height * (1 - chance);
  return [...bars, make("line", { class: "lab-chance", x1: 0, x2: PLOT.width, y1: y, y2: y })];
}

function use([name, share]) {
  const bar = make("i", {});
  bar.style.width = `${100 * share}%`;
  return make(
    "li",
    { class: "lab-use", "data-use": name },
    make("span", {}, name),
    make("span", { class: "lab-use__bar", "aria-hidden": "true" }, bar),
    make("span", { class: "lab-number" }, percent(share)),
  );
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(
    ask,
    () => root,
    update,
    ({ name }) => name,
  );
  const choose = (name, value, quiet = 0) => wish({ kind: "set", name, value }, quiet);

  const check = (name, words) => {
    const box = make("input", { type: "checkbox", change: () => choose(name, box.checked) });
    return {
      name,
      root: make("label", { class: "lab-check" }, box, make("span", {}, words)),
      set: (value) => (box.checked = value),
    };
  };
  const radios = (name, title) => {
    const group = `lab-${name}-${Math.random().toString(36).slice(2)}`;
    const inputs = model
      .get("choices")
      [name].map((value) => make("input", { type: "radio", name: group, value, change: () => choose(name, value) }));
    const labels = inputs.map((input) => make("label", {}, input, make("span", {}, input.value)));
    const root = make("fieldset", { class: "lab-radios" }, make("legend", {}, title), ...labels);
    return { name, root, set: (value) => inputs.forEach((input) => (input.checked = input.value === value)) };
  };
  const slider = (name, title, step, words) => {
    const [min, max] = model.get("limits")[name];
    const number = make("span", { class: "lab-number" });
    const show = () => {
      number.textContent = words(range.value);
      range.setAttribute("aria-valuetext", number.textContent);
      range.style.setProperty("--done", `${(100 * (range.value - min)) / (max - min)}%`);
    };
    const input = () => {
      show();
      choose(name, +range.value, QUIET_MS);
    };
    const range = make("input", { type: "range", class: "lab-range", min, max, step, "aria-label": title, input });
    const head = make("span", { class: "lab-slider__title" }, make("span", {}, title), number);
    const set = (value) => {
      range.value = value;
      show();
    };
    return { name, root: make("label", { class: "lab-slider" }, head, range), set };
  };
  const controls = [
    check("place", "publish places"),
    check("apps", "publish apps"),
    check("padding", "pad requests"),
    radios("identity", "names in the records"),
    slider("precision", "Letters of the geohash", 1, (value) => `${value} letters`),
    radios("noise", "noise on places"),
    slider("noise_m", "Scale of the noise", 50, (value) => `${value} m`),
  ];

  const plot = make("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, preserveAspectRatio: "none", role: "img" });
  const uses = make("ul", { class: "lab-uses", "aria-label": "Use that is left" });
  const figures = make("dl", { class: "lab-figures" });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const row = (...parts) => make("div", { class: "lab-desk__row" }, ...parts.map(({ root }) => root));
  const root = make(
    "div",
    { class: "lab lab-attacker" },
    make(
      "div",
      { class: "lab-main" },
      row(...controls.slice(0, 3)),
      row(controls[3]),
      row(...controls.slice(4)),
      make("p", { class: "lab-title" }, "How surely the attacker names each person"),
      plot,
      uses,
      figures,
      said,
      message,
    ),
  );
  el.append(root);

  function update() {
    const [desk, release] = [model.get("desk"), model.get("release")];
    if (resting()) controls.forEach(({ name, set }) => set(release[name]));
    plot.replaceChildren(...people(desk));
    plot.setAttribute("aria-label", model.get("summary"));
    uses.replaceChildren(...desk.utility.map(use));
    const rows = [
      ["first guess right", `${(100 * desk.top_1).toFixed(1)} %`],
      ["by chance", `${(100 * desk.chance).toFixed(1)} %`],
      ["homes", desk.home],
      ["sealed request", `${desk.bytes} bytes`],
    ];
    figures.replaceChildren(...figureList(rows));
    said.textContent = model.get("summary");
    message.textContent = model.get("message");
  }
  model.on("change", update);
  update();
  return () => {
    stop();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
