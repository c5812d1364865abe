const PLOT = { width: 640, height: 210, left: 44, right: 10, top: 10, bottom: 26 };
const STRIP = 64; // height of the regrets
const QUIET_MS = 150; // the slider rests this long before Python is asked
const ACTIONS = { l: "local", e: "edge", w: "wait" };
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const signed = (value) => `${value > 0 ? "+" : ""}${value}`;

// A name, a bar and words: nothing is told by the bar alone.
function bar({ name, share, words }) {
  const full = make("i", {});
  full.style.width = `${100 * share}%`;
  return make(
    "li",
    { class: "lab-gauge", "data-name": name },
    make("span", { class: "lab-gauge__name" }, name),
    make("span", { class: "lab-gauge__bar", "aria-hidden": "true" }, full),
    make("span", { class: "lab-gauge__words" }, words),
  );
}

// The reward so far against the number of the request, a line for each player.
function curves({ lines, requests }) {
  const values = [0, ...lines.flatMap(({ totals }) => totals)];
  const [low, high] = [Math.min(...values), Math.max(10, ...values)];
  const x = (number) => PLOT.left + ((PLOT.width - PLOT.left - PLOT.right) * number) / requests;
  const y = (value) => PLOT.height - PLOT.bottom - ((PLOT.height - PLOT.top - PLOT.bottom) * (value - low)) / (high - low);
  const ticks = [low, 0, high].filter((value, n) => n === 1 || Math.abs(y(value) - y(0)) > 14); // labels need room
  const marks = ticks.flatMap((value) => [
    make("line", { class: "lab-grid", x1: PLOT.left, x2: PLOT.width - PLOT.right, y1: y(value), y2: y(value) }),
    svgText(PLOT.left - 6, y(value) + 4, "end", String(Math.round(value))),
  ]);
  const paths = lines.map(({ totals }, n) =>
    make("path", {
      class: `lab-curve lab-player-${n}`,
      d: `M${x(0)} ${y(0)}${totals.map((total, k) => `L${x(k + 1).toFixed(1)} ${y(total).toFixed(1)}`).join("")}`,
    }),
  );
  return [
    ...marks,
    ...paths.reverse(),
    svgText(x(0), PLOT.height - 8, "start", "request"),
    svgText(x(requests), PLOT.height - 8, "end", String(requests)),
  ];
}

function key({ name, totals }, n) {
  const line = make(
    "svg",
    { viewBox: "0 0 28 6", "aria-hidden": "true" },
    make("path", { class: `lab-curve lab-player-${n}`, d: "M0 3H28" }),
  );
  const total = totals.length ? signed(totals[totals.length - 1]) : "–";
  return make("li", { "data-player": name }, line, make("span", {}, name), make("span", { class: "lab-number" }, total));
}

// A bar for each of your decisions: what it gave up. The costliest carry their place.
function strip({ regrets, costliest }) {
  const most = Math.max(1, ...regrets);
  const room = PLOT.width / Math.max(regrets.length, 20);
  const bars = regrets.map((loss, n) => {
    const high = Math.max(1, ((STRIP - 16) * loss) / most);
    const rank = costliest.findIndex(({ decision }) => decision === n);
    const left = n * room + room * 0.15;
    const path = make("path", {
      class: rank < 0 ? "lab-regret" : "lab-regret lab-costly",
      d: `M${left} ${STRIP}v${-high}h${room * 0.7}v${high}z`,
    });
    return rank < 0 ? [path] : [path, svgText(left + room * 0.35, STRIP - high - 3, "middle", String(rank + 1))];
  });
  return bars.flat();
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(ask, () => root, update);
  let busy = false;

  async function once(content) {
    if (busy) return;
    busy = true;
    await ask(content);
    busy = false;
  }
  const decide = (action) => model.get("game").over || once({ kind: "decide", action });
  const choices = Object.entries({ local: "Local (L)", edge: "Edge (E)", wait: "Wait (W)" }).map(([action, label]) =>
    button(label, "", () => decide(action), "lab-primary"),
  );
  const compare = button("Let them play", ICONS.play, () => once({ kind: "compare" }));
  const again = button("Start over", "", () => once({ kind: "again", fresh: false }));
  const fresh = button("Other requests", "", () => once({ kind: "again", fresh: true }));

  const facts = make("dl", { class: "lab-figures" });
  const gauges = make("ul", { class: "lab-gauges", "aria-label": "The phone now" });
  const said = make("p", { class: "lab-said", role: "status" });
  const plot = make("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, role: "img", "aria-label": "Reward so far, by request" });
  const keys = make("ul", { class: "lab-players", "aria-label": "Players" });
  const losses = make("svg", { class: "lab-regrets", viewBox: `0 0 ${PLOT.width} ${STRIP}`, role: "img" });
  const costly = make("ol", { class: "lab-costliest", "aria-label": "Your costliest decisions" });
  const judged = make(
    "div",
    { class: "lab-judged" },
    make("p", { class: "lab-title" }, "What each of your decisions gave up"),
    losses,
    costly,
  );
  const number = make("span", { class: "lab-number" });
  const price = make("input", {
    type: "range",
    class: "lab-range",
    min: 0,
    max: 8,
    step: 0.5,
    "aria-label": "Price of expiry",
    input: () => {
      showPrice();
      wish({ kind: "price", price: +price.value }, QUIET_MS);
    },
  });
  const ends = make("ul", { class: "lab-gauges lab-plan", "aria-label": "Ends of requests under the best plan" });
  const planned = make("p", { class: "lab-said lab-planned" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const root = make(
    "div",
    {
      class: "lab lab-offloader",
      keydown: (event) => {
        const action = ACTIONS[event.key.toLowerCase()];
        if (!action || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
        event.preventDefault();
        decide(action);
      },
    },
    make(
      "div",
      { class: "lab-main" },
      make("p", { class: "lab-soft" }, model.get("rules")),
      facts,
      make("div", { class: "lab-board", tabindex: 0, role: "group", "aria-label": "Your decision: press L, E or W" }, gauges),
      make("div", { class: "lab-buttons" }, ...choices, compare, again, fresh),
      said,
      make("div", { class: "lab-plot" }, plot),
      keys,
      judged,
      make("p", { class: "lab-title" }, "Plan anew with another price of expiry"),
      make(
        "label",
        { class: "lab-slider" },
        make("span", { class: "lab-slider__title" }, make("span", {}, "Price of expiry"), number),
        price,
      ),
      ends,
      planned,
      message,
    ),
  );
  el.append(root);

  function showPrice() {
    number.textContent = price.value;
    price.style.setProperty("--done", `${(100 * price.value) / 8}%`);
  }

  function update() {
    const game = model.get("game");
    const plan = model.get("plan");
    facts.replaceChildren(
      ...figureList([
        ["Request", game.over ? "none waits" : `${game.request} of ${game.requests}`],
        ["Ended", String(game.ended)],
        ["Reward", signed(game.total)],
      ]),
    );
    gauges.replaceChildren(...game.bars.map(bar));
    for (const choice of choices) choice.disabled = game.over;
    compare.disabled = game.open;
    plot.replaceChildren(...curves(game));
    keys.replaceChildren(...game.lines.map(key));
    judged.hidden = !game.open || !game.regrets.length;
    losses.replaceChildren(...strip(game));
    losses.setAttribute(
      "aria-label",
      `${game.regrets.filter((loss) => loss > 0).length} of ${game.regrets.length} decisions gave something up`,
    );
    costly.replaceChildren(...game.costliest.map(({ words }) => make("li", {}, words)));
    if (resting()) {
      price.value = plan.price;
      showPrice();
    }
    ends.replaceChildren(
      ...plan.ends.map(([name, share]) => bar({ name, share, words: percent(share) })),
      bar({ name: "a request waits", share: plan.waiting, words: `${percent(plan.waiting)} of the time` }),
    );
    planned.textContent = plan.sentence;
    const now = game.bars.map(({ name, words }) => `${name}: ${words}`).join("; ");
    said.replaceChildren(model.get("said"), make("span", { class: "lab-unseen" }, now && ` Now request ${game.request}. ${now}.`));
    message.textContent = model.get("message");
  }
  model.on("change", update);
  update();
  return () => {
    stop();
    close();
    model.off("change", update);
  };
}

export default { render: watched(render) };
