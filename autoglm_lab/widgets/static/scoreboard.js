const QUIET_MS = 150; // after the last letter of the search
const HEADS = { key: "Key", chapter: "Chapter", claimed: "Claim", verdict: "Verdict", how: "How", here: "Here" };
const WIDE = 300;
const LINE_HIGH = 16;

// The interval of a figure: a bar from low to high with a dot at its middle, one line for each origin; a dashed line where the
// claimed number stands.
function interval({ marks, figure }) {
  const origins = ["shipped", "here"].filter((name) => marks[name]);
  const high = LINE_HIGH * origins.length + 8;
  const x = (place) => (WIDE * place).toFixed(1);
  const bars = origins.flatMap((name, n) => {
    const y = LINE_HIGH * (n + 0.5) + 4;
    const [low, middle, top] = marks[name].map(x);
    return [
      make("path", { class: `lab-interval lab-${name}`, d: `M${low} ${y - 4}v8M${low} ${y}H${top}M${top} ${y - 4}v8` }),
      make("circle", { class: `lab-middle lab-${name}`, cx: middle, cy: y, r: 4 }),
    ];
  });
  const claimed = marks.claimed.map((place) => make("line", { class: "lab-claimed", x1: x(place), x2: x(place), y1: 0, y2: high }));
  const svg = make("svg", { viewBox: `0 0 ${WIDE} ${high}`, role: "img", "aria-label": figure }, ...claimed, ...bars);
  const ends = make("div", { class: "lab-ends", "aria-hidden": "true" }, ...marks.ends.map((end) => make("span", {}, end)));
  return make("div", { class: "lab-interval-plot" }, svg, ends);
}

function details(row, columns) {
  const lines = [make("p", { class: "lab-reason" }, row.reason)];
  if (row.here) {
    const where = row.origin === "here" ? "figures of this machine" : "figures of this machine and shipped ones";
    lines.push(make("p", { class: "lab-reason-here" }, `With ${where}: ${row.here}. ${row.reason_here}`));
  }
  if (row.marks.ends) lines.push(interval(row), make("p", { class: "lab-said" }, row.figure));
  if (row.command) {
    const code = make("code", {}, row.command);
    const copy = button("Copy", null, async () => {
      try {
        await navigator.clipboard.writeText(row.command);
        copy.querySelector("span").textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard without a secure page: the keys of the system copy it
      }
    });
    lines.push(make("div", { class: "lab-command" }, code, copy));
  }
  return make("tr", { class: "lab-details" }, make("td", { colspan: columns }, make("div", {}, ...lines)));
}

function render({ model, el }) {
  const { ask, close } = asker(model);
  const { wish, resting, stop } = wisher(
    ask,
    () => root,
    update,
    ({ changes }) => Object.keys(changes).join(),
  );
  const choose = (changes, quiet = 0) => wish({ kind: "set", changes }, quiet);
  const options = model.get("options");
  const columns = options.sort;
  const number = (verdict) => options.verdict.indexOf(verdict);
  const rows = new Map(model.get("rows").map((row) => [row.key, row]));

  const bar = make("div", { class: "lab-tally", "aria-hidden": "true" });
  const legend = options.verdict.map((verdict, n) => {
    const count = make("span", { class: "lab-number" });
    const toggle = () => choose({ verdict: model.get("choice").verdict === verdict ? "" : verdict });
    const mark = make("i", { class: `lab-verdict-${n}`, "aria-hidden": "true" });
    const node = make(
      "button",
      { type: "button", class: "lab-button", "data-verdict": verdict, click: toggle },
      mark,
      verdict,
      count,
    );
    return { verdict, count, node };
  });
  const select = (name, title, every) => {
    const values = ["", ...options[name]].map((value) => make("option", { value }, value || every));
    const change = () => choose({ [name]: box.value });
    const box = make("select", { class: "lab-input", tabindex: 0, "aria-label": title, change }, ...values);
    return { name, node: box };
  };
  const selects = [select("how", "How it is judged", "however judged"), select("chapter", "Chapter", "all chapters")];
  const words = make("input", {
    type: "search",
    class: "lab-input",
    placeholder: "words",
    "aria-label": "Words in a row",
    input: () => choose({ words: words.value }, QUIET_MS),
  });

  const heads = columns.map((name) => {
    const turn = () => {
      const { sort, falling } = model.get("choice");
      choose({ sort: name, falling: sort === name && !falling });
    };
    const arrow = make("span", { "aria-hidden": "true" });
    const head = make("button", { type: "button", class: "lab-head", click: turn }, HEADS[name], arrow);
    return { name, arrow, node: make("th", { scope: "col", class: `lab-col-${name}` }, head) };
  });
  const body = make("tbody", {});
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads.map(({ node }) => node))), body);
  const said = make("p", { class: "lab-said", role: "status" });
  const message = make("p", { class: "lab-message", role: "alert" });
  const root = make(
    "div",
    { class: "lab lab-scoreboard" },
    make(
      "div",
      { class: "lab-main" },
      bar,
      make("div", { class: "lab-buttons" }, ...legend.map(({ node }) => node)),
      make("div", { class: "lab-row" }, ...selects.map(({ node }) => node), words),
      make("div", { class: "lab-board" }, table),
      said,
      message,
    ),
  );
  el.append(root);

  const cell = (row, name) => {
    const text = name === "here" && row.here ? (row.same ? "the same" : row.here) : row[name];
    const mark = name === "verdict" ? [make("i", { class: `lab-verdict-${number(row.verdict)}`, "aria-hidden": "true" })] : [];
    return make("td", { class: `lab-col-${name}` }, ...mark, text);
  };
  const toggle = (key) => choose({ open: model.get("choice").open === key ? "" : key });
  const move = (line, event) => {
    const lines = [...body.querySelectorAll("[data-key]")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const next = step ? lines[lines.indexOf(line) + step] : { Home: lines[0], End: lines.at(-1) }[event.key];
    if (event.key === "Enter" || event.key === " ") toggle(line.dataset.key);
    else if (!next && !step) return;
    event.preventDefault();
    next?.focus();
  };
  const lines = new Map(
    [...rows.values()].map((row) => {
      const line = make(
        "tr",
        {
          "data-key": row.key,
          tabindex: -1,
          click: () => {
            line.focus();
            toggle(row.key);
          },
          keydown: (event) => move(line, event),
          focus: () => reach(line),
        },
        ...columns.map((name) => cell(row, name)),
      );
      line.classList.toggle("lab-other", row.same === false);
      return [row.key, line];
    }),
  );
  // The tab key reaches one row, the arrows go on from there.
  function reach(line) {
    lines.forEach((each) => (each.tabIndex = each === line ? 0 : -1));
  }

  function update() {
    const [choice, { visible, tally }] = [model.get("choice"), model.get("table")];
    const total = tally.reduce((sum, [, count]) => sum + count, 0);
    bar.replaceChildren(
      ...tally.map(([verdict, count], n) => {
        const part = make("i", { class: `lab-verdict-${n}` }, count && count > 0.05 * total ? count : "");
        part.style.flexGrow = count;
        part.classList.toggle("lab-pale", choice.verdict !== "" && choice.verdict !== verdict);
        return part;
      }),
    );
    legend.forEach(({ verdict, count, node }, n) => {
      count.textContent = tally[n][1];
      node.setAttribute("aria-pressed", choice.verdict === verdict);
    });
    if (resting()) {
      selects.forEach(({ name, node }) => (node.value = choice[name]));
      words.value = choice.words;
    }
    heads.forEach(({ name, arrow, node }) => {
      const isSort = choice.sort === name;
      arrow.textContent = isSort ? (choice.falling ? " ▾" : " ▴") : "";
      node.setAttribute("aria-sort", isSort ? (choice.falling ? "descending" : "ascending") : "none");
    });
    const focus = el.getRootNode().activeElement?.closest?.("[data-key]");
    lines.forEach((line, key) => line.setAttribute("aria-expanded", key === choice.open));
    body.replaceChildren(
      ...visible.flatMap((key) =>
        key === choice.open ? [lines.get(key), details(rows.get(key), columns.length)] : [lines.get(key)],
      ),
    );
    const first = lines.get(visible.includes(focus?.dataset.key) ? focus.dataset.key : visible[0]);
    if (first) reach(first);
    if (focus && body.contains(focus)) focus.focus({ preventScroll: true });
    said.textContent = model.get("summary");
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
