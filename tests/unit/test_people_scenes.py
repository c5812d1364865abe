"""Scenes in people's own words: what the agent is told of its way, what it should do, and that a model can learn from them."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.free_text import message_or_query
from autoglm_lab.phone.goals import REFUSED, THEN, read_goal, typed_words
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.spoken import SPOKEN_KINDS, spoken_wishes, wish_key
from autoglm_lab.phone.tasks import Task
from autoglm_lab.phone.wishes import WISHES
from autoglm_lab.runtime.prompt import read_memory
from autoglm_lab.training.dataset import Scenes
from autoglm_lab.training.finetune import Recovery
from autoglm_lab.training.people_scenes import journey, make_people_scene
from autoglm_lab.training.scene_set import make_scenes
from autoglm_lab.training.scenes import SceneSpec
from autoglm_lab.training.trainer import Recipe, Training, preset
from autoglm_lab.training.wish_set import load_wishes, make_wishes

SPEC = SceneSpec(people=True, typed=6, spoken=0)
SCENES = 90


@pytest.fixture(scope="module")
def scenes():
    return [make_people_scene(seed, SPEC)[1] for seed in range(SCENES)]


@pytest.fixture(scope="module")
def samples(scenes):
    return [sample for scene in scenes for sample in scene["samples"]]


def test_every_kind_that_has_a_goal_is_practised_and_every_answer_can_be_read(samples):
    assert {sample["kind"] for sample in samples} == {*WISHES} - {*REFUSED}
    for sample in samples:
        parse(sample["action"])
        parse(sample["blind"][1])
        assert len(read_memory(sample["last"])) <= 4


def test_samples_are_asked_by_goals(samples):
    for sample in samples:
        parts = read_goal(sample["text"])
        assert (len(parts) == 2) == (sample["kind"] == "two") and parts[0].lang == sample["lang"]
        if len(parts) == 1:
            assert parts[0].kind == {"absent_app": "open_app"}.get(sample["kind"], sample["kind"])


def test_what_is_typed_is_part_of_the_goal(samples):
    typed = [(parse(sample["action"]).text, sample["text"]) for sample in samples if 'action="Type"' in sample["action"]]
    assert len(typed) > 20 and all(text in typed_words(wish) for text, wish in typed)


def test_the_way_here_is_told_with_what_led_nowhere(samples):
    memories = [read_memory(sample["last"]) for sample in samples]
    assert Counter(map(len, memories)).keys() >= {0, 1, 2, 3, 4}
    assert any(not changed for memory in memories for _, changed in memory)


def test_who_remembers_typing_has_typed_for_this_wish(scenes):
    """In a chat with the sent message an agent that could not trust its memory went back and forth for ever."""
    typed = 0
    for scene in scenes:
        first, *others = scene["samples"]
        assert all(sample["kind"] == "two" and first["text"] in sample["text"] for sample in others if "Type" in sample["last"])
        typed += "Type" in first["last"]
    assert typed > 5


def test_the_way_of_one_wish_is_practised_as_a_part_of_two(scenes):
    as_first = as_second = 0
    for scene in (scene for scene in scenes if scene["concepts"]):  # what cannot be read is launched by name
        first, *others = scene["samples"]
        then = THEN[first["lang"]]
        for sample in others:
            if sample["kind"] != "two" or first["kind"] == "two" or sample["text"].count(then) != 1:
                continue
            one, two = sample["text"].split(then)
            if one == first["text"] and sample["last"] == first["last"]:
                ends = parse(first["action"]).name == "finish"
                assert sample["action"] == ('do(action="Home")' if ends else first["action"])
                as_first += 1
            elif two == first["text"] and sample["last"]:
                assert sample["last"].endswith(first["last"][-4:]) or first["last"].endswith(sample["last"][-4:])
                assert parse(sample["action"]).name == parse(first["action"]).name
                as_second += 1
    assert as_first > 5 and as_second > 5


def test_an_agent_that_has_left_is_done(samples):
    left = [sample for sample in samples if (sample["kind"], sample["last"]) in (("close", "Home"), ("back", "Back"))]
    assert len(left) > 3 and all(parse(sample["action"]).name == "finish" for sample in left)


def test_a_journey_goes_as_far_as_the_task_and_no_further():
    phone = SimulatedPhone(seed=3)
    state, history = journey(phone.state, Task("open_app", "en", (("app", "settings"),)), 9)
    assert state.app == "settings" and {name for name, _ in history} <= {"Swipe", "Tap"} and all(changed for _, changed in history)


@pytest.fixture(scope="module")
def small_world(tmp_path_factory):
    """A few scenes, wishes and clips of noise, and a configuration of a model for them."""
    tmp_path = tmp_path_factory.mktemp("people")
    make_scenes(tmp_path / "scenes", replace(SPEC, scenes=6), processes=0)
    make_wishes(tmp_path / "wishes.json", 200, processes=1)
    keys = [
        wish_key(Task(k, lang, s)) for k in SPOKEN_KINDS if k != "beyond" for lang in ("zh", "en") for s in spoken_wishes(k, lang)
    ]
    keys += [""] * 4
    (tmp_path / "speech").mkdir()
    waves = np.random.default_rng(0).integers(-3000, 3000, 1600 * len(keys)).astype(np.int16)
    np.save(tmp_path / "speech" / "waves.npy", waves)
    np.savez(
        tmp_path / "speech" / "clips.npz",
        start=np.arange(len(keys)) * 1600,
        length=np.full(len(keys), 1600),
        key=np.array(keys),
        snr=np.full(len(keys), np.inf),
        phonemes=np.array([""] * len(keys)),
    )
    wishes = load_wishes(tmp_path / "wishes.json")
    data = Scenes(tmp_path / "scenes", tmp_path / "speech", train_tokenizer(people_pieces(), 2600), message_or_query, wishes)
    config = PhoneGLMConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        gated_layers=(0,),
        image_channels=(4, 6, 8, 12),
        audio_channels=16,
        audio_blocks=1,
        memory=4,
        understands=True,
        vocab_size=len(data.tokenizer),
    )
    return data, config


def test_a_small_model_learns_from_them(small_world, tmp_path):
    data, config = small_world
    torch.manual_seed(0)
    recipe = Recipe(
        align_steps=1,
        steps=60,
        pictures=3,
        samples=3,
        commands=8,
        clips=4,
        copies=0,
        warmup=2,
        gate_from=1,
        gate_hold=0,
        price_prompt=True,
        learning_rate=3e-3,
        checkpoint_every=60,
    )
    losses = []
    Training(PhoneGLMForConditionalGeneration(config), data, recipe, tmp_path / "run").run(on_step=losses.append)
    answers = [row["answer"] for row in losses[1:]]
    assert np.mean(answers[-10:]) < 0.8 * np.mean(answers[:5])


def test_a_recovery_practises_commands_as_well_as_steps(small_world):
    data, config = small_world
    rows, seen = [], []
    batch = data.batch

    def watched(*counts, **options):
        seen.append(options)
        return batch(*counts, **options)

    torch.manual_seed(0)
    settings = {"pictures": 2, "samples": 2, "copies": 0, "warmup": 1, "learning_rate": 3e-3}
    recovery = Recovery(data, steps=40, commands=8, clips=4, on_step=rows.append, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "batch", watched)
        recovery(PhoneGLMForConditionalGeneration(config))
    assert {(each["commands"], each["clips"]) for each in seen} == {(8, 4)}
    assert sum(row["answer"] for row in rows[-5:]) < 0.8 * sum(row["answer"] for row in rows[:5])


def test_commands_cannot_be_practised_without_wishes(few):
    data, model = few
    with pytest.raises(ValueError, match="commands are drawn from wishes"):
        Recovery(data, steps=1, commands=4)(copy.deepcopy(model))


def test_the_preset_of_the_agent_to_come_understands_first_and_reads_four_actions():
    assert preset("people").model.memory == 4 and preset("people").model.understands and preset("people").scenes.people
    assert preset("full").model.memory == 1 and not preset("full").scenes.people
