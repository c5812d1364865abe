// A command is understood once: its goal, or the sentence that declines it. The same as `runtime/understanding.py`.

// Lower case, full-width letters and figures as usual ones; one entry for each letter of the command.
const letters = (text) => Array.from(text, (letter) => letter.normalize("NFKC").toLowerCase());
export const plain = (text) => letters(text).join("");

// One wish as [kind, slots]; null for a text that is none in this language.
function readWish(text, patterns) {
  for (const [kind, pattern] of patterns) {
    const match = new RegExp(`^(?:${pattern})$`, "s").exec(text);
    if (match) return [kind, { ...match.groups }];
  }
  return null;
}

// The one or two wishes of a goal, each as a goal of its own, the same one once; none for a text that is no goal.
export function splitGoal(text, { patterns, then }) {
  for (const lang of Object.keys(patterns)) {
    for (let at = text.indexOf(then[lang]); at >= 0; at = text.indexOf(then[lang], at + 1)) {
      const wishes = [text.slice(0, at), text.slice(at + then[lang].length)];
      if (wishes.every((wish) => readWish(wish, patterns[lang]))) return [...new Set(wishes)];
    }
    if (readWish(text, patterns[lang])) return [text];
  }
  return [];
}

// Asks whether the wishes of a goal are what was meant, in their language. Python's `goals.question`.
export function question(wishes, { patterns, then, question }) {
  const lang = Object.keys(patterns).find((each) => readWish(wishes[0], patterns[each]));
  return question[lang].replace("{goal}", () => wishes.join(then[lang]).replace(/[?？]+$/, ""));
}

// The wishes of a goal, as [kind, slots].
export const readGoal = (text, tables) =>
  splitGoal(text, tables).flatMap((wish) =>
    Object.values(tables.patterns)
      .map((patterns) => readWish(wish, patterns))
      .filter(Boolean),
  );

// The part of a command that words were copied from, as it was said; the words themselves if there is none like them.
export function asSaid(words, command, near) {
  const said = Array.from(command);
  const places = letters(command).flatMap((part, place) => Array.from(part, () => place));
  const [read, wanted] = [Array.from(plain(command)), Array.from(plain(words))];
  for (let at = read.length - wanted.length; wanted.length && at >= 0; at--)
    if (wanted.every((letter, n) => read[at + n] === letter))
      return said.slice(places[at], places[at + wanted.length - 1] + 1).join("");
  const run = nearest(wanted, read, near);
  return run ? said.slice(places[run[0]], places[run[1] - 1] + 1).join("") : words;
}

// The run of whole words that takes the fewest edits (Sellers 1980), as [start, end]; null where nothing is like it.
function nearest(wanted, read, near) {
  const [starts, ends] = [new Set(), new Set()];
  const isWord = (at) => at >= 0 && at < read.length && /[a-z0-9']/.test(read[at]);
  read.forEach((letter, at) => {
    if (/\s/.test(letter)) return;
    if (!isWord(at) || !isWord(at - 1)) starts.add(at);
    if (!isWord(at) || !isWord(at + 1)) ends.add(at + 1);
  });
  const far = wanted.length + read.length;
  const less = (a, b) => (b[0] < a[0] || (b[0] === a[0] && b[1] < a[1]) ? b : a);
  let row = Array.from({ length: read.length + 1 }, (_, place) => [starts.has(place) ? 0 : far, place]);
  wanted.forEach((letter, n) => {
    const above = row;
    row = [[far + n + 1, 0]];
    read.forEach((other, place) => {
      const [kept, left, fresh] = [above[place], row[place], above[place + 1]];
      row.push(
        [
          [kept[0] + (letter !== other), kept[1]],
          [left[0] + 1, left[1]],
          [fresh[0] + 1, fresh[1]],
        ].reduce(less),
      );
    });
  });
  let best = null;
  for (const end of ends) if (!best || row[end][0] < row[best][0] || (row[end][0] === row[best][0] && end > best)) best = end;
  return best && best > row[best][1] && row[best][0] <= (1 - near) * wanted.length ? [row[best][1], best] : null;
}

// What a model's text says of a command ("" if it was spoken): {goal} or {refusal}.
export function understood(text, command, tables) {
  const said = /^(?:do\(action="Goal", text=|finish\(message=)(".*")\)$/su.exec(text);
  let words = null;
  try {
    words = said && JSON.parse(said[1]);
  } catch {
    words = null; // no string: not understood
  }
  if (words !== null && text.startsWith("finish")) return { refusal: named(words, command, tables) };
  const wishes = words === null ? [] : splitGoal(words, tables);
  if (!wishes.length) return { refusal: tables.unclear[/[一-鿿]/u.test(command) ? "zh" : "en"] };
  const goal = wishes.length > 1 ? words : wishes[0]; // what stands there twice is wished once
  return { goal: command ? restored(goal, readGoal(goal, tables), command, tables) : goal };
}

function restored(goal, parts, command, tables) {
  const copied = new Set(
    parts.flatMap(([, { query, message, contact }]) => [query, message, tables.contacts.includes(contact) ? null : contact]),
  );
  for (const words of [...copied].filter(Boolean).sort((a, b) => b.length - a.length))
    goal = goal.replaceAll(words, asSaid(words, command, tables.near));
  return goal;
}

// A sentence that names a strange app, with the name as it was said.
function named(message, command, { strange, near }) {
  for (const form of strange) {
    const [before, after] = form.split("{name}");
    if (message.startsWith(before) && message.endsWith(after) && message.length > before.length + after.length)
      return before + asSaid(message.slice(before.length, message.length - after.length), command, near) + after;
  }
  return message;
}

// Everything that may have to be typed to reach a goal.
export const typedWords = (goal, tables) =>
  readGoal(goal, tables).flatMap(([, { query, message, time }]) => [query, message, time].filter(Boolean));
