const SIDE = 8; // of a square with its gap
const NAMES = { "-": "--lab-line", c: "--lab-blue", w: "--lab-orange" };

function render({ model, el }) {
  const { ask, close } = asker(model);
  const busy = (working) => {
    root.classList.toggle("lab-working", working);
    for (const each of root.querySelectorAll("button")) each.disabled = working;
  };
  const wish = async (content) => {
    busy(true);
    await ask(content);
    busy(false);
  };
  const pressure = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: 100,
    step: 5,
    value: 100,
    "aria-label": "Memory pressure",
    input: show,
    change: () => wish({ kind: "press", share: pressure.value / 100 }),
  });
  const share = make("span", { class: "lab-number" });
  const list = make("ul", { class: "lab-strips" });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const sign = (kind, words) => make("span", { class: `lab-sign lab-page-${kind}` }, words);
  const root = make(
    "div",
    { class: "lab lab-pages" },
    make(
      "div",
      { class: "lab-main" },
      make(
        "div",
        { class: "lab-row" },
        button("Ask, typed only", ICONS.play, () => wish({ kind: "ask", seen: false }), "lab-primary"),
        button("Ask, with a screen", ICONS.play, () => wish({ kind: "ask", seen: true }), "lab-primary"),
        button("Press the memory", ICONS.stop, () => wish({ kind: "press", share: pressure.value / 100 })),
      ),
      make(
        "label",
        { class: "lab-slider" },
        make("span", { class: "lab-slider__title" }, make("span", {}, "Memory pressure: what others need"), share),
        pressure,
      ),
      list,
      make(
        "p",
        { class: "lab-legend" },
        sign("absent", "not in memory"),
        sign("clean", "clean, as the file"),
        sign("written", "written"),
      ),
      said,
      message,
    ),
  );
  el.append(root);
  const strips = new Map();

  function show() {
    share.textContent = `${pressure.value} %`;
    pressure.style.setProperty("--done", `${pressure.value}%`);
  }

  function strip({ name }) {
    if (!strips.has(name)) {
      const title = make("span", {});
      const canvas = make("canvas", { "aria-hidden": "true" });
      list.append(make("li", { "data-strip": name }, title, canvas));
      strips.set(name, { title, canvas });
    }
    return strips.get(name);
  }

  function draw() {
    const style = getComputedStyle(root);
    const colours = Object.fromEntries(Object.entries(NAMES).map(([kind, name]) => [kind, style.getPropertyValue(name)]));
    const probe = make("i", {});
    root.append(probe);
    const painted = Object.fromEntries(
      Object.entries(colours).map(([kind, colour]) => {
        probe.style.color = colour;
        return [kind, getComputedStyle(probe).color]; // a canvas knows no mixed colours
      }),
    );
    probe.remove();
    const ratio = window.devicePixelRatio || 1;
    for (const told of model.get("strips").strips) {
      const { title, canvas } = strip(told);
      title.textContent = `${told.name}: ${told.written || told.clean} of ${told.size} MB in memory`;
      const wide = Math.max(1, Math.floor(list.clientWidth / SIDE));
      const rows = Math.ceil(told.squares.length / wide);
      canvas.width = wide * SIDE * ratio;
      canvas.height = rows * SIDE * ratio;
      canvas.style.width = `${wide * SIDE}px`;
      canvas.style.height = `${rows * SIDE}px`;
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      [...told.squares].forEach((kind, n) => {
        pen.fillStyle = painted[kind];
        pen.fillRect(SIDE * (n % wide), SIDE * Math.floor(n / wide), SIDE - 2, SIDE - 2);
      });
    }
  }
  function update() {
    draw();
    said.textContent = model.get("summary");
    message.textContent = model.get("message");
  }
  const resized = new ResizeObserver(draw);
  resized.observe(list);
  model.on("change", update);
  show();
  update();
  return () => {
    resized.disconnect();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
