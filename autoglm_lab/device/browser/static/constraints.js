// Tokens that are held to what was said: quoted from the command, typed as the goal has it. The same as `runtime/constraints.py`.

import { plain, typedWords } from "./understanding.js";

// Text as the bytes of its UTF-8, one letter for each: what tokens are made of.
const bytesOf = (text) => Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

// A vocabulary (the contents of tokenizer.json) by the bytes that its tokens stand for.
export function spelling({ model, added_tokens }, encode, { goals, marks }) {
  const plainBytes = [...Array(256).keys()].filter((b) => (b > 32 && b < 127) || (b > 160 && b < 173) || b > 173);
  const others = [...Array(256).keys()].filter((b) => !plainBytes.includes(b));
  const letters = new Map(plainBytes.map((byte) => [String.fromCharCode(byte), byte]));
  others.forEach((byte, place) => letters.set(String.fromCharCode(256 + place), byte));
  const tokens = new Map();
  for (const [token, number] of Object.entries(model.vocab))
    tokens.set(number, Array.from(token, (letter) => String.fromCharCode(letters.get(letter) ?? 0)).join(""));
  for (const { id, content } of added_tokens) tokens.set(id, bytesOf(content));
  const numbers = new Map([...tokens].filter(([, spelt]) => spelt).map(([number, spelt]) => [spelt, number]));
  const joins = Object.values(goals.then).map((joint) => encode(joint)[0]);
  return {
    tokens,
    numbers,
    longest: Math.max(...[...numbers.keys()].map((spelt) => spelt.length)),
    closed: encode(marks.closed)[0],
    joins,
  };
}

// The clock times that a text may name, in order: of forms that lie in one another the longest counts.
export function timesIn(text, known) {
  known.longest ??= Math.max(...Object.keys(known.forms).map((form) => form.length));
  const inside = (at) => at > 0 && at < text.length && /^(?:[a-z]{2}|[0-9]{2})$/.test(text.slice(at - 1, at + 1));
  const found = new Set();
  for (let start = 0, covered = 0; start < text.length; start++) {
    if (start < covered || inside(start)) continue;
    for (let end = Math.min(text.length, start + known.longest); end > start; end--)
      if (Object.hasOwn(known.forms, text.slice(start, end)) && !inside(end)) {
        found.add(known.forms[text.slice(start, end)]);
        covered = end;
        break;
      }
  }
  return [...found];
}

// After "text Mum: " only words that stand in the command one after the other may come, after "set an alarm for" only its times.
export class Quotes {
  constructor(command, spelt, { goals, openers, times, marks }) {
    this.spelt = spelt;
    this.read = bytesOf(JSON.stringify(plain(command)).slice(1, -1));
    const words = /\\(?:u[0-9a-f]{4}|[\s\S])|[a-z0-9']+|[\xc0-\xff][\x80-\xbf]*|[^\sa-z0-9'\x80-\xff]/g;
    const found = [...this.read.matchAll(words)];
    this.starts = found.map(({ index }) => index);
    this.ends = new Set(found.map(({ 0: word, index }) => index + word.length));
    this.joints = Object.values(goals.then).map(bytesOf);
    this.beginnings = goals.beginnings.map(bytesOf);
    const begins = [marks.goal, ...Object.values(goals.then)].map((text) => escaped(bytesOf(text))).join("|");
    const [spaced, close] = ["spaced", "close"].map((kind) => openers[kind].map(bytesOf).join("|"));
    const late = times.spaced.map((text) => escaped(bytesOf(text))).join("|");
    const lateClose = Object.keys(times.close)
      .map((text) => escaped(bytesOf(text)))
      .join("|");
    const kinds = `(?<spaced>${spaced})|${close}|(?<spacedTime>${late})|(?<time>${lateClose})`;
    this.openers = new RegExp(`(?:${begins})(?:${kinds})`, "gs");
    this.times = timesIn(plain(command), times.known);
    this.tails = new Map(Object.entries(times.close).map(([opener, tails]) => [bytesOf(opener), tails.map(bytesOf)]));
  }

  // The tokens that may come after those that are written; null where any may.
  allowed(written) {
    const said = written.map((token) => this.spelt.tokens.get(token) ?? "").join("");
    const opened = [...said.matchAll(this.openers)].at(-1);
    if (!opened || !this.starts.length) return null;
    const { spaced, spacedTime, time } = opened.groups;
    const blank = spaced || spacedTime ? " " : "";
    let quoted = said.slice(opened.index + opened[0].length);
    if (spacedTime || time) return this.ofTimes(time, quoted, blank);
    if (!quoted) return some(this.starts.flatMap((place) => this.spelled(blank, this.read.slice(place))));
    if (blank && quoted.startsWith(blank)) quoted = quoted.slice(1);
    const places = this.starts.filter((place) => this.read.startsWith(quoted, place));
    if (!places.length || this.isWhole(quoted)) return null;
    const found = places.flatMap((place) => this.spelled("", this.read.slice(place + quoted.length)));
    if (quoted && places.some((place) => this.ends.has(place + quoted.length))) found.push(this.spelt.closed, ...this.spelt.joins);
    for (const joint of this.joints)
      for (let begun = 1; begun < joint.length; begun++)
        if (quoted.endsWith(joint.slice(0, begun)) && this.stands(quoted.slice(0, quoted.length - begun))) {
          const rest = joint.slice(begun); // a token may hold the end of the joint and the beginning of the next goal
          found.push(...this.spelled("", rest), ...this.beginnings.flatMap((text) => this.spelled(rest, text)));
        }
    return some(found);
  }

  // The tokens with which one of the command's times goes on, or another goal that begins alike; null where any may come.
  ofTimes(opener, written, blank) {
    const ways = [...this.times.map((time) => blank + time), ...(opener ? this.tails.get(opener) : [])];
    const going = ways.filter((way) => way.startsWith(written) && way.length > written.length);
    if (!this.times.length || !going.length) return null;
    return some(going.flatMap((way) => this.spelled("", way.slice(written.length))));
  }

  isWhole(quoted) {
    for (const joint of this.joints)
      for (let at = quoted.indexOf(joint); at >= 0; at = quoted.indexOf(joint, at + joint.length))
        if (this.stands(quoted.slice(0, at))) return true;
    return false;
  }

  stands(words) {
    return this.starts.some((place) => this.read.startsWith(words, place) && this.ends.has(place + words.length));
  }

  // The tokens that spell the beginning of a text, with something before it.
  spelled(before, text) {
    const found = [];
    for (let length = 1; length <= Math.min(this.spelt.longest - before.length, text.length); length++)
      found.push(this.spelt.numbers.get(before + text.slice(0, length)));
    return [...found, this.spelt.numbers.get(before)].filter((number) => number !== undefined);
  }
}

const some = (tokens) => (tokens.length ? new Set(tokens) : null);

// After `Type` only the tokens of a text of the goal may come.
export class Typing {
  constructor(goal, encode, { goals, marks }) {
    const texts = [...new Set(typedWords(goal, goals))];
    this.ways = texts.map((text) => encode(`do(action="Type", text=${JSON.stringify(text)})${marks.end}`));
    this.opener = encode(marks.type);
    this.isSound = this.ways.length > 0 && this.ways.every((way) => this.opener.every((token, n) => way[n] === token));
    this.thought = encode(marks.end_think)[0];
  }

  allowed(written) {
    const said = written.slice(written.lastIndexOf(this.thought) + 1);
    if (!this.isSound || said.length < this.opener.length) return null;
    const going = this.ways.filter((way) => said.length < way.length && said.every((token, n) => way[n] === token));
    return some(going.map((way) => way[said.length]));
  }
}
