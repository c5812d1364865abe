function render({ model, el }) {
  const { ask, close } = asker(model);
  const name = `lab-parity-${Math.random().toString(36).slice(2)}`;
  const choices = model
    .get("names")
    .map((label) =>
      make(
        "label",
        { class: "lab-parity__choice" },
        make("input", { type: "radio", name, value: label, change: () => wish({ kind: "show", name: label }) }),
        ` ${label}`,
      ),
    );
  const slider = make("input", {
    type: "range",
    min: -8,
    max: 0,
    step: 0.25,
    "aria-label": "Allowed difference, as a power of ten",
    input: () => {
      showAllowed();
      wish({ kind: "allow", power: +slider.value });
    },
  });
  const allowed = make("output", { class: "lab-number" });
  const list = make("ol", { class: "lab-parity__layers", "aria-label": "Layers, in the order in which they are computed" });
  const said = make("p", { class: "lab-said", "aria-live": "polite" });
  const error = make("p", { class: "lab-error", role: "alert" });
  const root = make(
    "div",
    { class: "lab lab-parity" },
    make("fieldset", { class: "lab-parity__choices", hidden: choices.length < 2 }, make("legend", {}, "Compared"), ...choices),
    make("label", { class: "lab-parity__allowed" }, make("span", {}, "Allowed difference"), slider, allowed),
    said,
    list,
    error,
  );
  const { wish, resting, stop } = wisher(ask, () => root, update);
  el.append(root);

  function showAllowed() {
    allowed.textContent = (10 ** slider.value).toExponential(0);
    slider.setAttribute("aria-valuetext", allowed.textContent);
    list.style.setProperty("--allowed", `${(100 * (+slider.value + 8)) / 8}%`);
  }

  function update() {
    if (resting()) {
      slider.value = model.get("power");
      showAllowed();
      for (const choice of root.querySelectorAll("input[type=radio]")) choice.checked = choice.value === model.get("shown");
    }
    list.replaceChildren(...model.get("rows").map(row));
    said.textContent = model.get("said");
    error.textContent = model.get("message");
  }
  const row = ({ name, told, share, apart, first }) =>
    make(
      "li",
      { class: first ? "lab-parity__first" : apart ? "lab-parity__apart" : "" },
      make("span", { class: "lab-parity__name", title: name }, name),
      make("span", { class: "lab-parity__bar" }, make("i", { style: `width: ${100 * share}%` })),
      make("span", { class: "lab-number" }, told, first ? " first" : ""),
    );
  model.on("change", update);
  update();
  return () => {
    model.off("change", update);
    stop();
    close();
  };
}

export default { render: watched(render) };
