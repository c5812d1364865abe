const WIDE = 440;
const HIGH = 200;
const EDGE = { left: 40, right: 8, top: 10, bottom: 24 };

// One plot: its lines, an axis from 0 to a round number, and where alignment ends.
function plot(panel, shown) {
  const values = panel.lines.flatMap((line) => line.points.map((point) => point[1]));
  const top = panel.title === "share right" ? 1 : Math.max(1, Math.ceil(Math.max(0, ...values)));
  const x = (step) => EDGE.left + ((WIDE - EDGE.left - EDGE.right) * step) / shown.steps;
  const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * value) / top;
  const ground = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => [
    make("line", { class: "lab-grid", x1: EDGE.left, x2: WIDE - EDGE.right, y1: y(share * top), y2: y(share * top) }),
    svgText(EDGE.left - 6, y(share * top) + 4, "end", String(+(share * top).toFixed(2))),
  ]);
  const border = make("line", {
    class: "lab-border",
    x1: x(shown.align_steps),
    x2: x(shown.align_steps),
    y1: EDGE.top,
    y2: HIGH - EDGE.bottom,
  });
  const curves = panel.lines.map((line, i) =>
    make("path", {
      class: `lab-curve lab-series-${i}`,
      d: line.points.map(([step, value], n) => `${n ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join(""),
    }),
  );
  const svg = make(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" },
    ...ground,
    ...(shown.align_steps ? [border] : []),
    ...curves,
    svgText(EDGE.left, HIGH - 6, "start", "0"),
    svgText(WIDE - EDGE.right, HIGH - 6, "end", `${shown.steps} steps`),
  );
  const key = panel.lines.map((line, i) => {
    const last = line.points.at(-1);
    const number = make("span", { class: "lab-number" }, last ? last[1].toFixed(2) : "–");
    return make("li", {}, make("i", { class: `lab-mark lab-series-${i}` }), make("span", {}, line.name), number);
  });
  return make("figure", { class: "lab-plot" }, make("figcaption", {}, panel.title), svg, make("ul", {}, ...key));
}

function render({ model, el }) {
  const plots = make("div", { class: "lab-plots" });
  const said = make("p", { class: "lab-said" }); // not announced: it changes twice a second
  const bar = make("progress", { "aria-label": "Steps done" });
  const root = make("div", { class: "lab lab-training" }, bar, said, plots);
  el.append(root);

  function update() {
    const shown = model.get("shown");
    plots.replaceChildren(...shown.panels.map((panel) => plot(panel, shown)));
    said.textContent = model.get("said");
    bar.max = shown.steps;
    bar.value = shown.step;
  }
  model.on("change", update);
  update();
  return () => model.off("change", update);
}

export default { render: watched(render) };
