const QUIET_MS = 120; // a slider rests this long before Python is asked
const BOX = { width: 640, height: 220 };
const short = (value) => `${+value.toPrecision(3)}`;
const span = ([low, high]) => (low === high ? short(low) : `${short(low)} to ${short(high)}`);

function bars(counts, inset, kind) {
  const tallest = Math.max(1, ...counts);
  const room = BOX.width / counts.length;
  const path = counts
    .map((count, i) => {
      if (!count) return "";
      const [left, right] = [(i + inset) * room, (i + 1 - inset) * room];
      const top = BOX.height * (1 - count / tallest);
      return `M${left} ${BOX.height}V${top}H${right}V${BOX.height}Z`;
    })
    .join("");
  return make("path", { class: kind, d: path });
}

function radios(title, values, chosen) {
  const name = `lab-${title}-${Math.random().toString(36).slice(2)}`;
  const inputs = values.map((value) => make("input", { type: "radio", name, value, change: () => chosen(value) }));
  const root = make(
    "fieldset",
    { class: "lab-radios" },
    make("legend", {}, title),
    ...values.map((value, i) => make("label", {}, inputs[i], make("span", {}, value))),
  );
  return { root, set: (value) => inputs.forEach((input) => (input.checked = input.value === value)) };
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(
    ask,
    () => root,
    update,
    ({ name }) => name,
  );
  const choose = (name, value, quiet) => wish({ kind: "set", name, value }, quiet);

  const [fewest, most] = model.get("limits");
  const bits = make("input", {
    type: "range",
    class: "lab-range",
    min: fewest,
    max: most,
    step: 1,
    "aria-label": "Bits",
    input: () => {
      showBits();
      choose("bits", +bits.value, QUIET_MS);
    },
  });
  const number = make("span", { class: "lab-number" });
  function showBits() {
    number.textContent = `${bits.value} bits, ${2 ** bits.value} levels`;
    bits.setAttribute("aria-valuetext", number.textContent);
    bits.style.setProperty("--done", `${(100 * (bits.value - fewest)) / (most - fewest)}%`);
  }
  const choices = model.get("choices");
  const granularity = radios("one scale per", choices.granularity, (value) => choose("granularity", value));
  const method = radios("range by", choices.method, (value) => choose("method", value));
  const symmetric = make("input", { type: "checkbox", change: () => choose("symmetric", symmetric.checked) });

  const plot = make("svg", {
    class: "lab-histogram",
    viewBox: `0 0 ${BOX.width} ${BOX.height}`,
    preserveAspectRatio: "none",
    role: "img",
  });
  const ends = make("p", { class: "lab-ends", "aria-hidden": "true" });
  const figures = make("dl", { class: "lab-figures" });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });

  function update() {
    const shown = model.get("shown");
    if (resting()) {
      bits.value = model.get("bits");
      showBits();
      granularity.set(model.get("granularity"));
      method.set(model.get("method"));
      symmetric.checked = model.get("symmetric");
    }
    plot.replaceChildren(bars(shown.before, 0, "lab-before"), bars(shown.after, 0.3, "lab-after"));
    plot.setAttribute("aria-label", model.get("said"));
    ends.replaceChildren(...[-shown.reach, 0, shown.reach].map((value) => make("span", {}, short(value))));
    const rows = [
      ["error", `${short(100 * shown.error)} %`],
      ["clipped", `${short(100 * shown.clipped)} %`],
      ["scales", shown.scales.toLocaleString("en")],
      ["scale", span(shown.scale)],
      ["zero point", span(shown.zero_point)],
      ["size", `${short(shown.bytes / 1000)} kB`],
      ...Object.entries(shown.measured).map(([name, value]) => [name, short(value)]),
    ];
    figures.replaceChildren(...figureList(rows));
    said.textContent = model.get("said");
    message.textContent = model.get("message");
  }

  const root = make(
    "div",
    { class: "lab lab-quantization" },
    make(
      "div",
      { class: "lab-main" },
      make(
        "div",
        { class: "lab-controls" },
        make("label", { class: "lab-slider" }, make("span", { class: "lab-slider__title" }, "Bits", number), bits),
        granularity.root,
        method.root,
        make("label", { class: "lab-check" }, symmetric, make("span", {}, "symmetric")),
      ),
      plot,
      ends,
      figures,
      said,
      message,
    ),
  );
  el.append(root);

  model.on("change", update);
  update();
  return () => {
    stop();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
