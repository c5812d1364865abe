const LEAST_MS = 1000; // of the axis
const LANES = ["cloud", "device"];
const NAMES = { asked: "Asked", answered: "Answered", errors: "Errors", lost: "Lost", done_twice: "Done twice" };

// The pieces of one engine at their moments; hollow and struck out where the other one's answer was taken, or none.
function lane(request, name, scale) {
  const left = (ms) => `left: ${Math.min(100, (100 * ms) / scale)}%`;
  const wasted = request.ms !== null && request.route !== name;
  const marks = request.events.flatMap(([ms, where, kind, text]) => {
    if (where === name && kind === "piece")
      return [make("i", { class: wasted ? "lab-piece lab-wasted" : "lab-piece", style: left(ms), title: text })];
    if (where === name && (kind === "failure" || (kind === "end" && request.reasons[name])))
      return [make("i", { class: "lab-failure", style: left(ms), title: text }, "×")];
    if (where === "cable" && kind === "cut") return [make("i", { class: "lab-snip", style: left(ms), title: "cut" })];
    return [];
  });
  if (request.route === name) marks.push(make("i", { class: "lab-answer", style: left(request.ms), title: "answered" }));
  const words = request.texts[name];
  return make(
    "div",
    { class: "lab-lane", "data-lane": name },
    make("span", { class: "lab-lane__name" }, name),
    make("span", { class: "lab-lane__track", "aria-hidden": "true" }, ...marks),
    make("code", { class: "lab-lane__text" }, wasted && words ? make("s", {}, words) : words),
  );
}

// The words of the last one stand in the status above the list.
function row(request, scale, isLast) {
  return make(
    "li",
    { class: "lab-request", "data-number": request.number },
    make("p", { class: "lab-request__title" }, `${request.number}. ${request.policy}, ${request.fault}`),
    ...LANES.map((name) => lane(request, name, scale)),
    ...(isLast ? [] : [make("p", { class: "lab-said" }, request.words)]),
  );
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const set = (name, value) => ask({ kind: "set", [name]: value });
  let live = model.get("state");

  const radios = (name, title) => {
    const group = `lab-${name}-${Math.random().toString(36).slice(2)}`;
    const inputs = model
      .get("choices")
      [name].map((value) => make("input", { type: "radio", name: group, value, change: () => set(name, value) }));
    const labels = inputs.map((input) => make("label", {}, input, make("span", {}, input.value)));
    const root = make("fieldset", { class: "lab-radios" }, make("legend", {}, title), ...labels);
    return { root, show: (value) => inputs.forEach((input) => (input.checked = input.value === value)) };
  };
  const policy = radios("policy", "policy");
  const fault = radios("fault", "fault of the next request");
  const most = model.get("choices").most_cut_ms;
  const number = make("span", { class: "lab-number" });
  const moment = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: most,
    step: 1,
    "aria-label": "Cut at",
    input: () => showMoment(),
    change: () => set("cut_at_ms", +moment.value),
  });
  const send = button("Ask", ICONS.play, start, "lab-primary");
  const cable = button("Cut the cable (X)", "", snip);
  const facts = make("dl", { class: "lab-figures" });
  const list = make("ol", { class: "lab-requests", "aria-label": "Requests, the last one first" });
  const axis = make("p", { class: "lab-ends lab-axis", "aria-hidden": "true" });
  const said = make("p", { class: "lab-said lab-outcome", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const root = make(
    "div",
    {
      class: "lab lab-cable",
      keydown: (event) => {
        if (event.key.toLowerCase() !== "x" || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
        event.preventDefault();
        snip();
      },
    },
    make(
      "div",
      { class: "lab-main" },
      policy.root,
      fault.root,
      make(
        "label",
        { class: "lab-slider" },
        make("span", { class: "lab-slider__title" }, make("span", {}, "Cut at"), number),
        moment,
      ),
      make("div", { class: "lab-buttons" }, send, cable),
      facts,
      said,
      message,
      axis,
      list,
    ),
  );
  el.append(root);

  function start() {
    if (live.now === null) ask({ kind: "ask" });
  }

  function snip() {
    ask({ kind: live.cut ? "mend" : "cut" });
  }

  function showMoment() {
    number.textContent = `${moment.value} ms after the request`;
    moment.setAttribute("aria-valuetext", number.textContent);
    moment.style.setProperty("--done", `${(100 * moment.value) / most}%`);
  }

  function draw() {
    const done = model.get("requests");
    const all = live.now && !done.some((each) => each.number === live.now.number) ? [...done, live.now] : done;
    const last = 1.04 * Math.max(LEAST_MS, ...all.flatMap(({ events, ms }) => [ms ?? 0, ...events.map((event) => event[0])]));
    list.replaceChildren(...all.map((request, n) => row(request, last, n === all.length - 1)).reverse());
    axis.replaceChildren(...[0, last / 2, last].map((ms) => make("span", {}, `${Math.round(ms)} ms`)));
    axis.hidden = !all.length;
    facts.replaceChildren(
      ...figureList([...Object.entries(NAMES).map(([key, name]) => [name, String(live.tally[key])]), ["Breaker", live.breaker]]),
    );
    cable.querySelector("span").textContent = live.cut ? "Plug it in (X)" : "Cut the cable (X)";
    root.classList.toggle("lab-is-cut", live.cut);
    send.setAttribute("aria-disabled", String(live.now !== null)); // it keeps the focus
  }

  function update() {
    const settings = model.get("settings");
    policy.show(settings.policy);
    fault.show(settings.fault);
    moment.value = settings.cut_at_ms;
    showMoment();
    said.textContent = model.get("said");
    message.textContent = model.get("message");
    draw();
  }
  const tick = (content) => {
    if (!content.live) return;
    live = content.live;
    draw();
  };
  model.on("change", update);
  model.on("msg:custom", tick);
  update();
  return () => {
    close();
    model.off("change", update);
    model.off("msg:custom", tick);
  };
}

export default { render: watched(render) };
