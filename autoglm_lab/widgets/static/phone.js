function render({ model, el }) {
  const { ask, close } = asker(model);
  const view = screenPart(model, ask);
  const agent = model.get("can_run") ? agentPart(model, ask, view.settled) : null;
  const text = make("input", {
    type: "text",
    class: "lab-input",
    dir: "auto",
    placeholder: "Type on the phone",
    "aria-label": "Type on the phone",
    keydown: (event) => event.key === "Enter" && !event.isComposing && type(),
  });
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const app = make("span", { class: "lab-app" });

  function type() {
    ask({ kind: "type", text: text.value });
    text.value = "";
  }

  function update() {
    app.textContent = model.get("app");
    said.textContent = model.get("said");
    message.textContent = model.get("message");
    view.update();
    agent?.update();
  }

  const device = make(
    "div",
    { class: "lab-device" },
    view.screen,
    make(
      "div",
      { class: "lab-nav" },
      button("Back", ICONS.back, () => ask({ kind: "back" }), "lab-bare"),
      button("Home", ICONS.home, () => ask({ kind: "home" }), "lab-bare"),
    ),
  );
  const left = make("div", { class: "lab-side" }, device, make("div", { class: "lab-row" }, text, button("Type", "", type)));
  const hint = make("p", { class: "lab-hint" }, `Tap or drag on the screen. ${HELP}`);
  const right = make(
    "div",
    { class: "lab-main" },
    make("div", { class: "lab-title" }, app, view.place),
    ...(agent ? [agent.root] : []),
    message,
    said,
    hint,
  );
  el.append(make("div", { class: "lab lab-phone" }, left, right));

  model.on("change", update);
  update();
  return () => {
    close();
    model.off("change", update);
    view.dispose();
  };
}

export default { render: watched(render) };
