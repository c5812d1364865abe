"""Scenes in people's own words: what the agent is told of its way, what it should do, and that a model can learn from them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import people_pieces, train_tokenizer
from autoglm_lab.phone.actions import parse
from autoglm_lab.phone.free_text import free_text
from autoglm_lab.phone.simulator import SimulatedPhone
from autoglm_lab.phone.spoken import SPOKEN_KINDS, parse_wish_key, spoken_wishes, wish_key
from autoglm_lab.phone.tasks import Task
from autoglm_lab.phone.wishes import WISHES
from autoglm_lab.phone.wording import phrasebook
from autoglm_lab.runtime.prompt import read_memory
from autoglm_lab.training.data import Scenes
from autoglm_lab.training.people_scenes import journey, make_people_scene
from autoglm_lab.training.scenes import SceneSpec, make_scenes
from autoglm_lab.training.trainer import Recipe, Training, preset

SPEC = SceneSpec(people=True)
SCENES = 90


@pytest.fixture(scope="module")
def samples():
    return [sample for seed in range(SCENES) for sample in make_people_scene(seed, SPEC)[1]["samples"]]


def test_every_kind_of_wish_is_practised_and_every_answer_can_be_read(samples):
    assert {sample["kind"] for sample in samples} >= {*WISHES} - {"strange_app", "absent_contact"}
    for sample in samples:
        parse(sample["action"])
        parse(sample["blind"][1])
        assert len(read_memory(sample["last"])) <= 4


def test_spoken_samples_ask_for_wishes_that_have_clips(samples):
    universe = {
        wish_key(Task(kind, lang, slots)) for kind in SPOKEN_KINDS for lang in ("zh", "en") for slots in spoken_wishes(kind, lang)
    }
    spoken = [sample["utterance"] for sample in samples if "utterance" in sample]
    assert len(spoken) > SCENES and {*spoken} <= universe
    assert {parse_wish_key(key)[1] for key in spoken} >= {"open_app", "alarm", "delete_alarm", "search", "send"}


def test_no_sample_is_said_as_the_exam_says_it(samples):
    exam = {template.sentence for lang in ("zh", "en") for template in phrasebook(lang).templates if template.held_out}
    assert not exam & {sample["text"] for sample in samples}


def test_the_way_here_is_told_with_what_led_nowhere(samples):
    memories = [read_memory(sample["last"]) for sample in samples]
    assert Counter(map(len, memories)).keys() >= {0, 1, 2, 3, 4}
    assert any(not changed for memory in memories for _, changed in memory)


def test_a_journey_goes_as_far_as_the_task_and_no_further():
    phone = SimulatedPhone(seed=3)
    state, history = journey(phone.state, Task("open_app", "en", (("app", "settings"),)), 9)
    assert state.app == "settings" and {name for name, _ in history} <= {"Swipe", "Tap"} and all(changed for _, changed in history)


def test_a_small_model_learns_from_them(tmp_path):
    make_scenes(tmp_path / "scenes", SceneSpec(scenes=6, people=True), processes=0)
    keys = [
        wish_key(Task(k, lang, s)) for k in SPOKEN_KINDS if k != "beyond" for lang in ("zh", "en") for s in spoken_wishes(k, lang)
    ]
    keys += [""] * 4
    (tmp_path / "speech").mkdir()
    waves = np.random.default_rng(0).integers(-3000, 3000, 1600 * len(keys)).astype(np.int16)
    np.save(tmp_path / "speech" / "waves.npy", waves)
    np.savez(tmp_path / "speech" / "clips.npz", start=np.arange(len(keys)) * 1600, length=np.full(len(keys), 1600),
             key=np.array(keys), snr=np.full(len(keys), np.inf))  # fmt: skip
    data = Scenes(tmp_path / "scenes", tmp_path / "speech", train_tokenizer(people_pieces(), 2600), free_text)
    config = PhoneGLMConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        gated_layers=(0,), image_channels=(4, 6, 8, 12), audio_channels=16, audio_blocks=1, memory=4,
        vocab_size=len(data.tokenizer),
    )  # fmt: skip
    torch.manual_seed(0)
    recipe = Recipe(align_steps=1, steps=60, pictures=3, samples=3, copies=4, warmup=2, gate_from=1, gate_hold=0, price_prompt=True,
                    learning_rate=3e-3, checkpoint_every=60)  # fmt: skip
    losses = []
    Training(PhoneGLMForConditionalGeneration(config), data, recipe, tmp_path / "run").run(on_step=losses.append)
    answers = [row["answer"] for row in losses[1:]]
    assert np.mean(answers[-10:]) < 0.8 * np.mean(answers[:5])


def test_the_preset_of_the_agent_to_come_reads_four_actions():
    assert preset("people").model.memory == 4 and preset("people").scenes.people
    assert preset("full").model.memory == 1 and not preset("full").scenes.people
