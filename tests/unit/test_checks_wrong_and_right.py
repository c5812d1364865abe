"""Plausible answers in many styles: no wrong one is accepted, no right one refused, and no hint speaks of another mistake."""

import contextlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from autoglm_lab.checks import check
from autoglm_lab.checks.compare import difference, same
from autoglm_lab.checks.exercise import CHAPTERS, Exercise, exercises
from autoglm_lab.checks.limit import TimeLimitError, time_limit

EVERY = {name: exercise for chapter in CHAPTERS for name, exercise in exercises(chapter).items()}


def soft(x, axis=-1):
    e = np.exp(x)
    return e / e.sum(axis, keepdims=True)


def mask_of(w, count):
    keep = np.ones(w.size, bool)
    keep[np.argsort(np.abs(w), axis=None, kind="stable")[:count]] = False
    return keep.reshape(w.shape)


def energy(v):
    return np.cumsum(v**2) / np.sum(v**2)


def packed(c):
    even = np.append(c, [0] * (len(c) % 2)).astype(int)
    return even[0::2] + 16 * even[1::2]


def top(b):
    return 2 ** (b - 1) - 1


def events(stream):
    return [json.loads(e[6:]) for e in stream.split("\n\n") if e.startswith("data: ") and e != "data: [DONE]"]


def endless(edges, state):
    forced = []
    while len(edges.get(state, {})) == 1:
        token, _ = next(iter(edges[state].items()))
        forced.append(token)
    return forced


def remembered(edges, state, forced=[]):  # noqa: B006 - the very mistake
    while len(edges.get(state, {})) == 1:
        token, state = next(iter(edges[state].items()))
        forced.append(token)
    return forced


def by_loop(name):
    """The pieces of right answers that need more than an expression."""

    def append(b, f, n):
        rows = [list(r) for r in b]
        rows[f : f + len(n)] = n.tolist()
        return rows, np.int64(f + len(n))

    def confirm(s, d):
        tokens = [np.int64(r.argmax()) for r in s]
        wrong = [i for i, t in enumerate(d) if t != tokens[i]]
        return np.array(tokens[: (wrong[0] if wrong else len(d)) + 1])

    def generated(e, s):
        while len(e.get(s, {})) == 1:
            ((t, s),) = e[s].items()
            yield t

    return {"append": append, "confirm": confirm, "jump": lambda e, s: list(generated(e, s)), "generated": generated}[name]


# (exercise, wrong answer, a word of what must be said)
WRONG = [
    ("00.tap", lambda x, y, w, h: f'do(action="Tap", element=[{round(1000 * x / w)},{round(1000 * y / h)}])', "cut off"),
    ("00.tap", lambda x, y, w, h: f"do(action='Tap', element=[{1000 * x // w},{1000 * y // h}])", "letter 11"),
    ("00.tap", lambda x, y, w, h: f'do(action="Tap", element=[{1000 * x // w},{1000 * y // h}])\u200b', "\\u200b"),
    ("00.tap", lambda x, y, w, h: print(f'do(action="Tap", element=[{1000 * x // w},{1000 * y // h}])'), "returns nothing"),
    ("00.shares", lambda ms: {k: round(v / ms["total"], 2) for k, v in ms.items() if k != "total"}, "rounded"),
    ("00.shares", lambda ms: {k: round(v / ms["total"], 4) for k, v in ms.items() if k != "total"}, "at 'image', it gives"),
    ("00.shares", lambda ms: {k: v // ms["total"] for k, v in ms.items() if k != "total"}, "//"),
    ("00.shares", lambda ms: {k: ms[k] / ms["total"] for k in ("image", "prefill", "decode")}, "KeyError: 'image'"),
    ("00.shares", lambda ms: [v / ms["total"] for k, v in ms.items() if k != "total"], "a dict is right"),
    ("00.shares", lambda ms: {k: v / max([*ms.values()][:-1]) for k, v in ms.items() if k != "total"}, "slowest"),
    ("01.attention", lambda w, h, g, d: 2 * w * w + 2 * w * g * d, "need not fill"),
    ("01.attention", lambda w, h, g, d: 2 * w * h * d + 2 * w * g * d + 1, "but"),
    ("01.conv", lambda i, o, k, h, w, s: i * o * k * k * (h // s) * (w // s) + o, "but"),
    ("02.attend", lambda q, k, v: soft(q @ k.T * q.shape[1] ** 0.5) @ v, "do not multiply"),
    ("02.attend", lambda q, k, v: soft(q @ k.T / q.shape[1] ** 0.5), "shape [4, 4], but an array of shape [4, 6]"),
    ("02.attend", lambda q, k, v: (soft(q @ k.T / q.shape[1] ** 0.5) @ v).round(4), "at [0, 0]"),
    ("02.attend", lambda q, k, v: (soft(q @ k.T / q.shape[1] ** 0.5) @ v).astype(np.float16), "at [0, "),
    ("02.gate", lambda q, a, w, b: q / (1 + np.exp(-(np.hstack([q, a]) @ w + b))), "ValueError"),
    ("03.keep_mask", lambda w, s: mask_of(w, int(s * w.size)), "cuts off"),
    ("03.keep_mask", lambda w, s: mask_of(w, math.ceil(s * w.size)), "always up"),
    ("03.keep_mask", lambda w, s: np.abs(w) > np.sort(np.abs(w), None)[round(s * w.size) - 1], "it gives False, but True"),
    ("03.keep_mask", lambda w, s: w * mask_of(w, round(s * w.size)), "at [0, "),
    ("03.query_rows", lambda g, h, k, d: set(range(g * h // k * d, (g + 1) * h // k * d)), "{"),
    ("04.rank", lambda v, s: int(np.argmax(energy(v) > s)) + 1, ">="),
    ("04.rank", lambda v, s: int(np.sum(energy(v) <= s)) + 1, ">="),
    ("04.rank", lambda v, s: int((v**2 / (v**2).sum() >= s).sum()), "each value alone"),
    ("04.rank", lambda v, s: int((v**2 >= s * v[0] ** 2).sum()), "each value alone"),
    ("04.rank", lambda v, s: int((v**2 / (v**2).sum() >= 1 - s).sum()), "each value alone"),
    ("04.rank", lambda v, s: int(np.argmax(v**2 / (v**2).sum() >= s)) + 1, "each value alone"),
    ("04.rank", lambda v, s: int(np.argmax(energy(v[::-1]) >= s)) + 1, "largest"),
    ("04.rank", lambda v, s: energy(v), "shape [12], but one number"),
    ("05.to_codes", lambda x, b: np.floor(x / (np.abs(x).max() / top(b))).astype(int), "floor"),
    ("05.to_codes", lambda x, b: np.ceil(x / (np.abs(x).max() / top(b))), "always up"),
    ("05.to_codes", lambda x, b: np.rint(x / np.abs(x).max(-1, keepdims=True) * top(b)), "whole array"),
    ("05.to_codes", lambda x, b: x / np.abs(x).max() * top(b), "at [0, "),
    ("05.pack4", packed, "uint8"),
    ("05.pack4", lambda c: packed(c).tolist(), "uint8"),
    ("05.pack4", lambda c: packed(c).astype(np.uint16), "uint8"),
    ("05.pack4", lambda c: packed(c).astype(np.int8), "-15, but 241"),
    ("06.fake_quantize", lambda x, s, b: s * np.clip(np.rint(x / s), -top(b) - 1, top(b)), "symmetric"),
    ("06.fake_quantize", lambda x, s, b: s * np.clip(np.ceil(x / s), -top(b), top(b)), "nearest"),
    ("06.fake_quantize", lambda x, s, b: s * np.clip(np.fix(x / s), -top(b), top(b)), "nearest"),
    ("06.straight_through", lambda g, x, s, b: g * (np.abs(np.rint(x / s)) < top(b)), "<="),
    ("06.straight_through", lambda g, x, s, b: g * (np.abs(x / s) <= top(b)), "round before"),
    ("06.straight_through", lambda g, x, s, b: g * (np.abs(x) <= s * top(b)), "round before"),
    ("06.straight_through", lambda g, x, s, b: g * ((np.rint(x / s) >= -top(b) - 1) & (np.rint(x / s) <= top(b))), "symmetric"),
    ("07.append", lambda b, f, n: (b.__setitem__(slice(f, f + len(n)), n), f + len(n)), "in `buffer`, at [2, 0] there is"),
    ("07.append", lambda b, f, n: np.vstack((b[:f], n, b[f + len(n) :])), "a tuple of 2 values"),
    ("07.append", lambda b, f, n: (np.vstack((b[:f], n, 0 * b[f + len(n) :])), f + len(n)), "stays as it was"),
    ("07.jump", endless, "nothing in it changes `edges` or `state`"),
    ("07.jump", remembered, "it gives"),
    ("07.jump", by_loop("generated"), "make a list of it"),
    ("07.confirm", lambda s, d: [t for t, w in zip(s.argmax(1), d, strict=False) if t == w] + [s[-1].argmax()], "by chance"),
    ("08.fold", lambda w, m, v, g, b, e: ((w.T * g / v**0.5).T, b - m * g / v**0.5), "eps"),
    ("08.fold", lambda w, m, v, g, b, e: ((w.T * g / (v + e) ** 0.5).T, b + m * g / (v + e) ** 0.5), "taken away"),
    ("08.fold", lambda w, m, v, g, b, e: ((w.T * g / (v + e) ** 0.5).T, (b - m * g / (v + e) ** 0.5)[:, None]), "value 2 of 2"),
    ("08.changing", lambda s: [a for a in range(len(s[0])) if s[0][a] != s[-1][a]], "in between"),
    ("08.changing", lambda s: [len({t[a] for t in s}) > 1 for a in range(len(s[0]))], "shape"),
    ("09.stream", lambda s: "".join(c["delta"]["content"] for e in events(s) for c in e["choices"]), "KeyError: 'content'"),
    ("09.stream", lambda s: "".join(e["choices"][0]["delta"].get("content", "") for e in events(s)), "IndexError"),
    ("09.stream", lambda s: "".join(c["delta"].get("content", "") for e in events(s) for c in e["choices"]) + "\n", "letter"),
    ("09.throughput", lambda r, t, s, n, c: 1000 * n // (n * r / c + t * s), "but"),
    ("10.entropy", lambda c: round(-sum(p * math.log2(p) for p in np.unique(c, return_counts=True)[1] / c.size), 3), "but"),
    ("10.entropy", lambda c: float(np.log2(int(c.max()) - int(c.min()) + 1)), "but"),
    ("10.memory", lambda p, b, t, n, h, w: p * b / 8 + 4 * t * n * h * w + 1, "but"),
]

# right answers that look otherwise
RIGHT = [
    ("00.tap", lambda x, y, w, h: f'do(action="Tap", element=[{int(1000 * x / w):d},{int(1000 * y / h):d}])'),
    ("00.tap", lambda x, y, w, h: np.str_(f'do(action="Tap", element=[{np.int64(x) * 1000 // w},{y * 1000 // h}])')),
    ("00.shares", lambda ms: {k: np.float32(v / ms["total"]) for k, v in reversed(ms.items()) if k != "total"}),
    ("01.attention", lambda w, h, g, d: float(2 * w * d * (h + g))),
    ("01.conv", lambda i, o, k, h, w, s: np.prod([i, o, k, k, h / s, w / s])),
    ("01.conv", lambda i, o, k, h, w, s: i * o * k**2 * -(-h // s) * -(-w // s)),
    ("02.attend", lambda q, k, v: (soft((q @ k.T / math.sqrt(q.shape[1])).astype(np.float32)) @ v.astype(np.float32)).tolist()),
    ("02.attend", lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(*map(torch.tensor, (q, k, v)))),
    ("02.gate", lambda q, a, w, b: q + torch.sigmoid(torch.tensor(np.hstack([q, a]) @ w + b))[:, None].numpy() * (a - q)),
    ("03.keep_mask", lambda w, s: (mask_of(w, round(s * w.size)) * 1).tolist()),
    ("03.keep_mask", lambda w, s: np.abs(w).ravel().argsort().argsort().reshape(w.shape) >= round(s * w.size)),
    ("03.query_rows", lambda g, h, k, d: np.arange(g * h // k * d, (g + 1) * h // k * d, dtype=np.int32)),
    ("03.query_rows", lambda g, h, k, d: range(g * h // k * d, (g + 1) * h // k * d)),
    ("04.soften", lambda s, t: torch.softmax(torch.tensor(s, dtype=torch.float32, requires_grad=True) / t, -1)),
    ("04.rank", lambda v, s: np.int32(np.searchsorted(np.cumsum(v**2), s * np.sum(v**2)) + 1)),
    ("04.rank", lambda v, s: next(r for r in range(1, len(v) + 1) if (v[:r] ** 2).sum() >= s * (v**2).sum())),
    ("05.to_codes", lambda x, b: (np.rint(x / np.abs(x).max() * top(b)) + 0.0).astype(np.float32).tolist()),
    ("05.to_codes", lambda x, b: np.rint(x / np.abs(x).max() * top(b)).astype(np.int8)),
    ("05.pack4", lambda c: np.array([a + 16 * b for a, b in zip(c[::2], [*c[1::2], 0], strict=False)], dtype=np.uint8)),
    ("05.pack4", lambda c: np.frombuffer(bytes(packed(c).tolist()), np.uint8)),
    ("06.fake_quantize", lambda x, s, b: np.maximum(np.minimum(np.rint(x / s), top(b)), -top(b)).astype(np.float32) * s),
    ("06.straight_through", lambda g, x, s, b: np.where(np.abs(np.rint(x / s)) > top(b), 0, g).tolist()),
    ("07.append", by_loop("append")),
    ("07.jump", by_loop("jump")),
    ("07.confirm", by_loop("confirm")),
    ("08.fold", lambda w, m, v, g, b, e: [np.einsum("oihw,o->oihw", w, g / (v + e) ** 0.5), (b - m * g / (v + e) ** 0.5).tolist()]),
    ("08.changing", lambda s: tuple(a for a in range(len(s[0])) if any(x[a] != y[a] for x, y in pairwise(s)))),
    ("08.changing", lambda s: np.flatnonzero(np.ptp(np.array(s), axis=0))),
    ("09.stream", lambda s: "".join(c["delta"].get("content", "") for e in events(s) for c in e["choices"])),
    ("09.throughput", lambda r, t, s, n, c: np.float32(1000 * n / (math.ceil(n / c) * r + t * s))),
    ("10.entropy", lambda c: np.float32(-sum(p * np.log2(p) for p in np.unique(c, return_counts=True)[1] / c.size))),
    ("10.memory", lambda p, b, t, n, h, w: int(p * b // 8 + 4 * t * n * h * w)),
]


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_a_wrong_answer_is_refused_and_the_hint_says_why(place):
    name, answer, word = WRONG[place]
    verdict = EVERY[name].examine(answer, limit_s=0.5)
    assert not verdict.passed
    assert word in verdict.message, verdict.message


@pytest.mark.parametrize("place", range(len(RIGHT)))
def test_a_right_answer_in_another_style_passes(place):
    name, answer = RIGHT[place]
    verdict = check(name, answer)
    assert verdict.passed, verdict.message


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_known_mistake_gets_its_own_hint_and_no_hint_compares_two_equal_texts(name):
    exercise = EVERY[name]
    for wrong, hint in exercise.mistakes:
        assert exercise.examine(wrong).message == hint
        mine = [wrong(*values) for values in exercise.inputs]
        place = next(filter(None, (exercise._wrong(v, m) for v, m in zip(exercise.inputs, mine, strict=True))))
        first, _, second = place.rpartition(" it gives ")[2].partition(", but ")
        assert first != second.removesuffix(" is right.")


@pytest.mark.parametrize(
    ("mine", "right", "words"),
    [
        (np.zeros((4, 6)), np.eye(4, 6), "at [0, 0] it gives 0, but 1 is right"),
        (np.array([1.0, 2.00001]), np.array([1.0, 2.0]), "at [1] it gives 2.00001, but 2 is right"),
        (0.1 + 1e-6, 0.1, "it gives 0.100001, but 0.1 is right"),
        (np.float16(0.1), 0.1, "it gives 0.09998, but 0.1 is right"),
        (1048577, 1048576, "it gives 1048577, but 1048576 is right"),
        (np.array([["1"]]), np.array([[1]]), "but"),
        (np.array([1 + 0j]), np.array([1.0]), "but"),
        ([[1, 2], [3]], np.ones((2, 2)), "it gives [[1, 2], [3]], but"),
        (float("nan"), 1.0, "it gives nan, but 1 is right"),
        ("a\xa0b", "a b", "'a\\xa0b', but 'a b'"),
        ({"a": 1, 2: 3}, {"a": 1}, "it gives 2 as well"),
        ({}, {"a": 1}, "'a' is missing"),
        ([1, 2], [1, 2, 3], "shape [2], but an array of shape [3]"),
    ],
)
def test_the_first_place_that_differs_is_named_with_both_values(mine, right, words):
    assert words in difference(mine, right)


def test_values_of_single_precision_are_the_same_and_bytes_are_only_bytes():
    x = np.random.default_rng(0).normal(size=(5, 7))
    assert same(x.astype(np.float32), x) and same(torch.tensor(x), x) and same([1, 2], (1.0, 2.0))
    assert difference(np.array([1, 2]), np.array([1, 2], np.uint8)) is None
    assert "int64" in difference(np.array([1, 2]), np.array([1, 2], np.uint8), "uint8")
    assert "list" in difference([1, 2], np.array([1, 2], np.uint8), "uint8")


class Broken(Exception):
    def __str__(self):
        raise RuntimeError


def raising(error):
    def answer(*_):
        raise error

    return answer


def test_what_a_learner_wrote_is_text_on_the_page():
    verdict = check("00.tap", lambda *_: "<script>alert(1)</script> __a__ $x$ & \x1b[31m")
    page = verdict._repr_html_()
    assert "<script>" not in page and "&lt;script&gt;" in page and "\x1b" not in page
    assert not hasattr(verdict, "_repr_markdown_")
    assert "<code>x * 1000 // width</code>" not in page and "__a__" in page
    assert "&lt;lambda&gt;" in check("00.tap", lambda: 0)._repr_html_()
    assert "<code>" in check("07.jump", lambda *_: [0])._repr_html_() or "`" not in check("07.jump", lambda *_: [0]).message


@pytest.mark.parametrize("error", [Broken(), SystemExit(3), RecursionError("deep"), ValueError("\x1b[31m\n" * 5000)])
def test_whatever_an_answer_raises_is_one_short_line(error):
    verdict = check("07.jump", raising(error))
    assert not verdict.passed and len(verdict.message) < 500 and verdict.message.isprintable()


def test_what_the_user_interrupts_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        check("07.jump", raising(KeyboardInterrupt()))


def stubborn(*_):
    while True:
        with contextlib.suppress(Exception):
            time.sleep(0.01)


@pytest.mark.parametrize("loop", [endless, stubborn, lambda *_: time.sleep(60)])
def test_a_loop_without_end_ends(loop):
    began = time.monotonic()
    verdict = EVERY["07.jump"].examine(loop, limit_s=0.3)
    assert "did not end within 0.3 s" in verdict.message
    assert time.monotonic() - began < 30


def test_in_another_thread_a_loop_without_end_ends_too():
    with ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(EVERY["07.jump"].examine, endless, 0.3).result(60)
    assert "nothing in it changes `edges` or `state`" in verdict.message
    assert "while len(edges.get(state, {})) == 1" in verdict.message


def test_an_alarm_of_somebody_else_goes_on():
    def inner():
        with time_limit(5):
            pass
        time.sleep(5)

    with pytest.raises(TimeLimitError), time_limit(0.3):
        inner()


def test_exercises_have_a_dtype_only_where_the_task_names_it():
    assert [name for name, exercise in EVERY.items() if exercise.dtype] == ["05.pack4"]
    assert isinstance(EVERY["05.pack4"], Exercise)
