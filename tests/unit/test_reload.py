"""Exchange under use: no request is lost, each belongs to one generation, a failed load changes nothing, memory is given back."""

import json
import threading
import time
from dataclasses import dataclass, field

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from autoglm_lab.runtime.reload import Reloadable, Watch, needs_restart, read_settings


class Model:
    """Answers with its own name, and knows whether it was let go."""

    alive = 0

    def __init__(self, name):
        if name.startswith("torn"):
            raise OSError(f"{name} is half a file")
        self.name, self.freed = name, False
        Model.alive += 1

    def answer(self):
        assert not self.freed, "asked after it was let go"
        return self.name

    def free(self):
        assert not self.freed, "let go twice"
        self.freed = True
        Model.alive -= 1


def made(name="a", mode="available"):
    Model.alive = 0
    return Reloadable(Model, name, free=Model.free, mode=mode)


def test_an_answer_that_began_ends_with_the_model_it_began_with():
    model = made()
    with model.lease() as mine:
        assert model.reload("b") == 2
        assert mine.value.answer() == "a" and Model.alive == 2
        with model.lease() as other:
            assert other.value.answer() == "b"
    assert Model.alive == 1 and model.generation == 2


def test_a_load_that_fails_leaves_the_old_one():
    for mode in ("available", "small"):
        model = made(mode=mode)
        with pytest.raises(OSError, match="torn"):
            model.reload("torn")
        with model.lease() as mine:
            assert mine.value.answer() == "a" and mine.number == 1
        assert Model.alive == 1


def test_a_small_exchange_never_has_two_in_memory_and_requests_wait():
    model, most = made(mode="small"), []
    load = model._load
    model._load = lambda source: most.append(Model.alive) or load(source)
    begun, go = threading.Event(), threading.Event()

    def use():
        with model.lease():
            begun.set()
            go.wait(5)

    user = threading.Thread(target=use)
    user.start()
    assert begun.wait(5)
    exchange = threading.Thread(target=lambda: model.reload("b"))
    exchange.start()
    time.sleep(0.05)
    assert model.generation == 1, "it waits for the answer that began"
    with pytest.raises(TimeoutError, match=r"not done after 0\.01 s"), model.lease(patience_s=0.01):
        pass
    go.set()
    exchange.join(5)
    user.join(5)
    assert most == [0] and model.generation == 2
    with model.lease() as mine:
        assert mine.value.answer() == "b"


def test_a_small_exchange_gives_up_on_a_use_without_end():
    model = made(mode="small")
    with model.lease() as mine:
        with pytest.raises(TimeoutError, match="nothing was changed"):
            model.reload("b", patience_s=0.01)
        assert mine.value.answer() == "a"
    with model.lease() as mine:
        assert mine.value.answer() == "a"


def test_where_nothing_can_be_loaded_it_says_so_until_something_can():
    model, files = made(mode="small"), {"b": "torn", "a": "torn", "c": "c"}
    model._load = lambda source: Model(files[source])
    with pytest.raises(OSError, match="torn"):
        model.reload("b")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="neither the new source nor the old one"), model.lease():
            pass
    assert model.reload("c") == 2
    with model.lease() as mine:
        assert mine.value.answer() == "c" and Model.alive == 1


@pytest.mark.parametrize("mode", ["available", "small"])
def test_twenty_exchanges_under_eight_clients_lose_nothing(mode):
    model, answers, wrong, end = made("0", mode), [], [], threading.Event()

    def ask():
        while not end.is_set():
            try:
                with model.lease() as mine:
                    tokens = [mine.value.answer() for _ in range(20)]
                    answers.append((mine.number, tokens[0]))
                    if len(set(tokens)) != 1:
                        wrong.append(tokens)
            except Exception as error:
                wrong.append(error)

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    for number in range(1, 21):
        assert model.reload(str(number)) == number + 1
        time.sleep(0.005)
    end.set()
    for client in clients:
        client.join(5)
    assert not wrong and Model.alive == 1
    assert all(int(name) == number - 1 for number, name in answers) and len({number for number, _ in answers}) > 3


class Interleavings(RuleBasedStateMachine):
    """Any order of ask, end, reload and reload of a torn file, against what has to be true."""

    def __init__(self):
        super().__init__()
        self.model, self.name, self.number, self.open = made("m0"), "m0", 1, []

    @rule()
    def ask(self):
        lease = self.model.lease()
        mine = lease.__enter__()
        assert mine.value.answer() == self.name and mine.number == self.number
        self.open.append((lease, mine, self.name))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data):
        lease, mine, name = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        assert mine.value.answer() == name
        lease.__exit__(None, None, None)

    @rule(torn=st.booleans())
    def reload(self, torn):
        if torn:
            with pytest.raises(OSError, match="half a file"):
                self.model.reload("torn")
        else:
            self.number += 1
            self.name = f"m{self.number}"
            assert self.model.reload(self.name) == self.number

    def teardown(self):
        for lease, _, _ in self.open:
            lease.__exit__(None, None, None)
        assert Model.alive == 1

    @invariant()
    def only_what_is_used_is_in_memory(self):
        used = {mine.number for _, mine, _ in self.open} | {self.number}
        assert Model.alive == len(used)
        assert all(mine.value.answer() == name for _, mine, name in self.open)


Interleavings.TestCase.settings = hypothesis_settings(max_examples=60, stateful_step_count=30, deadline=None)
test_any_interleaving = Interleavings.TestCase


def test_modes_are_two():
    with pytest.raises(ValueError, match='"available" or "small"'):
        Reloadable(Model, "a", mode="both")


@dataclass(frozen=True)
class Limits:
    """Settings as a server has them."""

    workers: int = field(metadata={"restart": True})
    name: str = "phone"
    patience_s: float = 3.0

    def __post_init__(self):
        if self.patience_s <= 0:
            raise ValueError(f"patience_s is {self.patience_s}; it is above zero")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"workers": 2, "na', r"limits\.json cannot be read.*stay as they are"),
        ("[1]", "no settings but a list"),
        ('{"workers": 2, "colour": "red"}', "colour is unknown; there are workers, name, patience_s"),
        ('{"name": "x"}', "workers is missing"),
        ('{"workers": "2"}', "workers is '2'; it has to be of type int"),
        ('{"workers": true}', "workers is True; it has to be of type"),
        ('{"workers": 2, "patience_s": -1}', "patience_s is -1; it is above zero"),
    ],
)
def test_settings_are_read_whole_or_not_at_all(tmp_path, text, reason):
    (tmp_path / "limits.json").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_settings(tmp_path / "limits.json", Limits)


def test_settings_that_need_a_restart_are_named(tmp_path):
    old = Limits(2)
    (tmp_path / "limits.json").write_text('{"workers": 2, "name": "other", "patience_s": 4}')
    new = read_settings(tmp_path / "limits.json", Limits)
    assert new == Limits(2, "other", 4) and needs_restart(old, new) == []
    assert needs_restart(old, Limits(3, "other")) == ["workers"]
    with pytest.raises(ValueError, match="cannot be read"):
        read_settings(tmp_path / "none.json", Limits)


def test_a_watch_sees_content_and_not_dates(tmp_path):
    path, taken, said = tmp_path / "limits.json", [], []
    path.write_text('{"workers": 1}')
    watch = Watch(path, lambda path: taken.append(read_settings(path, Limits)), complain=said.append)
    assert not watch.look()
    path.write_text('{"workers": 1}')  # written anew, the same
    assert not watch.look() and not taken
    path.write_text('{"workers": ')
    assert not watch.look() and len(said) == 1 and isinstance(watch.failed, ValueError)
    assert not watch.look() and len(said) == 1, "a torn file is not complained of again"
    (tmp_path / "new").write_text('{"workers": 3}')
    (tmp_path / "new").replace(path)
    assert watch.look() and taken == [Limits(3)] and watch.failed is None
    path.unlink()
    assert not watch.look()
    path.write_text(json.dumps({"workers": 4}))
    assert watch.look() and taken[-1] == Limits(4)
    with pytest.raises(ValueError, match="above zero"):
        Watch(path, taken.append, every_s=0)


def test_a_watch_looks_by_itself_and_ends(tmp_path):
    path, taken = tmp_path / "limits.json", threading.Event()
    path.write_text("1")
    threads = threading.active_count()
    with Watch(path, lambda path: taken.set(), every_s=0.01):
        path.write_text("2")
        assert taken.wait(5)
    assert threading.active_count() == threads
