"""What a cell opens by name: one of it at a time, also when opening fails."""

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from autoglm_lab import open_once
from autoglm_lab.session import close

events = []


@contextmanager
def server(name):
    if name == "bad":
        raise ValueError("no such bundle")
    events.append(f"{name} opens")
    try:
        yield name
    finally:
        events.append(f"{name} closes")


def test_the_one_before_is_closed_first_and_another_name_stays():
    events.clear()
    assert open_once("a", server, "one") == "one"
    assert open_once("b", server, "other") == "other"
    assert open_once("a", server, "two") == "two"
    with pytest.raises(ValueError, match="no such bundle"):
        open_once("a", server, "bad")
    close("a")
    close("b")
    close("b")
    assert events == ["one opens", "other opens", "one closes", "two opens", "two closes", "other closes"]


def test_a_folder_of_a_name_is_a_new_one_each_time():
    first = Path(open_once("room", TemporaryDirectory))
    second = Path(open_once("room", TemporaryDirectory))
    assert second.is_dir() and not first.exists()
    close("room")
    assert not second.exists()
