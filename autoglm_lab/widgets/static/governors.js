const WIDE = 600;
const HIGH = 30;
const MOST_AWAKE = 3000;
const PACE = 2; // seconds of the race in one of the reader

// One lane: the speed as a shadow, a gate at each deadline, a car for each request that waits, and a battery that empties.
function lane({ name, ghost, speeds, late }, { seconds, every, jobs }) {
  const x = (moment) => (WIDE * moment) / seconds;
  const shadow = speeds.map(
    (speed, n) => `L${x(n * every).toFixed(1)} ${(HIGH * (1 - speed)).toFixed(1)}H${x((n + 1) * every).toFixed(1)}`,
  );
  const gates = jobs.map(([, due], n) =>
    make("line", { class: late.includes(n) ? "lab-gate lab-late" : "lab-gate", x1: x(due), x2: x(due), y1: 2, y2: HIGH - 2 }),
  );
  const cars = make("g", {});
  const now = make("line", { class: "lab-now", y1: 0, y2: HIGH });
  const track = make(
    "svg",
    { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    make("path", { class: "lab-speed", d: `M0 ${HIGH}${shadow.join("")}V${HIGH}Z` }),
    ...gates,
    cars,
    now,
  );
  const charge = make("i", {});
  const used = make("span", { class: "lab-number" });
  const missed = make("span", { class: "lab-soft" });
  const row = make(
    "li",
    { class: ghost ? "lab-lane lab-ghost" : "lab-lane", "data-rule": name },
    make("span", { class: "lab-lane__name" }, name),
    make("span", { class: "lab-battery", "aria-hidden": "true" }, charge),
    track,
    used,
    missed,
  );
  return { row, x, gates, cars, now, charge, used, missed };
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(ask, () => root, update);
  let lanes = [];
  let drawn = null;
  let frame = null;
  let last = 0;
  const time = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    step: 0.1,
    "aria-label": "Moment of the race",
    input: () => {
      halt();
      place();
    },
  });
  const clock = make("span", { class: "lab-number" });
  const play = button("Race", ICONS.play, () => (frame ? halt() : start()), "lab-primary");
  const awake = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: MOST_AWAKE,
    step: 100,
    "aria-label": "What the rest of the phone takes while the processor works",
    input: () => {
      showAwake();
      wish({ kind: "awake", power: +awake.value }, 150);
    },
  });
  const power = make("span", { class: "lab-number" });
  const list = make("ul", { class: "lab-lanes", "aria-label": "Lanes" });
  const summary = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const slider = (title, number, range) =>
    make("label", { class: "lab-slider" }, make("span", { class: "lab-slider__title" }, make("span", {}, title), number), range);
  const root = make(
    "div",
    { class: "lab lab-governors" },
    make(
      "div",
      { class: "lab-main" },
      make("div", { class: "lab-row" }, play, slider("Moment", clock, time)),
      list,
      slider("The rest of the phone, while the processor works", power, awake),
      summary,
      message,
    ),
  );
  el.append(root);

  function showAwake() {
    power.textContent = `${awake.value} units`;
    awake.style.setProperty("--done", `${(100 * awake.value) / MOST_AWAKE}%`);
  }

  // Everything at the moment of the slider.
  function place() {
    const shown = model.get("race");
    const moment = +time.value;
    const look = clamp(Math.round(moment / shown.every), 0, shown.lanes[0].energy.length - 1);
    time.style.setProperty("--done", `${(100 * moment) / shown.seconds}%`);
    clock.textContent = `${moment.toFixed(1)} s`;
    shown.lanes.forEach((entry, n) => {
      const { x, gates, cars, now, charge, used, missed } = lanes[n];
      now.setAttribute("x1", x(moment));
      now.setAttribute("x2", x(moment));
      gates.forEach((gate, job) => gate.classList.toggle("lab-passed", shown.jobs[job][1] <= moment));
      const waiting = entry.cars[Math.min(look, entry.cars.length - 1)];
      cars.replaceChildren(
        ...waiting.map(([job, done]) => {
          const [arrival, due] = shown.jobs[job];
          const at = x(arrival + done * (due - arrival));
          const behind = arrival + done * (due - arrival) < moment - 0.05;
          return make("path", { class: behind ? "lab-car lab-late" : "lab-car", d: `M${at - 9} 8h9l4 7-4 7h-9z` });
        }),
      );
      const energy = entry.energy[Math.min(look, entry.energy.length - 1)];
      charge.style.width = `${100 * Math.max(0, 1 - energy)}%`;
      used.textContent = `${Math.round(100 * energy)} %`;
      const late = entry.late.filter((job) => shown.jobs[job][1] <= moment).length;
      missed.textContent = late ? `${late} late` : "in time";
      lanes[n].row.classList.toggle("lab-winner", moment >= shown.seconds && entry.name === shown.winner);
    });
  }

  function start() {
    const { seconds } = model.get("race");
    if (+time.value >= seconds) time.value = 0;
    last = performance.now();
    play.querySelector("span").textContent = "Stop";
    const tick = (instant) => {
      const steps = Math.floor((PACE * (instant - last)) / 100); // of the slider, a tenth of a second each
      if (steps > 0) {
        last += (100 * steps) / PACE;
        time.value = +time.value + steps / 10;
        place();
      }
      if (+time.value >= seconds) halt();
      else frame = requestAnimationFrame(tick);
    };
    frame = requestAnimationFrame(tick);
  }

  function halt() {
    cancelAnimationFrame(frame);
    frame = null;
    play.querySelector("span").textContent = "Race";
  }

  function update() {
    const shown = model.get("race");
    if (drawn !== shown) {
      const first = drawn === null;
      drawn = shown;
      time.max = shown.seconds;
      if (first) time.value = shown.seconds;
      lanes = shown.lanes.map((entry) => lane(entry, shown));
      list.replaceChildren(...lanes.map(({ row }) => row));
    }
    if (resting()) {
      awake.value = model.get("awake");
      showAwake();
    }
    place();
    summary.textContent = model.get("summary");
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
