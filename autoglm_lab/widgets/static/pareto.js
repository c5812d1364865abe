const HIGH = 340;
const EDGE = { left: 44, right: 20, top: 34, bottom: 44 };

// Five round numbers that hold all values.
function ticks(values, from = Math.min(...values)) {
  const reach = Math.max(...values) - from || Math.abs(from) || 1;
  const raw = reach / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((n) => n * power >= raw) * power;
  const first = Math.floor(from / step) * step;
  const count = Math.ceil((Math.max(...values) - first) / step + 1e-9);
  return Array.from({ length: Math.max(1, count) + 1 }, (_, i) => +(first + i * step).toPrecision(6));
}

// Where each name begins: beside its point, clear of the other points and names, if that can be.
function places(points, wide) {
  const taken = points.map(({ px, py }) => [px - 7, py - 7, px + 7, py + 7]);
  return points.map(({ px, py, name }, own) => {
    const long = 7.5 * name.length;
    const offsets = [-6, 14, -22, 30].flatMap((dy) => [
      [10, dy],
      [-10 - long, dy],
      [-long / 2, 1.5 * dy - 4],
    ]);
    const boxes = offsets.map(([dx, dy]) => [px + dx, py + dy - 11, px + dx + long, py + dy + 3]);
    const clear = (a) => taken.every((b, i) => i === own || a[2] < b[0] || b[2] < a[0] || a[3] < b[1] || b[3] < a[1]);
    const best = boxes.find((box) => box[0] >= EDGE.left && box[2] <= wide && clear(box)) ?? boxes[px < wide - 160 ? 0 : 1];
    taken.push(best);
    return [best[0], best[1] + 11];
  });
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const choose = (name) => ask({ kind: "choose", name });

  const axis = make(
    "select",
    { class: "lab-input", "aria-label": "What is compared with success", change: () => ask({ kind: "turn", axis: axis.value }) },
    ...Object.entries(model.get("axes")).map(([name, unit]) => make("option", { value: name }, unit)),
  );
  axis.dataset.lmSuppressShortcuts = "true";
  const plane = make("div", { class: "lab-plane" });
  const reply = make("p", { class: "lab-reply", role: "status" });
  const said = make("p", { class: "lab-said" });
  const message = make("p", { class: "lab-message", role: "alert" });

  function draw(shown) {
    const wide = Math.max(280, plane.clientWidth || 640); // one unit is one pixel, so that words stay readable
    const across = ticks(
      shown.points.map((point) => point.x),
      0,
    );
    const up = ticks(shown.points.flatMap((point) => [100 * point.y, ...point.ci95.map((y) => 100 * y)]));
    const x = (value) => EDGE.left + ((wide - EDGE.left - EDGE.right) * (value - across[0])) / (across.at(-1) - across[0]);
    const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * (value - up[0])) / (up.at(-1) - up[0]);
    const ground = [
      ...up.flatMap((value) => [
        make("line", { class: "lab-grid", x1: EDGE.left, x2: wide - EDGE.right, y1: y(value), y2: y(value) }),
        svgText(EDGE.left - 8, y(value) + 4, "end", String(value)),
      ]),
      ...across.map((value) => svgText(x(value), HIGH - EDGE.bottom + 18, "middle", String(value))),
      svgText(wide - EDGE.right, HIGH - 6, "end", shown.unit),
      svgText(0, EDGE.top - 20, "start", "success, %"),
    ];
    const at = (name) => shown.points.find((point) => point.name === name);
    const line = shown.front.map((name, i) => `${i ? "L" : "M"}${x(at(name).x)} ${y(100 * at(name).y)}`).join("");
    const spots = places(
      shown.points.map((point) => ({ px: x(point.x), py: y(100 * point.y), name: point.name })),
      wide,
    );
    const marks = shown.points.map((point, i) => {
      const chosen = point.name === model.get("choice");
      const kind = `lab-point${point.front ? " lab-front" : ""}${chosen ? " lab-chosen" : ""}`;
      const words = `${point.name}: ${+point.x.toPrecision(3)} (${shown.unit}), success ${(100 * point.y).toFixed(1)} %`;
      const bar = point.ci95.length
        ? [make("line", { x1: x(point.x), x2: x(point.x), y1: y(100 * point.ci95[0]), y2: y(100 * point.ci95[1]) })]
        : [];
      const mark = make(
        "g",
        {
          class: kind,
          tabindex: "0",
          role: "button",
          "aria-label": words,
          "aria-pressed": String(chosen),
          "data-name": point.name,
          click: () => choose(point.name),
          keydown: (event) => {
            if (event.key !== "Enter" && event.key !== " ") return;
            event.preventDefault();
            choose(point.name);
          },
        },
        ...bar,
        make("circle", { cx: x(point.x), cy: y(100 * point.y), r: chosen ? 7 : 5 }),
        svgText(...spots[i], "start", point.name),
      );
      return mark;
    });
    const held = document.activeElement?.closest("[data-name]")?.getAttribute("data-name");
    plane.replaceChildren(
      make(
        "svg",
        { viewBox: `0 0 ${wide} ${HIGH}`, height: HIGH, role: "group", "aria-label": "Recipes" },
        ...ground,
        make("path", { class: "lab-front-line", d: line }),
        ...marks,
      ),
    );
    if (held) plane.querySelector(`[data-name="${CSS.escape(held)}"]`)?.focus();
  }

  function update() {
    axis.value = model.get("axis");
    draw(model.get("shown"));
    reply.textContent = model.get("reply");
    said.textContent = model.get("said");
    message.textContent = model.get("message");
  }

  const root = make(
    "div",
    { class: "lab lab-pareto" },
    make(
      "div",
      { class: "lab-main" },
      make("label", { class: "lab-axis" }, make("span", {}, "success against"), axis),
      plane,
      said,
      reply,
      message,
    ),
  );
  el.append(root);

  model.on("change", update);
  update();
  const watcher = new ResizeObserver(() => draw(model.get("shown")));
  watcher.observe(plane);
  return () => {
    watcher.disconnect();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
