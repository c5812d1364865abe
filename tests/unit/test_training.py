"""Training resumes exactly, and the evaluation can tell a good agent from a bad one."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch

from autoglm_lab.benchmarks.card import OF_OWN_WORDS, OF_PHRASINGS, card, write_card
from autoglm_lab.evaluation.success import (
    EVALUATION_SEEDS,
    MEASURES,
    Rate,
    World,
    answer_rate,
    episodes,
    evaluate,
    evaluate_mini,
    mini_requests,
    question_requests,
    right,
    spoken_requests,
    task_rate,
    typed_requests,
)
from autoglm_lab.model import PhoneGLMConfig, PhoneGLMForConditionalGeneration
from autoglm_lab.model.tokenizer import train_tokenizer
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.actions import Action, format_action
from autoglm_lab.phone.catalog import HOME_SCREEN, LANGS, named
from autoglm_lab.phone.icons import families
from autoglm_lab.phone.oracle import next_step
from autoglm_lab.phone.phrasing import utterances
from autoglm_lab.phone.screens import ROWS_VISIBLE, elements, find
from autoglm_lab.phone.spoken import wish_key
from autoglm_lab.phone.state import Look, State, View
from autoglm_lab.phone.tasks import Task
from autoglm_lab.runtime.engine import Answer
from autoglm_lab.runtime.prompt import write_answer
from autoglm_lab.training.dataset import READ_SIGMA, Scenes, cell_of, clip_noise, difficulty
from autoglm_lab.training.losses import NOISE_PRICE, align_switches, price_of_gates
from autoglm_lab.training.pipeline import finish, save_model, thin_log
from autoglm_lab.training.scene_set import make_scenes
from autoglm_lab.training.scenes import SceneSpec, evidence, looks, make_scene
from autoglm_lab.training.trainer import Recipe, Training, preset

TINY = PhoneGLMConfig(
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
)
SHORT = Recipe(align_steps=2, steps=6, pictures=3, samples=2, warmup=2, gate_from=4, gate_hold=1, checkpoint_every=3)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dozen scenes, and a short murmur for every sentence."""
    folder = tmp_path_factory.mktemp("data")
    make_scenes(folder / "scenes", SceneSpec(scenes=12), processes=1)
    rng = np.random.default_rng(0)
    keys = [wish_key(said) for lang in LANGS for said in utterances(lang)]
    (folder / "speech").mkdir()
    np.save(folder / "speech" / "waves.npy", rng.integers(-3000, 3000, 1600 * len(keys)).astype(np.int16))
    np.savez(
        folder / "speech" / "clips.npz",
        start=np.arange(len(keys)) * 1600,
        length=np.full(len(keys), 1600),
        key=np.array(keys),
        snr=np.full(len(keys), np.inf),
        phonemes=np.array([said.text[:3].lower() for lang in LANGS for said in utterances(lang)]),
    )
    return Scenes(folder / "scenes", folder / "speech", train_tokenizer())


def training(data, folder, recipe=SHORT):
    torch.manual_seed(0)
    return Training(PhoneGLMForConditionalGeneration(TINY), data, recipe, folder)


def test_a_killed_run_ends_where_an_unbroken_one_does(data, tmp_path):
    whole = training(data, tmp_path / "whole")
    whole.run()
    broken = training(data, tmp_path / "broken")
    broken.run(until=4)
    broken = training(data, tmp_path / "broken")
    assert broken.resume() and broken.step == 4
    broken.run()
    for name, value in whole.averaged.items():
        assert torch.equal(value, broken.averaged[name]), name
    logs = [(tmp_path / run / "log.csv").read_text().splitlines() for run in ("whole", "broken")]
    assert len(logs[0]) == 7 and [line.rsplit(",", 1)[0] for line in logs[0]] == [line.rsplit(",", 1)[0] for line in logs[1]]


def test_a_run_killed_after_its_checkpoint_forgets_the_rest(data, tmp_path):
    run = training(data, tmp_path)
    run.run(until=3)
    with (tmp_path / "log.csv").open("a") as log:
        log.write("4,9,9,9,9,9,9,9,9,9,9\n")
    (tmp_path / "checkpoint.part").write_bytes(b"half written")
    again = training(data, tmp_path)
    assert again.resume() and again.step == 3
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4


def test_another_seed_does_not_continue_a_run(data, tmp_path):
    training(data, tmp_path).save()
    with pytest.raises(ValueError, match="seed=0"):
        training(data, tmp_path, replace(SHORT, seed=5)).resume()


def test_gates_are_held_and_then_learn(data, tmp_path):
    run = training(data, tmp_path)
    bias = run.model.gated["0"]["image"].gate_proj.bias
    run.run(until=3)
    assert bias.item() == 0
    run.run()
    assert bias.item() != 0


def test_phonemes_are_learned_where_they_count(data, tmp_path):
    for weight in (0.0, 0.1):
        rows = []
        run = training(data, tmp_path / str(weight), replace(SHORT, spell_weight=weight, clips=4))
        before = run.speller.weight.detach().clone()
        run.run(on_step=rows.append)
        assert all((row["phonemes"] > 0) == (weight > 0) for row in rows)
        assert torch.equal(before, run.speller.weight) == (weight == 0)


def test_batches_depend_on_seed_step_and_rank_alone(data):
    one, same, other = (data.batch(0, step, rank, 3, 2) for step, rank in ((5, 0), (5, 0), (5, 1)))
    assert torch.equal(one.ids, same.ids) and torch.equal(one.pixels, same.pixels)
    assert one.ids.shape != other.ids.shape or not torch.equal(one.ids, other.ids)
    assert not one.place[~one.answer].any()


def test_coordinates_are_read_a_little_off(data):
    batch = data.batch(0, 5, 0, 6, 3)
    assert torch.equal(batch.inputs[~batch.place], batch.ids[~batch.place])
    off = (batch.inputs - batch.ids)[batch.place]
    assert (off != 0).float().mean() > 0.5 and off.abs().max() <= 6 * READ_SIGMA
    read = batch.inputs[batch.place]
    assert data.numbers[0] <= read.min() and read.max() <= data.numbers[-1]


def test_hard_batches_compare_more(data):
    totals = [float(weights.sum()) for weights in data.difficulties]
    scene_of = {data.pictures[scene].tobytes(): scene for scene in range(len(totals))}

    def mean_difficulty(hard):
        batches = [data.batch(0, step, 0, 4, 2, hard=hard) for step in range(40)]
        assert torch.equal(batches[7].ids, data.batch(0, 7, 0, 4, 2, hard=hard).ids)
        shown = [scene_of[pixels.permute(1, 2, 0).contiguous().numpy().tobytes()] for batch in batches for pixels in batch.pixels]
        return np.mean([totals[scene] for scene in shown])

    expected = sum(total**2 for total in totals) / sum(totals)  # a scene is drawn as often as it is hard
    assert expected > np.mean(totals)
    assert mean_difficulty(False) == pytest.approx(np.mean(totals), rel=0.1)
    assert mean_difficulty(True) == pytest.approx(expected, rel=0.1)
    assert mean_difficulty(True) > mean_difficulty(False)
    sample = {"kind": "toggle_on", "action": 'do(action="Tap", element=[500,300])'}
    assert (
        difficulty(sample, "Settings") > difficulty(sample, "System Home") > difficulty({"kind": "who", "action": ""}, "Settings")
    )
    assert sum(data.shares) == pytest.approx(1)


def test_presets():
    small = PhoneGLMForConditionalGeneration(preset("mini").model)
    assert 4e6 < sum(p.numel() for p in small.parameters()) < 7e6
    with pytest.raises(ValueError, match="'full', 'people' and 'mini'"):
        preset("large")


def test_a_saved_model_is_sixteen_bit_safetensors(tmp_path):
    model = PhoneGLMForConditionalGeneration(TINY)
    save_model(model, train_tokenizer(), tmp_path / "model")
    save_model(model, train_tokenizer(), tmp_path / "model")  # twice: the old folder is replaced
    assert {p.name for p in tmp_path.iterdir()} == {"model"}
    size = (tmp_path / "model" / "model.safetensors").stat().st_size
    assert size < 2.2 * sum(p.numel() for p in model.parameters())


def test_a_finished_run_tells_what_it_was(data, tmp_path):
    run = training(data, tmp_path / "run")
    run.run()
    finish(run, "mini", tmp_path / "model")
    facts = json.loads((tmp_path / "model" / "training.json").read_text())
    log = list(csv.DictReader((tmp_path / "run" / "log.csv").open()))
    assert (facts["step"], facts["scenes"], facts["preset"]) == (6, 12, "mini")
    assert facts["minutes"] == round(sum(float(row["seconds"]) for row in log) / 60, 1)
    curve = list(csv.DictReader((tmp_path / "model" / "training.csv").open()))
    assert [row["step"] for row in curve] == ["1", "2", "3", "4", "5", "6"]
    assert float(curve[3]["answer"]) == pytest.approx(float(log[3]["answer"]), abs=1e-4)
    results = {name: {"n": 7, "rate": 0.5, "ci95": [0.2, 0.8]} for name in OF_PHRASINGS}
    results["gates"] = {"image": {"clean": 0.5, "blur_8": 0.25}}
    (tmp_path / "model" / "results.json").write_text(json.dumps(results))
    write_card(tmp_path / "model")
    text = (tmp_path / "model" / "README.md").read_text()
    assert "12 drawn screens" in text and "--tasks 7" in text and text.count("| missed |") == len(OF_PHRASINGS)
    assert "2 steps that align" in text and "4 steps of instruction" in text


def test_the_card_of_an_agent_that_understands_has_all_its_rows():
    results = {name: {"n": 7, "rate": 0.5, "ci95": [0.2, 0.8]} for name in OF_OWN_WORDS} | {"gates": {}}
    results |= {"harm": {"n": 7, "rate": 0.01, "ci95": [0.0, 0.4]}, "free_text": {"n": 7, "rate": 0.95, "ci95": [0.6, 1.0]}}
    training, config = (
        json.loads((data_dir() / "training" / "people" / f"{name}.json").read_text()) for name in ("training", "config")
    )
    text = card(results, training | {"wishes": 240_000}, config)
    assert text.count("| missed |") == len(OF_OWN_WORDS) - 2 and text.count("| reached |") == 2
    assert "no price on them" not in text, "its prompt's gates were priced"
    assert "| harm |" in text and "at most 1%" in text and "240,000 typed commands" in text
    del results["people_alarms"]  # of recordings that are not shipped
    assert card(results, training | {"wishes": 9}, config).count("| missed |") == len(OF_OWN_WORDS) - 3


def test_a_long_log_is_thinned(tmp_path):
    names = ("step", "image", "audio", "answer", "image_right", "audio_right", "point_right", "answer_right")
    lines = [",".join(names), *(",".join([str(step)] + [str(step)] * 7) for step in range(1, 1001))]
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    thin_log(tmp_path / "log.csv", tmp_path / "thin.csv", points=10)
    rows = list(csv.DictReader((tmp_path / "thin.csv").open()))
    assert [row["step"] for row in rows] == [str(100 * n) for n in range(1, 11)]
    assert rows[0]["image"] == "50.5"


def test_scenes_are_made_from_their_seed():
    pixels, facts = make_scene(41, SceneSpec())
    again, same = make_scene(41, SceneSpec())
    assert (pixels == again).all() and facts == same
    assert len(facts["samples"]) >= 4 and pixels.shape == (224, 224, 3)


def test_evidence_lies_on_what_decides():
    state = State.fresh(Look.random(3, lang="en"))
    here, there = state.look.pages[0][0], state.look.pages[1][0]
    icon = find(state, concept=here).centre
    dots = next(item for item in elements(state) if item.kind == "dot" and item.on).centre
    shown, hidden = (Task("has_app", "en", (("app", app),), "?") for app in (here, there))
    assert evidence(shown, state, next_step(shown, state).action) == icon
    assert evidence(hidden, state, next_step(hidden, state).action) == dots
    far = Task("open_app", "en", (("app", there),), "?")
    assert evidence(far, state, next_step(far, state).action) == dots  # a swipe
    near = Task("open_app", "en", (("app", here),), "?")
    assert evidence(near, state, next_step(near, state).action) == icon  # a tap
    state.route = [View("settings", "main")]
    setting = state.look.settings_order[0]
    row = find(state, concept=setting).centre
    for kind in ("is_on", "toggle_on", "toggle_off"):  # answered, done or tapped: it is in the setting's row
        task = Task(kind, "en", (("setting", setting),), "?")
        assert evidence(task, state, next_step(task, state).action) == row
    who = Task("who", "en", (), "?")
    assert evidence(who, state, next_step(who, state).action) is None


@pytest.mark.parametrize("lang", LANGS)
def test_a_description_looks_at_each_app_as_it_names_it(data, lang):
    state = State.fresh(Look.random(3, lang=lang))
    task = Task("describe", lang, (), "?")
    action = next_step(task, state).action
    dots = next(item for item in elements(state) if item.kind == "dot" and item.on).centre
    first, second = (find(state, concept=id) for id in state.look.pages[0][:2])
    places = looks(task, state, action)
    assert [place for _, place in places] == [dots, first.centre, second.centre]
    answer = write_answer("look", format_action(action), think=True)
    cells = data._cells(answer, places)
    said = [data.tokenizer.decode([token]) for token in data.tokenizer.encode(answer)]
    names = [named(id).name(lang) for id in state.look.pages[0][:2]]
    written = ["".join(token for token, cell in zip(said, cells, strict=True) if cell == cell_of(*place)) for _, place in places]
    assert "".join(said) == "".join(written), "the looks change in another order than the words"
    assert written[0].rstrip().endswith(("with", "有")) and names[0] not in written[0]
    assert written[1].strip().startswith(names[0]) and written[2].strip().startswith(names[1])
    assert data._cells(answer, []) == -1 and data._cells(answer, places[:1]) == cell_of(*dots)


def test_agents_come_back_to_a_home_page_from_an_app():
    ways = [
        (facts["app"], sample["kind"], sample["last"])
        for seed in range(60)
        for _, facts in [make_scene(seed, SceneSpec())]
        for sample in facts["samples"]
    ]
    on_pages = [last for app, kind, last in ways if app == HOME_SCREEN and kind == "open_app"]
    assert 0.03 < sum(last == "Home" for last in on_pages) / len(on_pages) < 0.4
    assert {last for _, kind, last in ways if kind in ("describe", "has_app", "who")} == {""}


def test_being_more_open_to_noise_than_to_what_is_clean_costs(data):
    answer = torch.tensor([[False, True], [False, True], [True, True]])  # chosen at the first place, standing at the second

    def price(clean: float, spoilt: float, noise: float = 1.0) -> float:
        gate = torch.tensor([[clean, 0.2], [spoilt, 0.4], [0.0, 0.0]])  # the third request lacks the modality
        return price_of_gates(gate, answer, torch.tensor([0.0, noise, 0.7])).item()

    assert price(0.9, 0.1, noise=0) == pytest.approx(0.3), "without noise: the mean over answer tokens"
    assert price(0.5, 0.5) == pytest.approx(0.3), "open alike to both"
    assert price(0.3, 0.5) == pytest.approx(0.3 + NOISE_PRICE * 0.05)
    assert price(0.5, 0.3) == pytest.approx(0.3 - NOISE_PRICE * 0.05)
    assert price_of_gates(torch.zeros(3, 2), answer, torch.ones(3)).item() == 0
    gate, read = torch.tensor([[0.9, 0.2], [0.1, 0.4], [0.0, 0.0]]), ~answer
    dearer = price_of_gates(gate, answer, torch.zeros(3), read) - price_of_gates(gate, answer, torch.zeros(3))
    assert dearer.item() == pytest.approx(0.5), "the mean over what is read, by requests that have the modality"
    assert clip_noise_of([np.inf, 0.0, 20.0]) == pytest.approx([0, 1, 1 / 3, 1, 1])
    batch = data.batch(0, 5, 0, 6, 3)
    assert batch.image_noise.shape == batch.audio_noise.shape == (len(batch.ids),)
    assert not batch.audio_noise[batch.audio_present == 0].any()


def clip_noise_of(snr_db):
    with TemporaryDirectory() as folder:
        np.savez(Path(folder) / "clips.npz", snr=np.array(snr_db, np.float32))
        return clip_noise(Path(folder), len(snr_db) + 2)  # two more are lost in noise


def test_the_learning_rate_comes_down_twice(data, tmp_path):
    recipe = replace(SHORT, steps=500, first_sweep=300, second_rate=0.5, warmup=20, learning_rate=1.0)
    rates = [training(data, tmp_path, recipe).learning_rate(step) for step in range(500)]
    assert max(rates[:300]) == pytest.approx(1) and max(rates[300:]) == pytest.approx(0.5)
    assert rates[299] < 0.011 and rates[499] < 0.006 and rates[300] < 0.03


def test_switches_are_aligned_with_the_words_for_their_state(data):
    for seed in range(40):
        _, facts = make_scene(seed, SceneSpec())
        if facts["switches"]:
            break
    assert len(facts["switches"]) == ROWS_VISIBLE and facts["app"] == "Settings"
    words = torch.nn.functional.normalize(torch.randn(2, 2, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    labels = torch.tensor([[0, 3, 1], [0, 5, 0]])
    cells = torch.zeros(1, 9, 16)
    cells[0, 3], cells[0, 5] = words[1].sum(0), words[0].sum(0)  # each like its own word in both languages
    right_loss, share = align_switches(cells, labels, words)
    wrong_loss, wrong_share = align_switches(cells[:, [0, 1, 2, 5, 4, 3, 6, 7, 8]], labels, words)
    assert share == 1 and wrong_share == 0 and right_loss < wrong_loss
    assert align_switches(cells, labels[:0], words) == (0, 0.0)


def test_clips_name_what_is_wanted(data):
    named = {data.concepts.index["kind:alarm"], data.concepts.index["06:30"]}
    assert {concept for concept, _ in data._spoken_concepts({"utterance": "en|alarm|time=06:30"})} == named
    said = [tuple(row) for row in data.concepts.ids.tolist()]
    assert len(set(said)) == len(said), "two things with one name cannot both be found"


def test_every_answer_token_knows_where_to_look(data):
    batch = data.batch(0, 3, 0, 6, 3)
    assert (batch.cell[~batch.answer] == -1).all()
    for row, answer in zip(batch.cell, batch.answer, strict=True):
        cells = row[answer]
        assert (cells == -1).all() or (cells >= 0).all()
        assert len(set(cells.tolist())) in (1, 3), "three places only where a home page is described"
    taps = batch.place.any(1)
    assert (batch.cell[taps].amax(1) >= 0).all() and batch.cell.max() < 196


class Oracle:
    def answer_many(self, requests):
        return [Answer.read(format_action(next_step(r.task, r.state, last=r.last).action), 0, {}) for r in requests]


class Sleeper:
    def answer_many(self, requests):
        return [Answer.read('finish(message="done")', 0, {}) for _ in requests]


class Babbler:
    def answer_many(self, requests):
        return [Answer.read("do(action=", 0, {}) for _ in requests]


def test_the_oracle_is_the_upper_bound_and_nothing_is_free():
    for name, rate in evaluate(Oracle(), seed=1, tasks=12).items():
        assert rate.rate == 1.0, name
    assert set(evaluate(Babbler(), tasks=2)) == set(MEASURES)
    world = World(0)
    assert task_rate(Sleeper(), episodes(world, 30)).rate < 0.2
    assert answer_rate(Babbler(), typed_requests(world, 8), "x").rate == 0


def test_the_small_world_is_one_step_on_a_home_page():
    world = World(0)
    typed, spoken = (mini_requests(world, 12, spoken=spoken) for spoken in (False, True))
    assert all(r.wanted.name in ("Tap", "finish") and r.state.app is None for r in typed + spoken)
    assert all((r.audio is None) == (r in typed) for r in typed + spoken)
    assert evaluate_mini(Oracle(), tasks=8)["typed_step"].rate == 1.0
    assert evaluate_mini(Babbler(), tasks=8)["spoken_step"].rate == 0


def test_a_tap_beside_the_thing_is_wrong():
    request = typed_requests(World(0), 1, family=families(held_out=True)[0])[0]
    x, y = request.wanted.element
    assert right(request, Answer.read(format_action(Action("Tap", element=(x, y - 5))), 0, {}))
    assert not right(request, Answer.read(format_action(Action("Tap", element=(x, 15))), 0, {}))
    assert request.state.look.family in families(held_out=True)


def test_evaluation_never_meets_training():
    world = World(0)
    assert all(r.state.look.seed >= EVALUATION_SEEDS > 10**9 for r in typed_requests(world, 5) + question_requests(world, 5))
    clips = world.bank.clips(held_out=True)
    voices = {clip.voice for clip in clips}
    assert len(voices) >= 2
    assert not voices & {clip.voice for clip in world.bank.clips(held_out=False)}
    assert all(r.audio is not None and len(r.audio) > 4000 for r in spoken_requests(world, 3, held_out=True))


def test_wilson_intervals():
    assert Rate.of(500, 500).ci95[0] == pytest.approx(0.9924, abs=1e-3)
    low, high = Rate.of(50, 100).ci95
    assert (low, high) == (pytest.approx(0.4038, abs=1e-3), pytest.approx(0.5962, abs=1e-3))
