// Reads one action as the agent writes it: do(action="Tap", element=[503,271]) or finish(message="...").

const ARGUMENT =
  /^(\w+)=("(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"|\[(?:0|[1-9]\d{0,2}),(?:0|[1-9]\d{0,2})\])(?:, (?=.)|$)/s;

/** @returns {{ name: string, [field: string]: any }} */
export function readAction(text) {
  const start = text.search(/do\(action=|finish\(message=/);
  const match = start < 0 ? null : /^(do|finish)\((.*)\)$/s.exec(text.slice(start).trim());
  if (!match) throw new Error(`no action in "${text.slice(0, 80)}"`);
  const values = {};
  for (let rest = match[2]; rest; ) {
    const argument = ARGUMENT.exec(rest);
    if (!argument) throw new Error(`cannot read "${rest.slice(0, 60)}"`);
    values[argument[1]] = JSON.parse(argument[2]);
    rest = rest.slice(argument[0].length);
  }
  const { action: name = "finish", ...fields } = values;
  return { name, ...fields };
}

// True if a closing sentence says that the wish was not fulfilled, as `declined` in phone/refusal.py.
export function declined(message, { no, yes, unknown }) {
  const says = (pattern) => new RegExp(pattern, "i").test(message);
  return no.some((pattern, number) => message.includes(unknown[number]) || (says(pattern) && !says(yes[number])));
}

// The screen that follows an action in the deck: a number, null where the deck ends, undefined when nothing happens.
export function follow(screen, action) {
  const to = (way) => (way ? way.to : undefined);
  const point = ([x, y]) =>
    screen.ways.findLast(({ tap }) => tap && tap[0] <= x + 0.5 && x + 0.5 < tap[2] && tap[1] <= y + 0.5 && y + 0.5 < tap[3]);
  if (action.name === "Tap") return to(point(action.element));
  if (action.name === "Launch") return to(screen.ways.find(({ launch }) => launch === action.app));
  if (action.name === "Back") return to(screen.ways.find(({ back }) => back));
  if (action.name === "Home") return to(screen.ways.find(({ home }) => home));
  if (action.name === "Swipe") {
    const [across, down] = [0, 1].map((axis) => action.end[axis] - action.start[axis]);
    const way = Math.abs(across) > Math.abs(down) ? (across < 0 ? "left" : "right") : down < 0 ? "up" : "down";
    return to(screen.ways.find(({ swipe }) => swipe === way));
  }
  return ["Type", "Double Tap", "Long Press"].includes(action.name) ? null : undefined;
}
