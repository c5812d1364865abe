const STAGES = ["image", "audio", "prefill", "decode"];

// A step; where the agent asks back, with a button that says yes.
function stepItem(entry, yes) {
  const parts = Object.entries(entry.stages);
  const known = (name) => (STAGES.includes(name) ? name : "other");
  const bar = parts.map(([name, ms]) =>
    make("i", { class: `lab-stage ${known(name)}`, style: `flex-grow: ${ms}`, title: `${name} ${ms} ms` }),
  );
  const legend = parts.map(([name, ms]) => make("span", { class: `lab-key ${known(name)}` }, `${name} ${ms.toFixed(0)}`));
  const item = make("li", { class: "lab-step" });
  item.append(
    make(
      "div",
      { class: "lab-step__head" },
      make("code", {}, entry.action),
      make("span", { class: "lab-ms" }, `${entry.total_ms.toFixed(0)} ms`),
    ),
  );
  const understood = entry.goal && !entry.question;
  if (understood) item.append(make("div", { class: "lab-step__thought", dir: "auto" }, `Understood: ${entry.goal}`));
  if (entry.thinking) item.append(make("div", { class: "lab-step__thought", dir: "auto" }, entry.thinking));
  if (entry.declined) item.append(make("div", { class: "lab-step__declined" }, "declined"));
  if (entry.question) {
    const answer = button("Yes", ICONS.play, yes);
    answer.setAttribute("aria-label", `Yes, that is what I meant: ${entry.goal}`);
    const words = make("span", { dir: "auto" }, entry.question);
    item.append(
      make("div", { class: "lab-step__question" }, words, answer),
      make("div", {}, "Not sure, so nothing was done. If not, say it in other words."),
    );
  }
  if (entry.error) item.append(make("div", { class: "lab-step__error" }, entry.error));
  if (parts.length)
    item.append(make("div", { class: "lab-stages", "aria-hidden": "true" }, ...bar), make("div", { class: "lab-keys" }, ...legend));
  return item;
}

// The command line, the clips and the steps. A run asks for the next step once the last is drawn; Stop stops asking.
function agentPart(model, ask, settled) {
  let running = false;
  let waiting = false;
  const input = make("input", {
    type: "text",
    class: "lab-input",
    dir: "auto",
    placeholder: "What should the phone do?",
    "aria-label": "Command",
    input: update,
    keydown: (event) => event.key === "Enter" && !event.isComposing && go(true),
  });
  const run = button("Run", ICONS.play, () => go(true), "lab-primary");
  const step = button("Step", ICONS.step, () => go(false));
  const stop = button("Stop", ICONS.stop, () => {
    running = false;
    update();
  });
  const audio = make("audio", { preload: "none" });
  const clips = model.get("clips").map((clip, number) =>
    make(
      "li",
      { class: "lab-clip" },
      button("Play", ICONS.play, () => play(clip), "lab-bare"),
      make("span", { class: "lab-clip__label", dir: "auto" }, clip.label),
      button("Say it", ICONS.voice, () => {
        play(clip);
        input.value = "";
        loop(true, { kind: "start", clip: number });
      }),
    ),
  );
  clips.forEach((item, number) => {
    const [first, second] = item.querySelectorAll("button");
    first.setAttribute("aria-label", `Play “${model.get("clips")[number].label}”`);
    second.setAttribute("aria-label", `Say “${model.get("clips")[number].label}” to the agent`);
  });
  const task = make("p", { class: "lab-task", dir: "auto" });
  const steps = make("ol", { class: "lab-steps", tabindex: "0", "aria-label": "Steps of the agent" });
  const root = make(
    "div",
    { class: "lab-agent" },
    make("div", { class: "lab-row" }, input, make("div", { class: "lab-buttons" }, run, step, stop)),
    ...(clips.length ? [make("ul", { class: "lab-clips", "aria-label": "Spoken commands" }, ...clips), audio] : []),
    task,
    steps,
  );

  function play(clip) {
    audio.src = clip.src;
    audio.play().catch((error) => model.set("message", `The sound does not play: ${error.message}`));
  }

  const paused = () => model.get("busy") && ["", model.get("task")].includes(input.value.trim());

  function go(on) {
    if (waiting || !(paused() || input.value.trim())) return;
    loop(on, paused() ? null : { kind: "start", task: input.value });
  }

  async function loop(on, first) {
    [running, waiting] = [on, true];
    update();
    if (first) await ask(first);
    while (model.get("busy")) {
      await ask({ kind: "step" });
      await settled();
      if (!running) break;
    }
    [running, waiting] = [false, false];
    update();
  }

  function update() {
    const ready = paused() || Boolean(input.value.trim());
    run.disabled = step.disabled = waiting || !ready;
    stop.disabled = !running;
    run.lastChild.textContent = paused() && !waiting ? "Go on" : "Run";
    clips.forEach((item) => (item.lastChild.disabled = waiting));
    task.textContent = model.get("task") ? `“${model.get("task")}”` : "";
    root.classList.toggle("lab-working", waiting);
    const entries = model.get("history");
    if (steps.children.length > entries.length || !entries.length) steps.replaceChildren();
    for (const entry of entries.slice(steps.children.length)) {
      steps.append(stepItem(entry, () => waiting || loop(true, { kind: "yes" })));
      steps.scrollTop = steps.scrollHeight;
    }
  }

  return { root, update };
}
