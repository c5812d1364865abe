const WIDE = 620;
const HIGH = 190;
const EDGE = { left: 34, right: 8, top: 10, bottom: 24 };

// Steps over time: what is true at one look holds until the next.
function curves(lines) {
  const points = lines.flatMap((line) => line.points);
  const start = points.length ? Math.min(...points.map((point) => point[0])) : 0;
  const end = points.length ? Math.max(start + 1, ...points.map((point) => point[0])) : 1;
  const top = Math.max(4, ...points.map((point) => point[1]));
  const x = (seconds) => EDGE.left + ((WIDE - EDGE.left - EDGE.right) * (seconds - start)) / (end - start);
  const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * value) / top;
  const ground = [0, 0.5, 1].flatMap((share) => [
    make("line", { class: "lab-grid", x1: EDGE.left, x2: WIDE - EDGE.right, y1: y(share * top), y2: y(share * top) }),
    svgText(EDGE.left - 6, y(share * top) + 4, "end", String(Math.round(share * top))),
  ]);
  const drawn = lines.map((line, i) =>
    make("path", {
      class: `lab-curve lab-series-${i}`,
      d: line.points
        .map(([seconds, value], n) => (n ? `H${x(seconds).toFixed(1)}V${y(value).toFixed(1)}` : `M${x(seconds)} ${y(value)}`))
        .join(""),
    }),
  );
  return make(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, "aria-hidden": "true" },
    ...ground,
    ...drawn,
    svgText(EDGE.left, HIGH - 6, "start", "seconds"),
    svgText(WIDE - EDGE.right, HIGH - 6, "end", `${(end - start).toFixed(1)}`),
  );
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const go = button("Load it", ICONS.play, load, "lab-primary");
  const live = make("p", { class: "lab-live lab-number", "aria-hidden": "true" });
  const body = make("tbody", {});
  const head = ["clients", "your guess, answers/s", "answers/s", "95 % within", "written together"];
  const table = make(
    "table",
    { class: "lab-load" },
    make("thead", {}, make("tr", {}, ...head.map((name) => make("th", { scope: "col" }, name)))),
    body,
  );
  const plot = make("figure", { class: "lab-plot" });
  const key = make(
    "ul",
    { class: "lab-key" },
    ...["waiting", "written together"].map((name, i) =>
      make("li", {}, make("i", { class: `lab-mark lab-series-${i}` }), make("span", {}, name)),
    ),
  );
  const said = make("p", { class: "lab-said", "aria-live": "polite" });
  const error = make("p", { class: "lab-message", role: "alert" });
  const root = make("div", { class: "lab lab-server" }, make("div", { class: "lab-row" }, go, live), table, plot, key, said, error);
  el.append(root);

  async function load() {
    go.disabled = true;
    for (const { clients } of model.get("shown").runs) await ask({ kind: "load", clients });
    live.textContent = "";
    go.disabled = false;
  }

  // Fields stay as they are while somebody writes in them: only numbers beside them change.
  const inputs = new Map();
  function field(run) {
    if (!inputs.has(run.clients)) {
      const tell = (input) => input.value !== "" && ask({ kind: "guess", clients: run.clients, answers: +input.value });
      inputs.set(
        run.clients,
        make("input", {
          type: "number",
          class: "lab-input",
          min: 0,
          step: 1,
          value: run.guess ?? "",
          "aria-label": `Your guess for ${run.clients} clients, answers a second`,
          change: (event) => tell(event.target),
          keydown: (event) => event.key === "Enter" && tell(event.target),
        }),
      );
    }
    return inputs.get(run.clients);
  }
  const rows = new Map();
  function row(run) {
    if (!rows.has(run.clients)) {
      const cells = ["", "", ""].map(() => make("td", { class: "lab-number" }));
      const line = make("tr", {}, make("th", { scope: "row" }, String(run.clients)), make("td", {}, field(run)), ...cells);
      body.append(line);
      rows.set(run.clients, cells);
    }
    const texts = [run.answers?.toFixed(0) ?? "–", run.p95 ? `${run.p95.toFixed(0)} ms` : "–", run.rows || "–"];
    rows.get(run.clients).forEach((cell, i) => (cell.textContent = texts[i]));
  }

  function draw(shown) {
    shown.runs.forEach(row);
    plot.replaceChildren(curves(shown.lines));
  }
  function update() {
    draw(model.get("shown"));
    said.textContent = model.get("said");
    error.textContent = model.get("message");
  }
  const tick = (content) => {
    if (!content.live) return;
    draw(content.live);
    live.textContent = `${content.live.tokens} tokens a second`;
  };
  model.on("change", update);
  model.on("msg:custom", tick);
  update();
  return () => {
    model.off("change", update);
    model.off("msg:custom", tick);
    close();
  };
}

export default { render: watched(render) };
