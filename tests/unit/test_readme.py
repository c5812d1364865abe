"""README.md: its links lead somewhere, and the tree it draws is the tree there is."""

import re
import shlex
from pathlib import Path

import pytest

from autoglm_lab.cli import parser
from notebooks import readme

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    text = (ROOT / name).read_text()
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:|#", link)]
    assert [link for link in links if not (ROOT / link.split("#")[0]).exists()] == []


def test_pictures_are_described():
    pictures = re.findall(r"!\[([^\]]*)\]", (ROOT / "README.md").read_text())
    assert pictures
    assert all(len(description) > 4 for description in pictures)


def test_the_tree_is_the_tree():
    tree = re.search(r"## What is where\n\n```\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    folder, missing = ROOT, []
    for line in tree.splitlines():
        name = line.split()[0]
        if not line.startswith(" "):
            folder = ROOT
            names = line.split() if all("." in part for part in line.split()) else [name]
            missing += [part for part in names if not (ROOT / part).exists()]
            folder = ROOT / name
        elif not (folder / name).exists():
            missing.append(f"{folder.name}/{name}")
    assert missing == []
    rooms = {path.parent.name for path in (ROOT / "autoglm_lab").glob("*/*.py")}
    assert {room for room in rooms if f"  {room}/" not in tree} == set()


def test_its_commands_are_those_of_the_command_line():
    text = "\n".join(re.findall(r"```sh\n(.+?)```", (ROOT / "README.md").read_text(), re.DOTALL))
    calls = re.findall(r"(?:^|&& )autoglm-lab (.+?)(?= && |  +#|$)", text, re.MULTILINE)
    assert len(calls) > 8 and any(call.startswith("adb ") for call in calls)
    for call in calls:
        parser().parse_args(shlex.split(call))  # SystemExit names what it does not know


def test_generated_blocks_are_there():
    text = (ROOT / "README.md").read_text()
    for name in readme.blocks(ROOT):
        assert readme.put(text, name, readme.get(text, name)).count(f"<!-- {name}:begin -->") == 1
