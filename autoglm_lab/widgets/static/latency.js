function render({ model, el }) {
  const { ask, close } = asker(model);
  const list = make("ol", { class: "lab-timeline", "aria-label": "Times of answers" });
  const said = make("p", { class: "lab-said", "aria-live": "polite" });
  const error = make("p", { class: "lab-error", role: "alert" });
  const go = button("Measure", ICONS.play, measure, "lab-primary");
  const live = make("p", { class: "lab-live lab-number", "aria-hidden": "true" });
  const root = make("div", { class: "lab lab-latency" }, make("div", { class: "lab-row" }, go, live), list, timelineKey(), said, error); // prettier-ignore
  el.append(root);

  async function measure() {
    go.disabled = true;
    for (const { name } of model.get("rows")) await ask({ kind: "measure", name });
    live.textContent = "";
    go.disabled = false;
  }

  const tell = (row, input) => input.value !== "" && ask({ kind: "guess", name: row.name, ms: +input.value });
  const guess = (row) => [
    make("label", { class: "lab-guess" }, "Your guess, ms ",
      make("input", { type: "number", class: "lab-input", min: 0, step: 1, value: row.guess ?? "",
        "aria-label": `Your guess for ${row.name}, in milliseconds`,
        change: (event) => tell(row, event.target),
        keydown: (event) => event.key === "Enter" && tell(row, event.target) })),
  ]; // prettier-ignore

  function update() {
    list.replaceChildren(...timeline(model.get("rows"), guess));
    said.textContent = model.get("said");
    error.textContent = model.get("message");
  }
  const tick = (content) => {
    if (content.live)
      live.textContent = `${content.live}: first token after ${content.before.toFixed(0)} ms, writing for ${content.decode.toFixed(0)} ms`;
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

export default { render };
