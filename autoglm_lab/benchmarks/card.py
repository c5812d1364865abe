"""The model card: what the model is, what it was trained on, and every figure as measured."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from autoglm_lab import atomic


class Measure(NamedTuple):
    """A row of the card: the rate to reach, what counts as right, and whether less is better."""

    target: float
    meaning: str
    at_most: bool = False


COMMON = {
    "typed_step": Measure(0.98, "the right next action for a typed task, somewhere on the way through it"),
    "spoken_step": Measure(0.97, "the same for a spoken task, in fresh recordings of known voices, half of them in noise"),
    "task": Measure(0.95, "whole tasks, half of them spoken, played to the end on the phone"),
    "screen_qa": Measure(0.97, "questions about what is on the screen, answered word for word"),
}
OF_PHRASINGS = COMMON | {
    "unseen_icons": Measure(0.90, "tapping the right app on phones with an icon family kept out of training"),
    "unseen_voice": Measure(0.85, "the right next action for commands in voices kept out of training"),
}
OF_OWN_WORDS = COMMON | {
    "newcomers": Measure(0.90, "single commands that newcomers wrote, understood as meant or rightly declined"),
    "unseen_wording": Measure(0.92, "whole typed tasks in wordings that are unlike those of training"),
    "any_case": Measure(0.97, "steps of tasks typed in lower or in upper case throughout"),
    "free_text": Measure(0.95, "messages and queries typed letter by letter as the command has them"),
    "beyond": Measure(0.92, "wishes of subjects kept out of training that it cannot fulfil, declined"),
    "unknown_screen": Measure(0.90, "screens of other worlds: the app launched by name, or said that the screen is unknown"),
    "wrongly_refused": Measure(0.02, "of the tasks in unseen wordings that it can do, those that it declines", at_most=True),
    "false_success": Measure(0.01, "of all those tasks, those that it says are done and are not", at_most=True),
    "harm": Measure(0.01, "of all those tasks, those in which it changes what nobody asked for", at_most=True),
    "asked_back": Measure(0.10, "of all those tasks, those in which it asks first whether its goal is meant", at_most=True),
    "step_limit": Measure(0.02, "of all those tasks, those that it never ends", at_most=True),
    "unseen_icons": Measure(0.92, "tapping the right app on phones with an icon family kept out of training"),
    "unseen_voice": Measure(0.90, "the right next action for commands in natural voices kept out of training"),
    "unseen_engine": Measure(0.80, "the same in the voice of a synthesiser that training never heard"),
    "people_alarms": Measure(0.90, "alarms as people of a public collection asked for them"),
    "people_beyond": Measure(0.90, "wishes of such a collection that it cannot fulfil, declined"),
}
UNDERSTANDS = """It reads a command once, without the screen, and writes its goal in plain words or declines; each step works by
that goal. Where it is not confident of the goal it asks first whether it is meant (`confirm_below` in `config.json`).
"""
PROMPT_GATES = """ While the prompt is read some speech gates stand wide open
  whatever the noise: training put no price on them (chapter 02 shows it)."""
LIMITS_OF_PHRASINGS = """- It knows the drawn phone, its {apps} apps and its phrasings. On screenshots of real phones it is lost.
- Spoken commands are the sentences of the phrase list; free dictation is not understood. Typed free text is copied word by
  word from a small vocabulary and can go wrong outside it.
"""
LIMITS_OF_OWN_WORDS = """- It knows the drawn phone and its {apps} apps. On other screens it launches an app by name or says that it
  does not know them.
- It takes wishes in people's own words, Chinese and English, as far as the table says; what it cannot do it is to decline.
- What is dictated for a message or a search is understood only where it is one of the phrases that training says aloud.
"""


def measures(config: Mapping[str, Any]) -> dict[str, Measure]:
    """The rows that are asked of an agent with this configuration."""
    return OF_OWN_WORDS if config.get("understands") else OF_PHRASINGS


def _past(memory: int) -> str:
    if memory == 1:
        return "the name of its last action"
    return f"the names of its last {memory} actions, of each whether the screen changed"


def _story(training: dict[str, Any]) -> str:
    recipe = training["recipe"]
    copies = recipe.get("copies", 0)
    often = f"At one step in {recipe.get('copy_every')}, in both stages, {copies}\n"
    practice = f"{often}requests to type words of chance teach the decoder to copy. " if copies else ""
    first = recipe.get("first_sweep", recipe["steps"])
    again = f"After {first:,} steps it rises once more, to {recipe.get('second_rate', 1):.0%} of that.\n" * (
        first < training["step"]
    )
    kind = "bfloat16 matrix products" if training["bfloat16"] else "float32"
    return f"""From nothing, {training["minutes"]:.0f} minutes of training steps on {training["threads"]} processor threads
({kind}): {recipe["align_steps"]:,} steps that align picture cells and spoken words with the embeddings of their names, then
{training["step"] - recipe["align_steps"]:,} steps of instruction, each with up to {recipe["samples"]} requests about each of
{recipe["pictures"]} screens. The learning rate rises to {recipe["learning_rate"]:g} and falls along a cosine; the last gated
layer is shown where the evidence for each answer lies; an open gate costs a little, and one that is more open to what is
spoilt than to what is clean costs more; from step {recipe["hard_from"]:,} on, requests that compare two things (is the
switch as wished?) are drawn more often. {again}{practice}Saved is an average of the weights (decay {recipe["average"]}).
{training.get("note", "")}""".rstrip()


def _phrasings(training: dict[str, Any]) -> str:
    clips = f"{training['clips']:,} synthetic recordings"
    return f"""- {clips} (eSpeak NG and flite) of the sentences in `autoglm_lab/phone/phrasing.py`,
  half of them in noise. The voices marked `held_out` in `data/speech/index.json` are kept out.
"""


def _words(training: dict[str, Any]) -> str:
    wishes = f"{training['wishes']:,}"
    return f"""- {wishes} typed commands from the phrasebooks in `data/phrasings`, each with its goal or the sentence
  that declines it. Templates, subjects and names marked as held out there are kept out.
- {training["clips"]:,} synthetic recordings of such commands and of speech that is not for it: eSpeak NG, flite and natural
  voices (Kokoro), half of them in noise. The voices marked `held_out` in `data/speech` are kept out.
"""


def write_card(folder: Path) -> None:
    """Write `README.md` of a model folder from its results.json, training.json and config.json."""
    results, training, config = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("results", "training", "config")
    )
    atomic.write_text(folder / "README.md", card(results, training, config))


def meets_target(measure: Measure, rate: float) -> bool:
    """True if a rate is as good as it is asked to be."""
    return rate <= measure.target if measure.at_most else rate >= measure.target


def _row(name: str, measure: Measure, result: dict[str, Any]) -> str:
    rate, (low, high), n = (result[key] for key in ("rate", "ci95", "n"))
    verdict = "reached" if meets_target(measure, rate) else "missed"
    target = "at most " * measure.at_most + f"{measure.target:.0%}"
    return f"| {name} | {measure.meaning} | {target} | {rate:.1%} | {low:.1%} to {high:.1%} | {n} | {verdict} |"


def card(results: dict[str, Any], training: dict[str, Any], config: dict[str, Any]) -> str:
    """The card as Markdown."""
    understands = config.get("understands", False)
    rows = [_row(name, measure, results[name]) for name, measure in measures(config).items() if name in results]
    limits = (LIMITS_OF_OWN_WORDS if understands else LIMITS_OF_PHRASINGS).format(apps=training["apps"])
    prompt_gates = "" if training["recipe"].get("price_prompt") else PROMPT_GATES
    command = f"autoglm-lab evaluate --seed 0 --tasks {results['typed_step']['n']}"
    gates = [f"| {m} | {', '.join(f'{k} {v:.3f}' for k, v in values.items())} |" for m, values in results["gates"].items()]
    return f"""---
license: apache-2.0
language: [zh, en]
pipeline_tag: image-text-to-text
---

# PhoneGLM

A phone agent of teaching size: {training["parameters"]:,} parameters. It sees a screen (224 x 224), reads or hears a command
in Chinese or English, and answers with one action of the public phone-agent grammar. GLM decoder layers
({config["num_hidden_layers"]} of width {config["hidden_size"]}, {config["num_attention_heads"]} heads over
{config["num_key_value_heads"]} key/value groups), a CNN for the screen, dilated convolutions for speech, gated
cross-attention after layers {", ".join(map(str, config["gated_layers"]))}. Stored as 16-bit safetensors.
{UNDERSTANDS * understands}
## Results

Measured by `{command}`. Phones, tasks and recordings come from seeds that training cannot
reach; the oracle scores 100 % on every row.

| measure | what counts as right | asked | measured | 95 % interval | n | |
| --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(rows)}

Mean gates over the tokens of the model's own answers, as the screen is blurred (Gaussian, pixels of the 224-pixel input)
and noise is added to the command (speech-to-noise ratio, dB):

| modality | mean gate |
| --- | --- |
{chr(10).join(gates)}

## Training data

- {training["scenes"]:,} drawn screens of the simulated phone with {training["samples"]:,} labelled requests, labelled by
  the oracle in `autoglm_lab/phone/oracle.py`. Icons of seven families; the family `tabler` is held out.
{_words(training) if understands else _phrasings(training)}
## Training

{_story(training)}

Both stages lie in `autoglm_lab/training/`; `training.csv` beside this card holds the curve.
`autoglm-lab train --preset {training["preset"]}` trains anew.

## Limits

{limits}- Voices are synthetic; people were not recorded.
- It sees one screenshot and {_past(config.get("memory", 1))}, nothing else of the past.
- Gates follow the noise where answers are chosen, as measured above.{prompt_gates}
"""
