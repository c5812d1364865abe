const TIMELINE = ["understand", "features", "image", "audio", "prefill", "decode"];

// Rows of a timeline: a bar for each, a piece for each stage, all on one scale; a mark says what was guessed.
function timeline(rows, /** @type {(row: any) => Node[]} */ extra = () => []) {
  const longest = Math.max(1, ...rows.map((row) => Math.max(row.total, row.guess ?? 0)));
  const share = (ms) => `${(100 * ms) / longest}%`;
  return rows.map((row) => {
    const pieces = TIMELINE.filter((stage) => row.stages[stage]).map((stage) =>
      make("i", {
        class: `lab-time lab-time--${stage}`,
        style: `width: ${share(row.stages[stage])}`,
        title: `${stage} ${row.stages[stage].toFixed(1)} ms`,
      }),
    );
    if (row.guess !== null && row.guess !== undefined)
      pieces.push(make("b", { style: `left: ${share(row.guess)}`, title: `guessed ${row.guess} ms` }));
    const told = row.answers ? `${row.total.toFixed(1)} ms` : "not measured";
    return make(
      "li",
      { class: "lab-timeline__row" },
      make(
        "div",
        { class: "lab-timeline__head" },
        make("span", { class: "lab-timeline__name" }, row.name),
        make("span", { class: "lab-number" }, told),
      ),
      make("div", { class: "lab-timeline__bar", "aria-hidden": "true" }, ...pieces),
      ...extra(row),
    );
  });
}

const timelineKey = () =>
  make(
    "div",
    { class: "lab-keys", "aria-hidden": "true" },
    ...TIMELINE.map((stage) => make("span", { class: `lab-time-key lab-time--${stage}` }, stage)),
  );
