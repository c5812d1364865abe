"""A command is understood once: what a model's text means, what is kept, and what may be typed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action, parse
from autoglm_lab.phone.refusal import declined
from autoglm_lab.runtime.constraints import TYPE, Typing, chooser
from autoglm_lab.runtime.engine import Stopwatch
from autoglm_lab.runtime.grammar import Grammar
from autoglm_lab.runtime.prompt import END, read_tokenizer
from autoglm_lab.runtime.understanding import MOST, Commands, Understood, command_key


def meant(text: str) -> str:
    return format_action(Action("Goal", text=text))


def test_a_goal_is_taken_with_the_words_of_the_command() -> None:
    assert Understood.read(meant("text Mum: on my way"), "text mum On My Way").goal == "text Mum: On My Way"


def test_a_spoken_goal_stands_as_it_was_written() -> None:
    assert Understood.read(meant("search Maps for Beijing"), "").goal == "search Maps for Beijing"


@pytest.mark.parametrize("text", ["", "do(action=", meant("turn on Gravity"), 'do(action="Tap", element=[1,2])'])
@pytest.mark.parametrize(("command", "said"), [("kill it", "I did not understand"), ("关掉它", "没听懂")])
def test_a_text_that_is_neither_goal_nor_sentence_is_declined_in_the_language_of_the_command(
    text: str, command: str, said: str
) -> None:
    understood = Understood.read(text, command)
    assert understood.goal == "" and said in understood.refusal


def test_a_refusal_names_a_strange_app_as_it_was_said() -> None:
    text = 'finish(message="I cannot open tiktok, I do not know it.")'
    assert Understood.read(text, "Open TikTok!").refusal == "I cannot open TikTok, I do not know it."


@pytest.mark.parametrize("think", [False, True])
def test_a_declined_answer_is_one_that_parses(think: bool) -> None:
    answer = Understood(refusal='I cannot say "no".').declined(Stopwatch(), think=think).answer
    assert answer.error is None and answer.thinking == ""
    assert answer.action == Action("finish", message='I cannot say "no".') and declined(answer.action.message or "")


def test_a_command_is_asked_about_once() -> None:
    asked: list[str] = []

    def ask() -> tuple[str, float]:
        asked.append("")
        return meant("open Clock"), 0.9

    commands, sound = Commands(), np.zeros(100, np.float32)
    for _ in range(2):
        assert commands.understand(" open Clock ", None, ask).goal == "open Clock"
        assert commands.understand("", sound, ask).goal == "open Clock"
    assert len(asked) == 2
    commands.understand("", sound + 1, ask)
    assert len(asked) == 3


def test_only_the_last_commands_are_kept() -> None:
    commands = Commands()
    for number in range(MOST + 1):
        commands.keep(f"open {number}", None, meant("open Clock"))
    assert commands.get("open 0") is None
    assert commands.get("open 1") is not None  # asked for again: it stays, though others come
    for number in range(MOST - 1):
        commands.keep(f"close {number}", None, meant("open Clock"))
    assert commands.get("open 1") is not None and commands.get("open 2") is None


def test_threads_share_what_is_understood() -> None:
    """Eight threads ask about more commands than are kept: each gets the meaning of its own."""
    commands = Commands()

    def ask(seed: int) -> list[str]:
        wrong = []
        for number in np.random.default_rng(seed).integers(MOST + 200, size=3000):
            goal = f"text Mum: {number}"
            if commands.understand(f"tell mum {number}", None, lambda goal=goal: (meant(goal), 1.0)).goal != goal:  # type: ignore[misc]
                wrong.append(goal)
        return wrong

    with ThreadPoolExecutor(8) as pool:  # an error in a thread is one of the test
        assert [*pool.map(ask, range(8))] == [[]] * 8


def test_letters_and_sounds_have_keys_of_their_own() -> None:
    assert command_key("Open") != command_key("open")
    assert command_key("", np.zeros(3)) == command_key("  ", np.zeros(3))


class TestTyping:
    """Typing is held to the goal."""

    def setup_method(self) -> None:
        self.tokenizer = read_tokenizer(data_dir() / "model" / "tokenizer.json")

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def write(self, goal: str, wished: str) -> str:
        """The text that comes out where a model wants to write something."""
        ids, written = [*self.encode(wished), *self.encode(END)], list[int]()
        pick = chooser(Typing(goal, self.encode), lambda scores: int(scores.argmax()))
        for _ in range(80):
            scores = np.zeros(self.tokenizer.get_vocab_size(), np.float32)
            scores[ids[len(written)] if len(written) < len(ids) else 1] = 1
            written.append(pick(scores))
            if written[-1] == self.encode(END)[0]:
                break
        return str(self.tokenizer.decode(written[:-1], skip_special_tokens=False))

    def test_a_text_that_was_not_asked_for_cannot_be_typed(self) -> None:
        assert parse(self.write("text Mum: on my way 😀", f'{TYPE}on the road")')) == Action("Type", text="on my way 😀")

    def test_of_two_texts_the_one_that_is_begun_is_typed(self) -> None:
        goal = "set an alarm for 07:30, then text Mum: up soon"
        for text in ("07:30", "up soon"):
            assert parse(self.write(goal, f'{TYPE}{text}")')) == Action("Type", text=text)

    def test_quotes_and_backslashes_are_escaped(self) -> None:
        assert parse(self.write('text Mum: say "a\\b"', f'{TYPE}x")')) == Action("Type", text='say "a\\b"')

    def test_other_actions_and_thoughts_are_free(self) -> None:
        tap = 'do(action="Tap", element=[500,120])'
        assert self.write("text Mum: hello", tap) == tap
        assert self.write("text Mum: hello", f"type it</think>{tap}") == f"type it</think>{tap}"
        assert self.write("text Mum: hello", f'type it</think>{TYPE}x")') == f'type it</think>{TYPE}hello")'

    def test_a_goal_without_words_holds_nothing(self) -> None:
        assert Typing("open Clock", self.encode).allowed(self.encode(f"{TYPE}x")) is None

    def test_what_has_to_come_is_drafted_without_the_end(self) -> None:
        typing = Typing("text Mum: hello", self.encode)
        opener, whole = self.encode(TYPE), self.encode(f'{TYPE}hello")')
        assert typing.draft(opener, 50) == whole[len(opener) :]
        assert typing.draft(opener, 1) == whole[len(opener) : len(opener) + 1]
        assert typing.draft(self.encode('do(action="Tap'), 5) == []


def test_the_grammar_of_understanding_has_goals_and_closing_sentences_only() -> None:
    grammar = Grammar(read_tokenizer(data_dir() / "model" / "tokenizer.json"))
    tokenizer = read_tokenizer(data_dir() / "model" / "tokenizer.json")

    def follows(state: object, text: str) -> bool:
        for token in tokenizer.encode(text, add_special_tokens=False).ids:
            state = None if state is None else state.leads(token)  # type: ignore[attr-defined]
        return state is not None

    command, action = grammar.start(think=False, command=True), grammar.start(think=False)
    assert follows(command, meant("open Clock")) and not follows(action, meant("open Clock"))
    assert follows(command, 'finish(message="no")') and follows(action, 'finish(message="no")')
    assert not follows(command, 'do(action="Home")') and follows(action, 'do(action="Home")')


def test_the_device_folder_has_what_understanding_needs() -> None:
    from autoglm_lab.device.folder import PARTS

    assert {"phone/goals.py", "phone/refusal.py"} <= {*PARTS}
    assert all((Path(__file__).parents[2] / "autoglm_lab" / part).exists() for part in PARTS)
