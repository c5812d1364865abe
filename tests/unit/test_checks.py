"""Exercise checks: the solution passes, every planted mistake gets the hint that helps, a stub is no failure and no success."""

import json
from collections import Counter

import numpy as np
import pytest

from autoglm_lab.checks import check
from autoglm_lab.checks.compare import same
from autoglm_lab.checks.exercise import CHAPTERS, exercises
from autoglm_lab.phone.actions import parse


def soft(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def gate_of(q, a, w, b):
    return 1 / (1 + np.exp(-(np.hstack([q, a]) @ w + b)))[:, None]


def of(events, request):
    """The moments and answers of one request, in order."""
    return sorted(((second, answer) for second, name, _, answer in events if name == request), key=lambda event: event[0])


def surest(guesses):
    """Names by falling probability."""
    return [name for _, name in sorted(guesses, reverse=True)]


def related(mine, yours):
    """The relation of two version vectors, by another way."""
    signs = {(mine.get(r, 0) > yours.get(r, 0)) - (mine.get(r, 0) < yours.get(r, 0)) for r in {*mine, *yours}} - {0}
    return {(): "equal", (-1,): "before", (1,): "after"}.get(tuple(signs), "concurrent")


def grouped(sizes, length):
    """Names of equal length together, the shortest first."""
    return [sorted(n for n, z in sizes.items() if length(z) == each) for each in sorted({length(z) for z in sizes.values()})]


def by_sign(ahead, more_is_better):
    return "holds" if (ahead >= 0) == more_is_better or ahead == 0 else "does not hold"


def against(claimed, interval, more_is_better=True):
    """A verdict on numbers of which more is better; with False the interval is turned round already."""
    claimed = claimed if more_is_better else -claimed
    return "holds" if interval[0] >= claimed else "holds in part" if interval[1] >= claimed else "does not hold"


def facts_of(kind):
    return ["model", "device", "input", "n", "spread", *["baseline"] * (kind in ("saved", "faster"))]


def tap_text(x, y):
    return f'do(action="Tap", element=[{x},{y}])'


def pieces_of(stream):
    """What each event of a stream adds to the text."""
    told = [json.loads(line[6:]) for line in stream.split("\n\n") if line.startswith("data: {")]
    return [choice["delta"].get("content") or "" for event in told for choice in event["choices"]]


def mixed(g, q, a):
    return g * a + (1 - g) * q


def pairs(codes):
    return [codes[i : i + 2] for i in range(0, len(codes), 2)]


def eat_total(ms):
    total = ms.pop("total")
    return {k: v / total for k, v in ms.items()}


def confirmed_of(scores, drafts):
    likely = scores.argmax(1).tolist()
    right = next((place for place, draft in enumerate(drafts) if likely[place] != draft), len(drafts))
    return likely[: right + 1]


def forced_from(edges, state):
    """The tokens of the only ways that lead on."""
    if len(edges.get(state, {})) != 1:
        return []
    [(token, following)] = edges[state].items()
    return [token, *forced_from(edges, following)]


def least_recent(modules, wanted, room):
    """Drop from the front, whatever the order of the modules is."""
    taken, gone = sum(size for _, size, _, _ in modules), []
    for name, size, _, in_use in modules:
        if taken + wanted > room and not in_use:
            gone.append(name)
            taken -= size
    return gone if taken + wanted <= room else None


def newest(events):
    """The newest generation after each event."""
    numbers = [1]
    for kind, what in events:
        numbers.append(what if kind == "reload" else numbers[-1])
    return numbers[1:]


def answered(events, at="ask"):
    """The newest generation when each request was asked, or done."""
    return {what: number for (kind, what), number in zip(events, newest(events), strict=True) if kind == at}


# what learners write, in their own words, and a word of the hint they must get
PLANTED = {
    "00.tap": [
        (lambda x, y, w, h: tap_text(x, y), "pixels"),
        (lambda x, y, w, h: tap_text(1000 * x / w, 1000 * y / h), "whole numbers"),
        (lambda x, y, w, h: tap_text(y * 1000 // h, x * 1000 // w), "changed places"),
        (lambda x, y, w, h: tap_text(x * 1000 // w, y * 1000 // w), "by the height"),
        (lambda x, y, w, h: tap_text(x * 1000 // w, f" {y * 1000 // h}"), "no space"),
        (lambda x, y, w, h: tap_text(100 * x // w, 100 * y // h), "hundredths"),
    ],
    "00.shares": [
        (lambda ms: {k: v / ms["total"] for k, v in ms.items()}, "not a stage"),
        (lambda ms: {k: v / sum(ms.values()) for k, v in ms.items()}, "before you sum"),
        (lambda ms: {k: v / sum(ms.values()) for k, v in ms.items() if k != "total"}, "one half"),
        (lambda ms: {k: 100 * v / ms["total"] for k, v in ms.items() if k != "total"}, "per cent"),
        (lambda ms: max((k for k in ms if k != "total"), key=ms.get), "every stage"),
        (eat_total, "changed its own input"),
    ],
    "01.attention": [
        (lambda w, h, g, d: 4 * w * h * d, "kv_heads"),
        (lambda w, h, g, d: w * h * d + 2 * w * g * d, "output projection"),
        (lambda w, h, g, d: 2 * w * h * d + w * g * d, "two projections"),
        (lambda w, h, g, d: 2 * (w * h * d + w * g * d) + h * d + 2 * g * d + w, "biases"),
        (lambda w, h, g, d: 4 * w * d, "number of heads"),
    ],
    "01.conv": [
        (lambda i, o, k, h, w, s: i * o * k * k * h * w, "divided by the stride"),
        (lambda i, o, k, h, w, s: i * o * k * k * h * w // s, "square"),
        (lambda i, o, k, h, w, s: i * o * k * (h // s) * (w // s), "square it"),
        (lambda i, o, k, h, w, s: 2 * i * o * k * k * (h // s) * (w // s), "one of each"),
        (lambda i, o, k, h, w, s: o * k * k * (h // s) * (w // s), "every input channel"),
        (lambda i, o, k, h, w, s: i * o * k * k, "every output pixel"),
    ],
    "02.attend": [
        (lambda q, k, v: soft(q @ k.T) @ v, "square root of the key width"),
        (lambda q, k, v: soft(q @ k.T / q.shape[1] ** 0.5, 0) @ v, "last axis"),
        (lambda q, k, v: soft(q @ k.T / len(k) ** 0.5) @ v, "number of places"),
        (lambda q, k, v: soft(q @ k.T / q.shape[1]) @ v, "its square root"),
        (lambda q, k, v: q @ k.T / q.shape[1] ** 0.5 @ v, "softmax over the places is missing"),
        (lambda q, k, v: soft(q @ k.T / q.shape[1] ** 0.5) @ k, "keys say where"),
    ],
    "02.gate": [
        (lambda q, a, w, b: gate_of(q, a, w, b) * q + (1 - gate_of(q, a, w, b)) * a, "g = 0"),
        (lambda q, a, w, b: mixed((np.hstack([q, a]) @ w + b)[:, None], q, a), "sigmoid is missing"),
        (lambda q, a, w, b: mixed(np.tanh(np.hstack([q, a]) @ w + b)[:, None], q, a), "tanh"),
        (lambda q, a, w, b: q + gate_of(q, a, w, b) * a, "adds to the query"),
        (lambda q, a, w, b: mixed(gate_of(a, q, w, b), q, a), "in this order"),
        (lambda q, a, w, b: mixed(gate_of(q, a, w, 0), q, a), "bias"),
    ],
    "03.keep_mask": [
        (lambda w, s: w > np.sort(w, None)[round(s * w.size) - 1], "compare magnitudes"),
        (lambda w, s: np.abs(w) <= np.sort(np.abs(w), None)[round(s * w.size) - 1], "true for what stays"),
        (lambda w, s: np.abs(w) > np.sort(np.abs(w), None)[round((1 - s) * w.size) - 1], "not what stays"),
        (lambda w, s: np.abs(w) > np.sort(np.abs(w), 1)[:, [round(s * w.shape[1]) - 1]], "whole matrix"),
        (lambda w, s: np.abs(w) >= s * np.abs(w).max(), "number of weights"),
    ],
    "03.query_rows": [
        (lambda g, h, k, d: [g * d + i for i in range(d)], "several query heads"),
        (lambda g, h, k, d: [i * d + j for i in range(h) if i % k == g for j in range(d)], "side by side"),
        (lambda g, h, k, d: [i for i in range(h) if i // (h // k) == g], "head_dim rows"),
        (lambda g, h, k, d: [i * d + j for i in range(g * k, (g + 1) * k) for j in range(d)], "not `groups` of them"),
    ],
    "04.soften": [
        (lambda s, t: soft(s * t), "divide the scores"),
        (lambda s, t: soft(s), "not used yet"),
        (lambda s, t: soft(s) / t, "inside the exponential"),
        (lambda s, t: soft(s / t, 0), "last axis"),
        (lambda s, t: soft(s / t / t), "divided once"),
    ],
    "04.rank": [
        (lambda v, s: next(r for r in range(1, len(v) + 1) if v[:r].sum() >= s * v.sum()), "sum of squares"),
        (lambda v, s: int(np.searchsorted(np.cumsum(v**2), s * np.sum(v**2))), "counted from zero"),
        (lambda v, s: int(np.searchsorted(np.cumsum(v**2), s * np.sum(v**2))) + 2, "one fewer"),
        (lambda v, s: int(np.ceil(s * len(v))), "number of singular values"),
        (lambda v, s: int(np.searchsorted(np.cumsum(v**2), (1 - s) * np.sum(v**2))) + 1, "may be lost"),
    ],
    "05.to_codes": [
        (lambda x, b: (x / (np.abs(x).max() / (2 ** (b - 1) - 1))).astype(int), "to the nearest"),
        (lambda x, b: np.rint(x / x.max() * (2 ** (b - 1) - 1)).astype(int), "above zero or below"),
        (lambda x, b: np.rint(x / np.abs(x).max() * (2**b - 1)).astype(int), "both sides together"),
        (lambda x, b: np.rint(x / np.abs(x).max() * 2 ** (b - 1)).astype(int), "mirror image"),
        (lambda x, b: np.rint(x / np.abs(x).max() * (2 ** (b - 1) - 1)) * np.abs(x).max() / (2 ** (b - 1) - 1), "whole numbers"),
    ],
    "05.pack4": [
        (lambda c: np.array([16 * p[0] + (p[1] if len(p) > 1 else 0) for p in pairs(c)], np.uint8), "low half"),
        (lambda c: np.dot([1, 16], np.append(c, [0] * (len(c) % 2)).reshape(2, -1)).astype(np.uint8), "neighbours"),
        (lambda c: np.array([p[0] + 16 * p[1] for p in pairs(c) if len(p) > 1], np.uint8), "odd code"),
        (lambda c: np.array([p[0] + 10 * (p[1] if len(p) > 1 else 0) for p in pairs(c)], np.uint8), "times 16"),
        (lambda c: c.astype(np.uint8), "a byte of its own"),
    ],
    "06.fake_quantize": [
        (lambda x, s, b: np.clip(np.rint(x / s), 1 - 2 ** (b - 1), 2 ** (b - 1) - 1), "multiply by the scale"),
        (lambda x, s, b: np.rint(x / s) * s, "has an end"),
        (lambda x, s, b: np.rint(np.clip(x, 1 - 2 ** (b - 1), 2 ** (b - 1) - 1) / s) * s, "Clip the codes".lower()),
        (lambda x, s, b: np.clip(np.rint(x / s), 1 - 2**b, 2**b - 1) * s, "both sides together"),
        (lambda x, s, b: np.clip(x // s, 1 - 2 ** (b - 1), 2 ** (b - 1) - 1) * s, "do not cut off"),
    ],
    "06.straight_through": [
        (lambda g, x, s, b: 0 * g, "staircase"),
        (lambda g, x, s, b: g, "without any effect"),
        (lambda g, x, s, b: np.where(np.abs(np.rint(x / s)) >= 2 ** (b - 1), g, 0), "other way round"),
        (lambda g, x, s, b: np.where(np.abs(np.rint(x / s)) < 2 ** (b - 1), g, 0) / s, "cancelled out"),
        (lambda g, x, s, b: np.where(np.abs(x) < 2 ** (b - 1) - 0.999, g, 0), "decided by the code"),
    ],
    "07.append": [
        (lambda b, f, n: (np.vstack((b[:f], n)), f + len(n)), "another size"),
        (lambda b, f, n: (np.vstack((n, b[len(n) :])), f + len(n)), "writes over"),
        (lambda b, f, n: (np.vstack((b, n))[-len(b) :], f + len(n)), "not at the end"),
        (lambda b, f, n: (np.vstack((b[:f], n, b[f + len(n) :])), f), "nobody counted"),
        (lambda b, f, n: (np.vstack((b[:f], n, b[f + len(n) :])), f + 1), "count every new row"),
    ],
    "07.jump": [
        (lambda e, s: forced_from(e, s)[:1], "go on"),
        (lambda e, s: forced_from({a: dict([*ways.items()][:1]) for a, ways in e.items()}, s), "has to be asked"),
        (lambda e, s: forced_from({a: {b: b for b in ways.values()} for a, ways in e.items()}, s), "states you passed"),
        (lambda e, s: [*forced_from(e, s), *([20] if s in (0, 2) else [])], "for the model to choose"),
    ],
    "07.confirm": [
        (lambda s, d: confirmed_of(s, d)[:-1], "the model's own and counts"),
        (lambda s, d: d + s[-1:].argmax(1).tolist(), "only if the model would have written it"),
        (lambda s, d: s.argmax(1).tolist(), "never said"),
        (lambda s, d: confirmed_of(s[1:], d[:-1]) if d else [], "the first row"),
    ],
    "08.fold": [
        (lambda w, m, v, g, b, e: (w * (g / (v + e) ** 0.5).reshape(1, -1, 1, 1), b - m * g / (v + e) ** 0.5), "first axis"),
        (lambda w, m, v, g, b, e: ((w.T * g / (v + e)).T, b - m * g / (v + e)), "square root"),
        (lambda w, m, v, g, b, e: ((w.T * g / (v + e) ** 0.5).T, b), "carry it"),
        (lambda w, m, v, g, b, e: ((w.T * g / (v + e) ** 0.5).T, b - m), "scaled as well"),
        (lambda w, m, v, g, b, e: ((w.T / (v + e) ** 0.5).T, b - m / (v + e) ** 0.5), "gamma"),
    ],
    "08.changing": [
        (lambda s: [a for a in range(len(s[0])) if len({t[a] for t in s}) == 1], "never change"),
        (lambda s: [a for a in range(len(s[0])) if s[0][a] != s[1][a]], "only later"),
        (lambda s: [s[0][a] for a in range(len(s[0])) if len({t[a] for t in s}) > 1], "numbers of the axes"),
        (lambda s: [a + 1 for a in range(len(s[0])) if len({t[a] for t in s}) > 1], "from zero"),
    ],
    "09.stream": [
        (lambda s: ([d for d in pieces_of(s) if d] or [""])[-1], "what is new"),
        (lambda s: " ".join(d for d in pieces_of(s) if d), "without a space"),
        (lambda s: "\n".join(d for d in pieces_of(s) if d), "without a new line"),
        (lambda s: "".join(pieces_of(s.replace("reasoning_content", "content"))), "thoughts as well"),
    ],
    "09.throughput": [
        (lambda r, t, s, n, c: 1000 * n / (n * r + t * s), "over the cores"),
        (lambda r, t, s, n, c: 1000 * n / (n * r / c + t * s * n), "not for each row"),
        (lambda r, t, s, n, c: 1000 / (n * r / c + t * s), "single row"),
        (lambda r, t, s, n, c: n / (n * r / c + t * s), "a thousand"),
        (lambda r, t, s, n, c: 1000 * n / (r / c + t * s), "screen of its own"),
    ],
    "10.entropy": [
        (lambda c: sum(-n / c.size * np.log(n / c.size) for n in Counter(c.ravel().tolist()).values()), "base 2"),
        (lambda c: np.mean([-np.log2(n / c.size) for n in Counter(c.ravel().tolist()).values()]), "by its share"),
        (lambda c: np.log2(len(set(c.ravel().tolist()))), "fixed length"),
        (lambda c: sum(-n * np.log2(n / c.size) for n in Counter(c.ravel().tolist()).values()), "all codes together"),
        (lambda c: sum(n / c.size * np.log2(n / c.size) for n in Counter(c.ravel().tolist()).values()), "turn the sign"),
    ],
    "10.memory": [
        (lambda p, b, t, n, h, w: p * b / 8 + t * n * h * w * 2, "a key and a value"),
        (lambda p, b, t, n, h, w: p * b / 8 + t * h * w * 4, "every layer"),
        (lambda p, b, t, n, h, w: p * b + t * n * h * w * 4, "in bits"),
        (lambda p, b, t, n, h, w: b / 8 * (p + 2 * t * n * h * w), "has 16"),
        (lambda p, b, t, n, h, w: p * b / 8 + n * h * w * 4, "every token"),
    ],
    "11.dropped": [
        (lambda b, w, r: least_recent([(*m[:3], False) for m in sorted(b, key=lambda m: m[2])], w, r), "in use"),
        (lambda b, w, r: [n for n, *_, use in sorted(b, key=lambda m: m[2]) if not use], "more was dropped"),
        (lambda b, w, r: least_recent(sorted(b, key=lambda m: -m[2]), w, r), "used longest ago"),
        (lambda b, w, r: least_recent(sorted(b, key=lambda m: m[2]), 0, r), "have to fit as well"),
        (lambda b, w, r: least_recent(sorted(b, key=lambda m: -m[1]), w, r), "whatever its size"),
    ],
    "11.speed": [
        (lambda s, p, i, w, d: next((v for v in s if w / v <= d), None), "slowest"),
        (lambda s, p, i, w, d: s[-1] if w / s[-1] <= d else None, "fastest"),
        (lambda s, p, i, w, d: min((v for v in s if w / v <= d), key=lambda v: p[s.index(v)] / v, default=None), "`idle`"),
        (lambda s, p, i, w, d: min(s, key=lambda v: (p[s.index(v)] - i) / v), "too slow"),
    ],
    "11.generations": [
        (lambda e: (answered(e), [{n} for n in newest(e)]), "stays in memory"),
        (lambda e: (answered(e), [set(range(1, n + 1)) for n in newest(e)]), "leaves the memory"),
        (lambda e: (answered(e, "done"), EVERY["11.generations"].reference(e)[1]), "with which it began"),
        (answered, "a tuple of 2 values"),
    ],
    "12.best_action": [
        (lambda o, v: max(o, key=lambda a: sum(p * r for p, r, _ in o[a])), "value of the state"),
        (lambda o, v: max(o, key=lambda a: sum(p * v[s] for p, _, s in o[a])), "reward of this moment"),
        (lambda o, v: max(o, key=lambda a: sum(r + v[s] for _, r, s in o[a])), "multiply by the probability"),
        (lambda o, v: max(o, key=lambda a: max(r + v[s] for _, r, s in o[a])), "best outcome"),
        (lambda o, v: max(o, key=lambda a: max(o[a])[1] + v[max(o[a])[2]]), "likeliest"),
    ],
    "12.first_answers": [
        (lambda a, e, d: {n: next((x for t, x in of(e, n)[::-1] if x and t <= a[n] + d), None) for n in a}, "last answer"),
        (lambda a, e, d: {n: next((x for t, x in of(e, n) if x), None) for n in a}, "belongs to nobody"),
        (lambda a, e, d: {n: next((x for t, x in of(e, n) if t <= a[n] + d), None) for n in a}, "no answer"),
        (lambda a, e, d: {n: next((x for t, x in of(e, n) if x and t <= d), None) for n in a}, "counts from"),
        (lambda a, e, d: {n: x for n in a for t, x in of(e, n)[::-1] if x and t <= a[n] + d}, "has an end"),
    ],
    "12.to_prepare": [
        (lambda g, s, c: surest((p, n) for n, p, r in g if r and p > 0.8)[:2], "one ratio only"),
        (lambda g, s, c: surest((p, n) for n, p, r in g if r and p > c / (c + s)), "at most two"),
        (lambda g, s, c: surest((p, n) for n, p, r in g if p > c / (c + s))[:2], "only what reads"),
        (lambda g, s, c: [n for n, p, r in g if r and p > c / (c + s)][:2], "surest come first"),
        (lambda g, s, c: surest((p, n) for n, p, r in g if r and p > s / (c + s))[:2], "changed places"),
    ],
    "13.order": [
        (lambda a, b: ("equal", "after", "before")[int(np.sign(sum(a.values()) - sum(b.values())))], "more writes"),
        (lambda a, b: related({r: a[r] for r in a if r in b}, {r: b[r] for r in b if r in a}), "is missing"),
        (lambda a, b: "before" if related(a, b) == "equal" else related(a, b), "are equal"),
        (lambda a, b: {"before": "after", "after": "before"}.get(related(a, b), related(a, b)), "changed places"),
    ],
    "13.merge": [
        (lambda m, mv, y, yv: m | y, "was replaced or deleted there"),
        (lambda m, mv, y, yv: dict(y), "has not seen stays"),
        (lambda m, mv, y, yv: {d: v for d, v in m.items() if d in y}, "news to the other"),
        (lambda m, mv, y, yv: {d: v for d, v in m.items() if d in y or d[1] > yv.get(d[0], 0)} | y, "is not new"),
    ],
    "13.look_alikes": [
        (lambda z, s: grouped(z, lambda size: -(-size // s)), "a further one"),
        (lambda z, s: grouped(z, lambda size: size), "only whole steps"),
        (lambda z, s: grouped(z, lambda size: 0), "not the number of steps"),
        (lambda z, s: grouped(z, lambda size: size // s)[::-1], "shortest come first"),
    ],
    "14.judge": [
        (lambda c, i, m: "cannot be judged" if i is None else by_sign(sum(i) / 2 - c, m), "middle alone"),
        (lambda c, i, m: against(c, i) if i else "cannot be judged", "turn the comparison"),
        (lambda c, i, m: against(c, i if m else (-i[1], -i[0]), m) if i else "does not hold", "not refuted: it cannot"),
        (lambda c, i, m: by_sign((i[1] if m else i[0]) - c, m) if i else "cannot be judged", "reached or not"),
        (lambda c, i, m: by_sign((i[0] if m else i[1]) - c, m) if i else "cannot be judged", "is not refuted: it holds"),
    ],
    "14.missing": [
        (lambda c, k: [f for f in facts_of(k) if f not in c], "None or empty"),
        (lambda c, k: [f for f in facts_of("saved") if c.get(f) in (None, "") or (f == "n" and c[f] < 2)], "of its own"),
        (lambda c, k: [f for f in facts_of("time") if c.get(f) in (None, "") or (f == "n" and c[f] < 2)], "against what"),
        (lambda c, k: [f for f in facts_of(k) if c.get(f) in (None, "")], "with n = 1"),
        (lambda c, k: [f for f in facts_of(k) if not c.get(f) or (f == "n" and c[f] < 2)], "of 0 is a spread"),
    ],
    "14.littles_law": [
        (lambda s, r, n: (r / s, r / s <= 1.05 * (n or 1)), "multiply"),
        (lambda s, r, n: (s * r, n is None or s * r <= 1.05 * n), "one after the other"),
        (lambda s, r, n: (s * r, r <= 1.05 * (n or 1)), "not the rate"),
        (lambda s, r, n: (s * r, s * r <= (n or 1)), "rounded"),
        (lambda s, r, n: (s * r, abs(s * r - (n or 1)) <= 0.05 * (n or 1)), "may rest"),
    ],
}
EVERY = {name: exercise for chapter in CHAPTERS for name, exercise in exercises(chapter).items()}


def test_every_exercise_has_at_least_four_planted_mistakes():
    assert set(PLANTED) == set(EVERY)
    assert all(len(mistakes) >= 4 for mistakes in PLANTED.values())
    assert all(len([e for e in EVERY if e.startswith(chapter)]) >= 2 for chapter in CHAPTERS)


@pytest.mark.parametrize("name", sorted(EVERY))
def test_the_reference_passes(name):
    assert check(name, EVERY[name].reference).passed


@pytest.mark.parametrize(("name", "place"), [(name, i) for name, mistakes in PLANTED.items() for i in range(len(mistakes))])
def test_a_planted_mistake_gets_its_hint(name, place):
    wrong, word = PLANTED[name][place]
    verdict = check(name, wrong)
    assert not verdict.passed
    assert word in verdict.message


@pytest.mark.parametrize("name", sorted(EVERY))
def test_stubs_errors_and_other_objects_get_a_plain_word(name):
    assert "waits to be written" in check(name, lambda *_: None).message
    assert "ZeroDivisionError" in check(name, lambda *_: 1 / 0).message
    assert "give the function itself" in check(name, 5).message
    assert "is right" in check(name, lambda *_: 12345).message
    assert not any(check(name, f).passed for f in (lambda *_: None, lambda *_: 12345, 5))


def test_unknown_exercises_are_named():
    with pytest.raises(ValueError, match=r"02\.gate"):
        check("02.nothing", len)
    with pytest.raises(ValueError, match="no chapter"):
        check("99.x", len)


def test_the_reference_taps_are_actions_the_strict_parser_reads():
    exercise = EVERY["00.tap"]
    assert all(parse(exercise.reference(*values)).name == "Tap" for values in exercise.inputs)


def test_same_is_neither_too_kind_nor_too_strict():
    assert same([1.0, 2], np.array([1, 2.0000001])) and same({"a": 1}, {"a": 1.0})
    assert not same("1", 1) and not same([1], [1, 2]) and not same({"a": 1}, {"b": 1}) and not same(None, 0)
