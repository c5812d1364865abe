const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const HELP = "Arrow keys move the crosshair, Enter taps, Shift and an arrow key swipe, Backspace goes back, H goes home.";

// The screen with its crosshair and marks. It resolves `settled` when the last picture and its mark have been shown.
function screenPart(model, ask) {
  const image = make("img", { class: "lab-screen__picture", alt: "", draggable: "false" });
  const marks = make("svg", { class: "lab-screen__marks", "aria-hidden": "true" });
  const place = make("div", { class: "lab-screen__place", "aria-live": "polite" });
  const screen = make(
    "div",
    {
      class: "lab-screen",
      tabindex: "0",
      role: "application",
      "aria-label": `Phone screen. ${HELP}`,
      keydown: key,
      pointerdown: down,
      pointerup: up,
      pointercancel: () => (from = null),
      focus: aim,
      blur: clear,
    },
    image,
    marks,
  );
  let cross = [500, 500];
  let from = null;
  let steps = 0;
  let shown = null;
  let settled = Promise.resolve();

  const height = () => (1000 * (image.naturalHeight || 2)) / (image.naturalWidth || 1);
  const at = (/** @type {number[]} */ [x, y]) => [x + 0.5, ((y + 0.5) * height()) / 1000];

  function thousandths(event) {
    const box = image.getBoundingClientRect();
    const part = (value, start, size) => clamp(Math.floor(((value - start) / size) * 1000), 0, 999);
    return [part(event.clientX, box.left, box.width), part(event.clientY, box.top, box.height)];
  }

  function down(event) {
    if (event.button) return;
    event.preventDefault();
    from = thousandths(event);
    screen.setPointerCapture(event.pointerId);
    screen.focus({ preventScroll: true });
    clear(); // a hand needs no crosshair
  }

  function up(event) {
    if (!from) return;
    const to = thousandths(event);
    const far = Math.hypot(to[0] - from[0], to[1] - from[1]) >= 40;
    touch(far ? [from, to] : [from]);
    cross = to;
    from = null;
  }

  function touch(points) {
    ask({ kind: points.length === 2 ? "swipe" : "tap", points: points.flat() });
    mark(points);
  }

  function key(event) {
    const arrow = ARROWS[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow && event.shiftKey)
      touch([cross.map((v, i) => clamp(v - 250 * arrow[i], 0, 999)), cross.map((v, i) => clamp(v + 250 * arrow[i], 0, 999))]);
    else if (arrow) cross = cross.map((v, i) => clamp(v + 20 * arrow[i], 0, 999));
    else if (event.key === "Enter") touch([cross]);
    else if (event.key === "Backspace") ask({ kind: "back" });
    else if (event.key.toLowerCase() === "h") ask({ kind: "home" });
    else return;
    event.preventDefault();
    event.stopPropagation();
    aim();
  }

  function aim() {
    const [x, y] = at(cross);
    marks.querySelector(".lab-cross")?.remove();
    const d = `M${x} 0V${height()}M0 ${y}H1000`;
    const lines = (kind) => [make("path", { class: kind, d }), make("circle", { class: kind, cx: x, cy: y, r: 34 })];
    marks.append(make("g", { class: "lab-cross" }, ...lines("lab-shade"), ...lines("")));
    const under = model
      .get("targets")
      .findLast(({ box: [l, t, r, b] }) => l <= cross[0] + 0.5 && cross[0] + 0.5 < r && t <= cross[1] + 0.5 && cross[1] + 0.5 < b);
    place.textContent = `(${cross[0]}, ${cross[1]})${under ? ` ${under.name}` : ""}`;
  }

  function clear() {
    marks.querySelector(".lab-cross")?.remove();
    place.textContent = "";
  }

  // A ring where the finger tapped, or an arrow where it swept.
  async function mark(points) {
    const [[x, y], end] = points.map(at);
    const drawn = make("g", { class: end ? "lab-sweep" : "lab-ring", style: `transform-origin: ${x}px ${y}px` });
    if (end) {
      const transform = `translate(${end}) rotate(${(Math.atan2(end[1] - y, end[0] - x) * 180) / Math.PI})`;
      drawn.append(make("path", { d: `M${x} ${y}L${end}`, pathLength: 1 }), make("path", { d: "M50 0L-50 58V-58Z", transform }));
    } else drawn.append(...[80, 18].map((r) => make("circle", { cx: x, cy: y, r })));
    marks.append(drawn);
    await pause(900);
    drawn.remove();
  }

  async function show(points) {
    if (points.length) {
      mark(points);
      await pause(450); // so that one sees where, before what
    }
    await showPng(image, model.get("screen"));
    marks.setAttribute("viewBox", `0 0 1000 ${height()}`);
    image.alt = `The phone shows ${model.get("app")}.`;
    if (marks.querySelector(".lab-cross")) aim();
  }

  function update() {
    const history = model.get("history");
    if (model.get("screen") === shown && history.length === steps) return;
    const points = history.length > steps ? history.at(-1).points : [];
    [shown, steps] = [model.get("screen"), history.length];
    settled = settled.then(() => show(points));
  }

  return { screen, place, update, settled: () => settled, dispose: () => URL.revokeObjectURL(image.src) };
}
