const SCISSORS =
  "M4 2.2a2.3 2.3 0 0 1 2.1 3.2L8 7.3l5-5h1.6L6.1 10.6A2.3 2.3 0 1 1 5 9.5L6.9 8.4 5 6.5A2.3 2.3 0 1 1 4 2.2zM9.1 9.5l1.1-1.1 4.4 4.4H13z";
const MOST_LETTERS = 40;
const MOST_SKEW = 300;
const TRAVEL_MS = 1300;
const STATES = { current: "stands", beside: "stands beside another", replaced: "replaced", gone: "gone without a choice" };

function bead(number, beads, state) {
  const { phone, text, label, name } = beads[number];
  const words = `${name}: ${text}, ${STATES[state]}`;
  return make(
    "li",
    { class: `lab-bead lab-series-${phone} lab-bead-${state}`, title: words, "data-bead": number, "data-state": state },
    make("span", { role: "img", "aria-label": words }, label),
  );
}

// One phone: its values, with a button for each when there is a choice, a line to write on, and its thread.
function card(n, wish) {
  const title = make("strong", {});
  const label = make("span", { class: "lab-soft lab-label" });
  const values = make("ul", { class: "lab-values" });
  const send = () => {
    if (!text.value.trim()) return;
    wish({ kind: "write", phone: n, text: text.value });
    text.value = "";
  };
  const text = make("input", {
    class: "lab-input",
    maxlength: MOST_LETTERS,
    keydown: (event) => event.key === "Enter" && send(),
  });
  const thread = make("ol", { class: "lab-thread" });
  const root = make(
    "section",
    { class: "lab-card", "data-phone": n },
    make("div", { class: "lab-card__head" }, title, label),
    values,
    make("div", { class: "lab-row" }, text, button("Write", null, send)),
    thread,
  );

  function show(phone, beads) {
    title.textContent = phone.name;
    label.textContent = phone.label;
    root.setAttribute("aria-label", phone.name);
    text.setAttribute("aria-label", `New note on ${phone.name}`);
    thread.setAttribute("aria-label", `Writes on ${phone.name}`);
    text.placeholder = "write the note anew";
    const rows = phone.values.map((number) => {
      const words = make("span", { class: "lab-value" }, beads[number].text);
      const keep = () => wish({ kind: "choose", phone: n, bead: number });
      const choice = phone.conflict ? [button("Keep", null, keep, "lab-primary")] : [];
      choice.forEach((each) => each.setAttribute("aria-label", `Keep ${beads[number].text} on ${phone.name}`));
      return make("li", { class: `lab-series-${beads[number].phone}` }, words, ...choice);
    });
    values.replaceChildren(...rows);
    values.classList.toggle("lab-conflict", phone.conflict);
    thread.replaceChildren(...phone.thread.map(([number, state]) => bead(number, beads, state)));
  }
  return { root, show };
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(
    ask,
    () => root,
    update,
    ({ kind, phone }) => `${kind} ${phone}`,
  );
  const cards = [0, 1].map((n) => card(n, wish));
  const line = button("Cut the line", SCISSORS, () => wish({ kind: "line", up: !model.get("state").up }), "lab-primary");
  const bytes = make("span", { class: "lab-soft" });
  const way = make("div", { class: "lab-way", "aria-hidden": "true" });
  const clocks = make("input", { type: "checkbox", change: () => wish({ kind: "clocks", on: clocks.checked }) });
  const number = make("span", { class: "lab-number" });
  const skew = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: MOST_SKEW,
    step: 10,
    "aria-label": "Phone B's clock is behind",
    input: () => {
      showSkew();
      wish({ kind: "skew", seconds: +skew.value }, 120);
    },
  });
  const slider = make(
    "label",
    { class: "lab-slider" },
    make("span", { class: "lab-slider__title" }, make("span", {}, "Phone B's clock is behind by"), number),
    skew,
  );
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const root = make(
    "div",
    { class: "lab lab-two_phones" },
    make(
      "div",
      { class: "lab-main" },
      make("div", { class: "lab-pair" }, cards[0].root, make("div", { class: "lab-line" }, way, line, bytes), cards[1].root),
      make(
        "div",
        { class: "lab-row" },
        make("label", { class: "lab-switch" }, clocks, make("span", {}, "Use clocks")),
        slider,
        button("Begin again", null, () => wish({ kind: "restart" })),
      ),
      said,
      message,
    ),
  );
  el.append(root);
  let events = null;
  const timers = new Set();

  function showSkew() {
    number.textContent = `${skew.value} s`;
    skew.setAttribute("aria-valuetext", `${skew.value} seconds`);
    skew.style.setProperty("--done", `${(100 * skew.value) / MOST_SKEW}%`);
  }

  // Beads go over the line once, after the event that sent them.
  function travel({ travels, beads }) {
    for (const [moving, to] of travels) {
      const node = make("span", { class: `lab-bead lab-moving lab-to-${to} lab-series-${beads[moving].phone}` });
      way.append(node);
      const timer = setTimeout(() => {
        node.remove();
        timers.delete(timer);
      }, TRAVEL_MS);
      timers.add(timer);
    }
  }

  function update() {
    const state = model.get("state");
    cards.forEach(({ show }, n) => show(state.phones[n], state.beads));
    line.querySelector("span").textContent = state.up ? "Cut the line" : "Connect";
    way.classList.toggle("lab-cut", !state.up);
    bytes.textContent = state.up && state.bytes ? `${state.bytes} bytes, unsealed` : "";
    if (events !== null && state.events > events) travel(state);
    events = state.events;
    slider.hidden = !state.clocks;
    if (resting()) {
      clocks.checked = state.clocks;
      skew.value = state.skew;
      showSkew();
    }
    said.textContent = model.get("summary");
    message.textContent = model.get("message");
  }
  model.on("change", update);
  update();
  return () => {
    timers.forEach(clearTimeout);
    stop();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
