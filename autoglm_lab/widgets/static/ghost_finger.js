const WIDE = 600;
const HIGH = 190;
const EDGE = { left: 52, right: 12, top: 14, bottom: 30 };
const STRIP = 54; // height of the gains
const PACE_MS = 650; // between two events

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(ask, () => root, update);
  const events = model.get("events");
  let timer = null;

  const image = make("img", { class: "lab-screen__picture", alt: "", draggable: "false" });
  const finger = make("circle", { class: "lab-finger", r: 70 });
  const touch = make("circle", { class: "lab-touch", r: 78 });
  const marks = make(
    "svg",
    { class: "lab-screen__marks", viewBox: "0 0 1000 2222", preserveAspectRatio: "none", "aria-hidden": "true" },
    finger,
    touch,
  );
  const facts = make("dl", { class: "lab-figures" });
  const play = button("Play", ICONS.play, () => (timer ? halt() : start()), "lab-primary");
  const slider = (label, attributes, input) => {
    const range = make("input", { type: "range", class: "lab-range", "aria-label": label, ...attributes, input });
    const number = make("span", { class: "lab-number" });
    const title = make("span", { class: "lab-slider__title" }, make("span", {}, label), number);
    return { range, number, root: make("label", { class: "lab-slider" }, title, range) };
  };
  const moment = slider("Step", { min: 1, max: events.length, step: 1, value: events.length }, () => {
    halt();
    place();
  });
  const gate = slider("Gate: prepare above this probability", { min: 0, max: 1, step: 0.01 }, () => chooseGate(+gate.range.value));
  const cost = slider("Cost of a miss", { min: 1, max: model.get("most_cost"), step: 1 }, () => {
    label();
    wish({ kind: "cost", cost: +cost.range.value }, 80);
  });
  const strip = make("svg", {
    class: "lab-strip",
    viewBox: `0 0 ${WIDE} ${STRIP}`,
    preserveAspectRatio: "none",
    "aria-hidden": "true",
  });
  const plot = make("svg", {
    class: "lab-curve-plot",
    viewBox: `0 0 ${WIDE} ${HIGH}`,
    "aria-hidden": "true",
    pointerdown: (event) => {
      event.preventDefault();
      plot.setPointerCapture(event.pointerId);
      drag(event);
    },
    pointermove: (event) => plot.hasPointerCapture(event.pointerId) && drag(event),
  });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const root = make(
    "div",
    { class: "lab lab-ghost_finger" },
    make("div", { class: "lab-side" }, make("div", { class: "lab-device" }, make("div", { class: "lab-screen" }, image, marks))),
    make(
      "div",
      { class: "lab-main" },
      make("div", { class: "lab-row" }, play, moment.root),
      facts,
      strip,
      gate.root,
      make("div", { class: "lab-plot" }, plot),
      cost.root,
      said,
      message,
    ),
  );
  el.append(root);

  function drag(event) {
    const box = plot.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * WIDE;
    gate.range.value = clamp((across - EDGE.left) / (WIDE - EDGE.left - EDGE.right), 0, 1);
    chooseGate(+gate.range.value);
  }

  function chooseGate(value) {
    label();
    draw(value);
    wish({ kind: "gate", gate: value }, 80);
  }

  function label() {
    gate.number.textContent = (+gate.range.value).toFixed(2);
    cost.number.textContent = `${cost.range.value} ms`;
    moment.number.textContent = `${moment.range.value} of ${events.length}`;
    for (const { range } of [gate, cost, moment])
      range.style.setProperty("--done", `${(100 * (range.value - range.min)) / (range.max - range.min)}%`);
  }

  // The screen, the ghost, and the purse after the step of the slider.
  function place() {
    label();
    const { gains, gate: above } = model.get("purse");
    const now = +moment.range.value - 1;
    const { screen, guess, guessAt, probability, came, cameAt, right, first, may } = events[now];
    image.src = model.get("screens")[screen];
    image.alt = `The phone before step ${now + 1}.`;
    const put = (circle, point) => {
      circle.style.display = point ? "" : "none";
      if (!point) return;
      circle.setAttribute("cx", point[0]);
      circle.setAttribute("cy", (point[1] * 2222) / 1000);
    };
    put(finger, guessAt);
    finger.style.opacity = probability;
    put(touch, cameAt);
    touch.classList.toggle("lab-wrong", !right);
    const purse = gains.slice(0, now + 1).reduce((sum, gain) => sum + gain, 0);
    const signed = (value) => `${value > 0 ? "+" : ""}${Math.round(value)} ms`;
    const why = !may ? "never prepared" : probability <= above ? "below the gate" : signed(gains[now]);
    facts.replaceChildren(
      ...figureList([
        [first ? "Guess, first step of a task" : "Guess", guess],
        ["Probability", `${Math.round(100 * probability)} %`],
        ["What came", came],
        ["This step", why],
        ["Purse", signed(purse)],
      ]),
    );
    const step = WIDE / events.length;
    const most = Math.max(...gains.map(Math.abs), 1);
    strip.replaceChildren(
      make("line", { class: "lab-grid", x1: 0, x2: WIDE, y1: STRIP / 2, y2: STRIP / 2 }),
      ...gains.flatMap((gain, n) => {
        if (!gain || n > now) return [];
        const high = ((STRIP / 2 - 2) * Math.abs(gain)) / most;
        const y = gain > 0 ? STRIP / 2 - high : STRIP / 2;
        return [
          make("path", { class: gain > 0 ? "lab-gain" : "lab-loss", d: `M${n * step + 1} ${y}h${step - 2}v${high}h${2 - step}z` }),
        ];
      }),
      make("line", { class: "lab-now", x1: (now + 0.5) * step, x2: (now + 0.5) * step, y1: 0, y2: STRIP }),
    );
  }

  function draw(above) {
    const { totals, rule, best } = model.get("purse");
    const low = Math.min(0, ...totals);
    const reach = Math.max(0, ...totals) - low || 1;
    const x = (value) => EDGE.left + (WIDE - EDGE.left - EDGE.right) * value;
    const y = (value) => HIGH - EDGE.bottom - ((HIGH - EDGE.top - EDGE.bottom) * (value - low)) / reach;
    const line = totals.map((total, n) => `${n ? "H" : "M"}${x(n / (totals.length - 1))}${n ? "V" : " "}${y(total)}`).join("");
    const upright = (value, kind) =>
      make("line", { class: kind, x1: x(value), x2: x(value), y1: EDGE.top, y2: HIGH - EDGE.bottom });
    plot.replaceChildren(
      make("line", { class: "lab-grid", x1: EDGE.left, x2: WIDE - EDGE.right, y1: y(0), y2: y(0) }),
      svgText(EDGE.left - 6, y(0) + 4, "end", "0 ms"),
      svgText(EDGE.left - 6, y(Math.max(...totals)) + 4, "end", `${Math.round(Math.max(...totals))} ms`),
      ...[0, 0.2, 0.4, 0.6, 0.8, 1].map((value) => svgText(x(value), HIGH - 12, "middle", String(value))),
      make("path", { class: "lab-curve lab-series-0", d: line }),
      upright(rule, "lab-rule"),
      svgText(x(rule) + 4, EDGE.top + 8, "start", "p*"),
      upright(above, "lab-gate-line"),
      make("circle", { class: "lab-best", cx: x(best), cy: y(Math.max(...totals)), r: 5 }),
    );
  }

  function start() {
    if (+moment.range.value >= events.length) moment.range.value = 0;
    play.querySelector("span").textContent = "Stop";
    const next = () => {
      moment.range.value = +moment.range.value + 1;
      place();
      if (+moment.range.value >= events.length) halt();
    };
    timer = setInterval(next, PACE_MS);
    next();
  }

  function halt() {
    clearInterval(timer);
    timer = null;
    play.querySelector("span").textContent = "Play";
  }

  function update() {
    const shown = model.get("purse");
    if (resting()) {
      gate.range.value = shown.gate;
      cost.range.value = shown.cost;
    }
    draw(+gate.range.value);
    place();
    said.textContent = model.get("summary");
    message.textContent = model.get("message");
  }
  model.on("change", update);
  update();
  return () => {
    halt();
    stop();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
