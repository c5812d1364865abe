"""Commands in people's own words: templates in the files `data/phrasings/zh.yaml` and `en.yaml`, and sentences drawn from them.

The files have the format of the hassil library, in which Home Assistant's sentences are written: `(a|b)` is one of two, `[a]` may
be left out, `{app}` is a slot, `<please>` stands for a rule at the end of the file. An intent is a kind of task. Templates that say
a thing in one manner are a family; families that are `held_out` never reach training.

`zh_things.yaml` and `en_things.yaml` hold more of them, most with `slots` that they fit alone: talk of the dark fits no switch but
the flashlight. `beyond.yaml` holds wishes that the agent cannot fulfil, by subject, with the clause that says so; `strangers.yaml`
apps and people that are on no phone here; `asides.yaml` what people say before a wish or after it that is none: why they ask.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import APPS, CONTACTS, LANGS, SETTINGS, Lang

NAMES = {"app": APPS, "setting": SETTINGS, "contact": CONTACTS}


@dataclass(frozen=True)
class Template:
    """One way of saying a kind of command."""

    kind: str
    lang: Lang
    family: str
    sentence: str
    held_out: bool = False
    slots: tuple[tuple[str, str], ...] = ()  # names and ids of the things that it fits alone, if it does not fit all


@dataclass(frozen=True)
class Phrasebook:
    """All templates of a language, its rules, and what people call apps, settings and contacts."""

    lang: Lang
    templates: tuple[Template, ...]
    rules: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # of "app", "setting" and "contact": id -> template

    def kinds(self) -> tuple[str, ...]:
        """Every kind of command that there are templates for, in the order of the file."""
        return tuple(dict.fromkeys(template.kind for template in self.templates))

    def of(self, kind: str, *, held_out: bool) -> tuple[Template, ...]:
        """The templates of a kind that training may see, or those that it never does. ValueError for an unknown kind."""
        templates = tuple(each for each in self.templates if each.kind == kind and each.held_out == held_out)
        if not templates:
            raise ValueError(f"there is no template of kind {kind!r}; there are {', '.join(self.kinds())}")
        return templates

    @cached_property
    def _families(self) -> dict[tuple[str, bool], tuple[list[str], dict[str, list[Template]]]]:
        """The families of each kind, training's and the exam's apart: their names in order, and the templates of each."""
        families: dict[tuple[str, bool], dict[str, list[Template]]] = {}
        for template in self.templates:
            if template.slots:
                continue
            families.setdefault((template.kind, template.held_out), {}).setdefault(template.family, []).append(template)
        return {key: (sorted(each), each) for key, each in families.items()}

    @cached_property
    def _of_things(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[Template]]:
        """The templates that fit certain slots alone, by kind and slots."""
        templates: dict[tuple[str, tuple[tuple[str, str], ...]], list[Template]] = {}
        for template in self.templates:
            if template.slots:
                templates.setdefault((template.kind, template.slots), []).append(template)
        return templates

    def draw_of_thing(self, kind: str, slots: Mapping[str, str], rng: np.random.Generator) -> str:
        """A sentence that fits one of the things in `slots` alone; empty if there is none."""
        fit = [self._of_things.get((kind, (slot,)), []) for slot in slots.items()]
        templates = [template for each in fit for template in each]
        return self.say(templates[int(rng.integers(len(templates)))].sentence, slots, rng) if templates else ""

    def draw(self, kind: str, slots: Mapping[str, str], rng: np.random.Generator, *, held_out: bool) -> str:
        """A sentence for a kind of command, from a family drawn first, so that long families are not said more often.

        `slots` hold ids of apps, settings and contacts, and the words of all other slots. KeyError when one is missing.
        """
        if (kind, held_out) not in self._families:
            self.of(kind, held_out=held_out)  # says what there is
        names, families = self._families[kind, held_out]
        family = families[str(rng.choice(names))]
        return self.say(family[int(rng.integers(len(family)))].sentence, slots, rng)

    def say(self, sentence: str, slots: Mapping[str, str], rng: np.random.Generator) -> str:
        """One of the sentences that a template stands for, with its slots filled in."""
        return _tidy(self._words(parse(sentence), slots, rng))

    def call(self, slot: str, thing: str, rng: np.random.Generator) -> str:
        """One of the names by which people call an app, a setting or a contact."""
        return _tidy(self._words(parse(self.names[slot][thing]), {}, rng))

    def _words(self, part: Any, slots: Mapping[str, str], rng: np.random.Generator) -> str:
        from hassil.expression import Alternative, Group, ListReference, Permutation, RuleReference

        if isinstance(part, ListReference):
            value = slots[part.list_name]
            return self.call(part.list_name, value, rng) if value in self.names.get(part.list_name, {}) else value
        if isinstance(part, RuleReference):
            return self._words(parse(self.rules[part.rule_name]), slots, rng)
        if isinstance(part, Alternative):
            return self._words(part.items[int(rng.integers(len(part.items)))], slots, rng)
        if isinstance(part, Permutation):
            return " ".join(self._words(part.items[i], slots, rng) for i in rng.permutation(len(part.items)))
        if isinstance(part, Group):
            return "".join(self._words(item, slots, rng) for item in part.items)
        return str(part.original_text)


@cache
def parse(sentence: str) -> Any:
    """The tree of a template. ValueError when it is not written as hassil wants it."""
    from hassil.parse_expression import parse_sentence
    from hassil.parser import ParseError

    try:
        return parse_sentence(sentence, keep_text=True).expression
    except ParseError as error:
        raise ValueError(f"template {sentence!r}: {error}") from error


def _tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@dataclass(frozen=True)
class Subject:
    """Wishes of one sort that the agent cannot fulfil: templates of both languages, and what it says of them ("I cannot ...")."""

    id: str
    why: Mapping[Lang, str]
    sentences: Mapping[Lang, tuple[str, ...]]
    held_out: bool = False


@cache
def subjects() -> tuple[Subject, ...]:
    """Every subject of wishes beyond the agent that is shipped. ValueError when the file is none of its kind."""
    path = data_dir() / "phrasings" / "beyond.yaml"
    content = _load(path)
    try:
        entries = []
        for each in content["subjects"]:
            why = {lang: each[f"why_{lang}"] for lang in LANGS}
            entries.append(Subject(each["id"], why, {lang: tuple(each[lang]) for lang in LANGS}, each["held_out"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no subjects: {type(error).__name__} {error}") from error
    return tuple(entries)


@cache
def asides(lang: Lang) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The sentences that people say before a wish and after it. ValueError when the file holds no such sentences."""
    path = data_dir() / "phrasings" / "asides.yaml"
    content = _load(path)
    try:
        return tuple(content[lang]["before"]), tuple(content[lang]["after"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no asides in {lang!r}: {type(error).__name__} {error}") from error


@cache
def strangers(part: str, lang: Lang, *, held_out: bool) -> tuple[str, ...]:
    """Names of "apps" or "people" that no phone of this world has. ValueError when the file holds no such names."""
    path = data_dir() / "phrasings" / "strangers.yaml"
    content = _load(path)
    try:
        return tuple(str(name) for name in content[part][lang]["held_out" if held_out else "training"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no {part} in {lang!r}: {type(error).__name__} {error}") from error


@cache
def phrasebook(lang: Lang) -> Phrasebook:
    """The templates of a language that are shipped."""
    folder = data_dir() / "phrasings"
    return read_phrasebook(folder / f"{lang}.yaml", folder / f"{lang}_things.yaml")


def read_phrasebook(path: Path, *more: Path) -> Phrasebook:
    """The templates in a file, and in `more` that use its lists and rules. ValueError for another file: it says what is wrong."""
    content = _load(path)
    try:
        lang, lists = content["language"], content["lists"]
        intents = [content["intents"], *(_load(each)["intents"] for each in more)]
        templates = tuple(template for each in intents for template in _templates(lang, each))
        names = {slot: {entry["out"]: entry["in"] for entry in lists[slot]["values"]} for slot in NAMES}
        rules = dict(content.get("expansion_rules") or {})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no phrasebook: {type(error).__name__} {error}") from error
    book = Phrasebook(lang, templates, rules, names)
    try:
        _check(book, {*lists})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    return book


def _load(path: Path) -> Any:
    import yaml

    try:
        # LibYAML's loader, where PyYAML was built with it, is four times as quick
        return yaml.load(path.read_text("utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def _templates(lang: Lang, intents: Mapping[str, Any]) -> Iterator[Template]:
    for kind, intent in intents.items():
        for family in intent["data"]:
            facts = family["metadata"]
            for sentence in family["sentences"]:
                slots = tuple(sorted(family.get("slots", {}).items()))
                yield Template(kind, lang, facts["family"], sentence, bool(facts.get("held_out", False)), slots)


def _check(book: Phrasebook, slots: set[str]) -> None:
    if book.lang not in LANGS:
        raise ValueError(f"language is {book.lang!r}; there are {', '.join(LANGS)}")
    for slot, things in NAMES.items():
        missing = {thing.id for thing in things} ^ set(book.names[slot])
        if missing:
            raise ValueError(f"list {slot!r} and the catalogue differ in {', '.join(sorted(missing))}")
    kinds: dict[str, str] = {}
    for template in book.templates:
        if kinds.setdefault(template.sentence, template.kind) != template.kind:
            raise ValueError(f"{template.sentence!r} stands for {kinds[template.sentence]} and for {template.kind}")
        if template.held_out and template.slots:
            raise ValueError(f"{template.sentence!r} fits {template.slots} alone and is held out; only training has such templates")
        if strange := [(name, thing) for name, thing in template.slots if thing not in book.names.get(name, {})]:
            raise ValueError(f"{template.sentence!r} is for {strange}, which the catalogue does not have")
        unknown = sorted({*slots_of(book, template.sentence)} - slots)
        if unknown:
            raise ValueError(f"{template.sentence!r} has slots that no list names: {', '.join(unknown)}")


def slots_of(book: Phrasebook, sentence: str) -> Sequence[str]:
    """The names of all slots in a template, those in its rules as well. ValueError for a rule that is not there."""
    from hassil.expression import Group, ListReference, RuleReference

    def inside(part: Any) -> Iterator[str]:
        if isinstance(part, ListReference):
            yield part.list_name
        elif isinstance(part, RuleReference):
            if part.rule_name not in book.rules:
                raise ValueError(f"{sentence!r} has a rule that is not there: {part.rule_name}")
            yield from inside(parse(book.rules[part.rule_name]))
        elif isinstance(part, Group):
            for item in part.items:
                yield from inside(item)

    return tuple(dict.fromkeys(inside(parse(sentence))))
