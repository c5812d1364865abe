const EVERY_MS = 2000;
const LOCAL =
  "Only this machine reaches this address, so there is no QR code: a phone in your network needs autoglm-lab phone --network.";

function render({ model, el }) {
  const { ask, close } = asker(model);
  const frame = make("iframe", { class: "lab-page", src: model.get("url"), title: "The phone in a browser", allow: "microphone" });
  const code = model.get("qr")
    ? make("div", { class: "lab-qr", role: "img", "aria-label": `QR code of ${model.get("url")}` })
    : make("p", { class: "lab-hint" }, LOCAL);
  if (model.get("qr")) code.innerHTML = model.get("qr");
  const link = make("a", { href: model.get("url"), target: "_blank", rel: "noopener" }, model.get("url"));
  const list = make("ol", { class: "lab-timeline", "aria-label": "Times that phones have told" });
  const said = make("p", { class: "lab-said", "aria-live": "polite" });
  const side = make("div", { class: "lab-main" }, code, link, list, timelineKey(), said);
  el.append(make("div", { class: "lab lab-browser" }, frame, side));

  function update() {
    list.replaceChildren(...timeline(model.get("rows")));
    if (said.textContent !== model.get("said")) said.textContent = model.get("said");
  }
  model.on("change", update);
  const clock = setInterval(() => ask({ kind: "refresh" }), EVERY_MS);
  update();
  return () => {
    clearInterval(clock);
    model.off("change", update);
    close();
  };
}

export default { render: watched(render, false) };
