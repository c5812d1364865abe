"""The page's own understanding of commands, beside the engines': what a text means, what may be quoted, what may be typed."""

from __future__ import annotations

import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest

from autoglm_lab.device.browser.server import STATIC, command_settings
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.goals import question, split_goal, typed_words
from autoglm_lab.phone.oracle import meaning
from autoglm_lab.phone.state import Look, State
from autoglm_lab.phone.wishes import sample_wish
from autoglm_lab.runtime.constraints import Quotes, Typing
from autoglm_lab.runtime.prompt import END, read_tokenizer
from autoglm_lab.runtime.spelling import spelling
from autoglm_lab.runtime.understanding import Understood
from autoglm_lab.training.wish_set import draw_wish

TOKENIZER = read_tokenizer(data_dir() / "model" / "tokenizer.json")
SETTINGS = command_settings()


def tokens(text):
    return TOKENIZER.encode(text, add_special_tokens=False).ids


@pytest.fixture(scope="module")
def tab(browser):
    """A page that may import the page's modules."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=STATIC))
    Thread(target=server.serve_forever, daemon=True).start()
    page = browser.new_page()
    page.goto(f"http://127.0.0.1:{server.server_port}/icon.svg")
    yield page
    page.close()
    server.shutdown()


def test_texts_mean_the_same(tab):
    rng, cases = np.random.default_rng(0), []
    for seed in range(300):
        task = sample_wish(State.fresh(Look.random(seed)), np.random.default_rng(seed))
        text = format_action(meaning(task))
        if rng.random() < 0.5 and len(text) > 40:  # as a model that left out a letter
            at = int(rng.integers(30, len(text) - 3))
            text = text[:at] + text[at + 1 :]
        meant = Understood.read(text, task.text)
        asks = question(meant.goal) if meant.goal else ""
        cases.append([text, task.text, meant.goal, meant.refusal, typed_words(meant.goal), asks, list(split_goal(meant.goal))])
    twice = format_action(Action("Goal", text="turn on Hotspot, then turn on Hotspot"))
    cases.append([twice, "hotspot! hotspot!", "turn on Hotspot", "", [], question("turn on Hotspot"), ["turn on Hotspot"]])
    assert {len(case[-1]) for case in cases} == {0, 1, 2}
    wrong = tab.evaluate(
        """async ([cases, tables]) => {
            const { question, splitGoal, typedWords, understood } = await import("/understanding.js");
            return cases.filter(([text, command, goal, refusal, typed, asks, wishes]) => {
                const meant = understood(text, command, tables);
                const same = (meant.goal ?? "") === goal && (meant.refusal ?? "") === refusal;
                const parts = [typedWords(goal, tables), splitGoal(goal, tables)];
                const asked = goal ? question(parts[1], tables) : "";
                return !same || asked !== asks || JSON.stringify(parts) !== JSON.stringify([typed, wishes]);
            });
        }""",
        [cases, SETTINGS["goals"]],
    )
    assert wrong == []


def test_the_same_tokens_may_come(tab):
    quotes, typings, strings = [], [], {}
    marks = SETTINGS["marks"]
    for text in (marks["closed"], marks["type"], marks["end_think"], *SETTINGS["goals"]["then"].values()):
        strings[text] = tokens(text)
    vocabulary = spelling(TOKENIZER)
    for seed in range(120):
        wish = draw_wish(seed)
        ids = tokens(wish.answer)
        quotes += [[wish.text, ids[:n], Quotes(wish.text, vocabulary).allowed(ids[:n])] for n in range(len(ids))]
        if wish.answer.startswith("do("):
            goal = json.loads(wish.answer.removeprefix('do(action="Goal", text=')[:-1])
            for text in typed_words(goal):
                action = format_action(Action("Type", text=text)) + END
                strings[action] = tokens(action)
                typings += [[goal, tokens(action)[:n], Typing(goal, tokens).allowed(tokens(action)[:n])] for n in range(0, 30, 2)]
    assert sum(allowed is not None for _, _, allowed in quotes) > 200 and len(typings) > 200
    wrong = tab.evaluate(
        """async ([vocabulary, settings, quotes, typings, strings]) => {
            const { Quotes, Typing, spelling } = await import("/constraints.js");
            const encode = (text) => strings[text];
            const spelt = spelling(vocabulary, encode, settings);
            const shown = (found) => JSON.stringify(found && [...found].sort((a, b) => a - b));
            return [
                ...quotes.filter(([text, ids, right]) => shown(new Quotes(text, spelt, settings).allowed(ids)) !== shown(right)),
                ...typings.filter(([goal, ids, right]) => shown(new Typing(goal, encode, settings).allowed(ids)) !== shown(right)),
            ];
        }""",
        [json.loads(TOKENIZER.to_str()), SETTINGS, quotes, typings, strings],
    )
    assert wrong == []
