"""The model card: what the model is, what it was trained on, and every figure as measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autoglm_lab import atomic

ASKED = {
    "typed_step": 0.98,
    "spoken_step": 0.97,
    "task": 0.95,
    "screen_qa": 0.97,
    "unseen_icons": 0.90,
    "unseen_voice": 0.85,
}
MEANING = {
    "typed_step": "the right next action for a typed task, somewhere on the way through it",
    "spoken_step": "the same for a spoken task, in fresh recordings of known voices, half of them in noise",
    "task": "whole tasks, half of them spoken, played to the end on the phone",
    "screen_qa": "questions about what is on the screen, answered word for word",
    "unseen_icons": "tapping the right app on phones with an icon family kept out of training",
    "unseen_voice": "the right next action for commands in voices kept out of training",
}


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


def write_card(folder: Path) -> None:
    """Write `README.md` of a model folder from its results.json, training.json and config.json."""
    results, training, config = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("results", "training", "config")
    )
    atomic.write_text(folder / "README.md", card(results, training, config))


def _row(name: str, target: float, result: dict[str, Any]) -> str:
    rate, (low, high), n = (result[key] for key in ("rate", "ci95", "n"))
    verdict = "reached" if rate >= target else "missed"
    return f"| {name} | {MEANING[name]} | {target:.0%} | {rate:.1%} | {low:.1%} to {high:.1%} | {n} | {verdict} |"


def card(results: dict[str, Any], training: dict[str, Any], config: dict[str, Any]) -> str:
    """The card as Markdown."""
    rows = [_row(name, target, results[name]) for name, target in ASKED.items()]
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
- {training["clips"]:,} synthetic recordings (eSpeak NG and flite) of the sentences in `autoglm_lab/phone/phrasing.py`,
  half of them in noise. The voices marked `held_out` in `data/speech/index.json` are kept out.

## Training

{_story(training)}

Both stages lie in `autoglm_lab/training/`; `training.csv` beside this card holds the curve.
`autoglm-lab train --preset {training["preset"]}` trains anew.

## Limits

- It knows the drawn phone, its {training["apps"]} apps and its phrasings. On screenshots of real phones it is lost.
- Spoken commands are the sentences of the phrase list; free dictation is not understood. Typed free text is copied word by
  word from a small vocabulary and can go wrong outside it.
- Voices are synthetic; people were not recorded.
- It sees one screenshot and {_past(config.get("memory", 1))}, nothing else of the past.
- Gates follow the noise where answers are chosen, as measured above. While the prompt is read some speech gates stand wide open
  whatever the noise: training put no price on them (chapter 02 shows it).
"""
