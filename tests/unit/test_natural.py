"""Natural voices: packed and read back, kept apart where they are held out, and one source of a training set among several."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autoglm_lab.evaluation.success import World, right
from autoglm_lab.evaluation.voices import ESPEAK_ROW, evaluate_voices, rows_of, unseen_clips, unseen_requests
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.catalog import LANGS
from autoglm_lab.phone.phrasing import Utterance, utterances
from autoglm_lab.phone.room import limit_band, reverberate
from autoglm_lab.phone.speech import KEPT_OUT_NATURAL, SAMPLE_RATE_HZ, SpeechBank
from autoglm_lab.phone.spoken import SPOKEN_KINDS, parse_wish_key, spoken_wishes, wish_key
from autoglm_lab.phone.tasks import REPEAT, Task
from autoglm_lab.training.dataset import UNHEARD, Scenes, mel_bank
from autoglm_lab.training.scene_set import make_scenes
from autoglm_lab.training.scenes import SceneSpec
from autoglm_lab.training.speech_data import (
    FIXED_PHRASINGS,
    VARIANTS,
    SpeechSpec,
    count_clips,
    foreign_takes,
    synthesise_training_set,
    template_takes,
    through_the_air,
    training_takes,
)
from autoglm_lab.training.unaddressed import FOREIGN

pytest.importorskip("soundfile")

OPEN_MAPS = {"kind": "open_app", "lang": "en", "slots": [["app", "maps"]], "text": "I want the map"}
ALARM = {"kind": "alarm", "lang": "zh", "slots": [["time", "06:30"]], "text": "六点半叫我"}
SMALL_TALK = {"kind": "beyond", "lang": "en", "slots": [["subject", "weather"]], "text": "lovely day today"}
LINES = {
    "k00001": ("af_sky+am_adam", OPEN_MAPS, False),
    "k00002": ("zf_xiaoni", ALARM, False),
    "k00003": ("af_sky", SMALL_TALK, False),
    "k00004": ("af_sky", OPEN_MAPS, False),
    "k00005": ("af_sky", OPEN_MAPS, False),
    "k00016": ("bm_george", OPEN_MAPS, True),
    "k00017": ("zm_yunxi", ALARM, True),
    "k00018": ("bm_george", SMALL_TALK, True),
    "h00001": ("heart", OPEN_MAPS, True),
}
# a handful of wishes from every source
FEW = SpeechSpec(
    template_takes=1,
    takes_per_share=0,
    phrasing_takes=1,
    natural_takes=2,
    bank_takes=1,
    unaddressed_takes=1,
    counting=3,
    babble=2,
    kinds=frozenset({"home", "open_app"}),
    bank_voices=1,
)
KINDS_AND_BEYOND = frozenset({"home", "open_app", "beyond"})


def tone(samples, hz=440.0):
    return (0.3 * np.sin(2 * np.pi * hz / SAMPLE_RATE_HZ * np.arange(samples))).astype(np.float32)


@pytest.fixture(scope="module")
def packing():
    """The module that writes the files, which lies beside the data."""
    folder = Path(__file__).resolve().parents[2] / "data" / "speech"
    if not (folder / "natural_files.py").exists():
        pytest.skip("only a checkout makes clips")
    sys.path.insert(0, str(folder))
    try:
        import natural_files
    finally:
        sys.path.remove(str(folder))
    return natural_files


def write_clips(folder, lines=LINES):
    folder.mkdir()
    for number, (name, (voice, said, held_out)) in enumerate(lines.items()):
        np.save(folder / f"{name}.npy", np.round(tone(8000 + 400 * number, 300 + 60 * number) * 32767).astype("<i2"))
        line = {"number": int(name[1:]), "said": said, "voice": voice, "speed": 1.0, "held_out": held_out}
        (folder / f"{name}.json").write_text(json.dumps(line), "utf-8")
    np.save(folder / "k00900.npy", np.zeros(10, "<i2"))  # a clip that is not finished: its facts come last
    return folder


@pytest.fixture(scope="module")
def folder(packing, tmp_path_factory):
    """A speech bank of a few old clips and of tones for natural ones."""
    out = tmp_path_factory.mktemp("bank")
    shipped = data_dir() / "speech"
    index = json.loads((shipped / "index.json").read_text("utf-8"))
    index["voices"] = {voice: index["voices"][voice] for voice in ("slt", "cmn+f1", "rms", "cmn+f4")}
    (out / "index.json").write_text(json.dumps(index), "utf-8")
    for facts in index["voices"].values():
        (out / facts["file"]).symlink_to(shipped / facts["file"])
    packing.pack(write_clips(tmp_path_factory.mktemp("made") / "clips"), out, 10_000_000)
    return out


@pytest.fixture(scope="module")
def bank(folder):
    return SpeechBank.load(folder)


def test_a_key_stands_for_all_wordings_of_a_wish():
    keys = {wish_key(said) for lang in LANGS for said in utterances(lang)}
    assert len(keys) == 2 * 176 < sum(len(list(utterances(lang))) for lang in LANGS)
    for lang in LANGS:
        for said in utterances(lang):
            assert parse_wish_key(wish_key(said)) == (said.lang, said.kind, said.slots)
            assert wish_key(Task.of(said)) == wish_key(said)
    spoken = {
        wish_key(Utterance(kind, lang, slots, "")) for lang in LANGS for kind in SPOKEN_KINDS for slots in spoken_wishes(kind, lang)
    }
    assert keys < spoken, "whatever the old sentences ask for can be said in other words"
    for wrong in ("", "en", "fr|home", "en|alarm|06:30"):
        with pytest.raises(ValueError, match="not the key of a wish"):
            parse_wish_key(wrong)
    with pytest.raises(ValueError, match="bar"):
        wish_key(Task("search", "en", (("app", "maps"), ("query", "a|b"))))


def test_packed_clips_come_back(bank):
    assert {clip.engine for clip in bank.natural} == {"kokoro", "hibari"}
    assert len(bank.natural_clips()) == 5 and len(bank.natural_clips("zh")) == 1
    assert len(bank.natural_clips(held_out=True, engine="kokoro")) == 3
    one = next(clip for clip in bank.natural_clips() if clip.number == 1)
    assert one.utterance == Utterance("open_app", "en", (("app", "maps"),), "I want the map") and one.voice == "af_sky+am_adam"
    for number, clip in enumerate(sorted(bank.natural_clips(), key=lambda clip: clip.number)):
        wave = bank.waveform(clip)
        assert len(wave) == 8000 + 400 * number
        assert 20 * np.log10(np.sqrt(np.mean(wave**2))) == pytest.approx(-20, abs=1)
        strongest_hz = np.argmax(np.abs(np.fft.rfft(wave))) * SAMPLE_RATE_HZ / len(wave)
        assert strongest_hz == pytest.approx(300 + 60 * number, abs=8)


def test_old_clips_stay_as_they_were(bank):
    shipped = SpeechBank.load()
    assert {clip.engine for clip in bank.clips()} == {"flite", "espeak"}
    assert bank.clips("en") == [clip for clip in shipped.clips("en") if clip.voice == "slt"]
    assert bank.voices("zh") == ["cmn+f1"] and bank.voices("zh", held_out=True) == ["cmn+f4"]
    with pytest.raises(ValueError, match="no training voice says"):
        bank.find("I want the map", "en", np.random.default_rng(0))


def test_packing_twice_gives_the_same_files_and_keeps_the_limit(packing, tmp_path):
    clips = write_clips(tmp_path / "clips")
    for out in ("one", "two", "small"):
        (tmp_path / out).mkdir()
    packed = packing.pack(clips, tmp_path / "one", 10_000_000)
    packing.pack(clips, tmp_path / "two", 10_000_000)
    written = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert written == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert (
        set(written)
        == {"natural.json", "natural-00.opus", "natural-held-out-00.opus", "natural-heart-00.opus"}
        == {*packed, "natural.json"}
    )
    limit = sum(map(len, written.values())) - 1500
    kept = packing.pack(clips, tmp_path / "small", limit)
    assert sum(path.stat().st_size for path in (tmp_path / "small").iterdir()) <= limit
    assert kept["natural-held-out-00.opus"] == packed["natural-held-out-00.opus"]
    assert 0 < len(kept["natural-00.opus"]["clips"]) < len(packed["natural-00.opus"]["clips"])


def test_what_is_packed_later_leaves_earlier_files_as_they_are(packing, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    packing.pack(write_clips(tmp_path / "first"), out, 10_000_000)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    later = {f"k{number:05d}": ("af_sky", OPEN_MAPS, False) for number in (500, 777, 1000)}
    written = packing.pack(write_clips(tmp_path / "later", later), out, 10_000_000)
    assert set(written) == {"natural-01.opus", "natural-02.opus"}
    assert {name: (out / name).read_bytes() for name in before if name != "natural.json"} == {
        name: content for name, content in before.items() if name != "natural.json"
    }
    files = json.loads((out / "natural.json").read_text("utf-8"))["files"]
    assert list(files) == sorted([*written, *(name for name in before if name.endswith(".opus"))])
    assert [len(files[f"natural-0{part}.opus"]["clips"]) for part in (0, 1, 2)] == [5, 2, 1]


@pytest.mark.parametrize("voice", ["bm_george", "af_sky+zm_yunxi", "af_heart", "heart", "af_bella+af_sky"])
def test_a_voice_that_is_kept_out_is_never_one_of_training(packing, folder, tmp_path, voice):
    (tmp_path / "out").mkdir()
    clips = write_clips(tmp_path / "clips", {"k00001": (voice, OPEN_MAPS, False)})
    with pytest.raises(ValueError, match="training clip"):
        packing.pack(clips, tmp_path / "out", 10_000_000)
    index = (folder / "natural.json").read_text("utf-8").replace("af_sky+am_adam", voice)
    (tmp_path / "natural.json").write_text(index, "utf-8")
    (tmp_path / "index.json").write_text('{"voices": {}}', "utf-8")
    with pytest.raises(ValueError, match="kept out"):
        SpeechBank.load(tmp_path)


def test_a_room_and_a_band_keep_the_length():
    wave = tone(12_345, 1000)
    rng = np.random.default_rng(0)
    heard = reverberate(wave, rng)
    assert heard.shape == wave.shape and heard.dtype == np.float32 and np.isfinite(heard).all()
    assert not np.allclose(heard, wave, atol=0.01)
    np.testing.assert_array_equal(heard, reverberate(wave, np.random.default_rng(0)))
    silent = np.zeros(1000, np.float32)
    np.testing.assert_array_equal(reverberate(silent, rng), silent)

    def level_db(hz, low_hz, high_hz):
        one = tone(16_000, hz)
        return 10 * np.log10(np.mean(limit_band(one, low_hz, high_hz) ** 2) / np.mean(one**2))

    assert level_db(1000, 200, 3400) == pytest.approx(0, abs=0.1)
    assert level_db(3400, 200, 3400) == pytest.approx(-3, abs=0.3)
    assert level_db(6800, 200, 3400) < -20 and level_db(100, 200, 3400) < -20
    with pytest.raises(ValueError, match="low_hz"):
        limit_band(wave, 3000, 300)


def test_on_its_way_a_clip_keeps_its_length_and_a_fair_level():
    wave = tone(16_000)
    for seed in range(30):
        samples, snr_db = through_the_air(wave, np.random.default_rng(seed), room_share=0.5, band_share=0.5)
        assert 16_000 + 2 * 800 <= len(samples) <= 16_000 + 2 * 4800
        rms_dbfs = 20 * np.log10(np.sqrt(np.mean((samples / 32768.0) ** 2)))
        assert -34.5 < rms_dbfs < -13.5 and np.abs(samples.astype(int)).max() < 32767
        assert snr_db == np.inf or 3 <= snr_db <= 30
        again, _ = through_the_air(wave, np.random.default_rng(seed), room_share=0.5, band_share=0.5)
        np.testing.assert_array_equal(samples, again)


@pytest.fixture(scope="module")
def takes(folder):
    pytest.importorskip("espeakng_loader")
    return list(training_takes(FEW, seed=0, processes=0, bank_dir=folder))


def test_a_training_set_has_every_source(takes, folder):
    counts = count_clips(FEW, folder)
    made = {source: sum(take.source == source for take in takes) for source in counts}
    assert made == counts == {"phrasing": 124, "bank": counts["bank"], "template": 42, "natural": 6, "unaddressed": 48}
    kinds = {parse_wish_key(take.key)[1] for take in takes if take.key}
    assert kinds == {"home", "open_app"}
    assert all((take.source == "unaddressed") == (take.key == UNHEARD) for take in takes)
    maps = {take.source for take in takes if take.key == "en|open_app|app=maps"}
    assert maps == {"phrasing", "bank", "template", "natural"}, "any wording serves"
    natural = [take for take in takes if take.source == "natural"]
    assert len({take.wave.tobytes() for take in natural}) == 6, "every time it is heard differently"


def test_no_voice_that_is_held_out_is_heard(takes):
    voices = {part for take in takes for whole in take.voice.split(" and ") for part in whole.split("+")}
    assert not voices & KEPT_OUT_NATURAL and not voices & {"f4", "m7", "rms"}
    assert {"af_sky", "slt", "cmn"} < voices
    assert {take.voice for take in takes if take.source == "natural"} == {"af_sky+am_adam", "af_sky"}


def test_a_set_does_not_depend_on_processes_and_seeds_differ(folder):
    spec = replace(FEW, phrasing_takes=0, template_takes=0, bank_takes=0, unaddressed_takes=0, counting=0)
    one, other = (list(training_takes(spec, seed, 0, folder)) for seed in (0, 1))
    two = list(training_takes(spec, 0, 1, folder))
    assert [take.wave.tobytes() for take in one] == [take.wave.tobytes() for take in two]
    assert one[0].wave.tobytes() != other[0].wave.tobytes()


def test_wishes_are_worded_in_many_ways():
    pytest.importorskip("espeakng_loader")
    wish = Utterance("alarm", "zh", (("time", "17:35"),), "")
    made, same = (template_takes(wish, 5, seed=0) for _ in range(2))
    assert {take.key for take in made} == {"zh|alarm|time=17:35"}
    assert len({len(take.wave) for take in made}) == 5
    assert [take.voice for take in made] == [take.voice for take in same]
    assert all(take.voice.split("+")[1] in VARIANTS for take in made)


@pytest.mark.parametrize("language", FOREIGN)
def test_foreign_sentences_sound(language):
    pytest.importorskip("espeakng_loader")
    made = foreign_takes(language, 0, replace(FEW, unaddressed_takes=1))
    assert len(made) == 8 and {take.key for take in made} == {UNHEARD}
    assert all(len(take.wave) > 0.6 * SAMPLE_RATE_HZ for take in made)


def test_speech_that_is_not_for_the_agent_asks_to_repeat(folder, tmp_path):
    pytest.importorskip("espeakng_loader")
    spec = replace(FEW, phrasing_takes=0, unaddressed_takes=0)
    count = synthesise_training_set(tmp_path / "speech", spec, processes=0, bank_dir=folder)
    clips = np.load(tmp_path / "speech" / "clips.npz")
    assert count == len(clips["key"]) == json.loads((tmp_path / "speech" / "facts.json").read_text())["clips"]
    make_scenes(tmp_path / "scenes", SceneSpec(scenes=8), processes=0)
    data = Scenes(tmp_path / "scenes", tmp_path / "speech", tokenizer())
    unaddressed = np.flatnonzero(clips["key"] == "")
    lost = range(count, len(data.lengths))
    assert set(data.by_wish[UNHEARD]) <= {*unaddressed.tolist(), *lost} and set(unaddressed.tolist()) & set(data.by_wish[UNHEARD])
    assert data.noise[unaddressed].max() <= 1 and (data.noise[count:] == 1).all()
    spoken = [sample for fact in data.facts for sample in fact["samples"] if "utterance" in sample]
    assert spoken and all(sample["utterance"] in data.by_wish for sample in spoken)
    rng = np.random.default_rng(0)
    fact = next(fact for fact in data.facts if any("utterance" in sample for sample in fact["samples"]))
    sample = next(sample for sample in fact["samples"] if "utterance" in sample)
    rows = [data._row(fact, sample, 0, False, rng) for _ in range(400)]
    heard, unheard = [row for row in rows if "utterance" in row], [row for row in rows if "utterance" not in row]
    assert all(clips["key"][row["clip"]] == sample["utterance"] for row in heard)
    assert unheard and all(row["clip"] in data.by_wish[UNHEARD] for row in unheard)
    assert all(REPEAT in data.tokenizer.decode(row["answer"]) for row in unheard)


def test_frames_stay_on_the_disk_and_are_made_once(folder, tmp_path):
    spec = replace(FEW, phrasing_takes=0, template_takes=0, unaddressed_takes=0, counting=0, babble=0, kinds=KINDS_AND_BEYOND)
    count = synthesise_training_set(tmp_path, spec, processes=0, bank_dir=folder)
    mels, starts, lengths, by_wish = mel_bank(tmp_path)
    assert isinstance(mels, np.memmap) and mels.dtype == np.float16 and mels.shape == (lengths.sum(), 80)
    assert len(lengths) == 2 * count and starts[1] == lengths[0] and len(by_wish[UNHEARD]) == count + 2
    before = (tmp_path / "mels.npy").stat().st_mtime_ns
    again = mel_bank(tmp_path)[0]
    assert (tmp_path / "mels.npy").stat().st_mtime_ns == before and np.array_equal(mels, again)


def test_data_of_an_earlier_version_is_named(tmp_path):
    for fields in ({"utterance": np.arange(3)}, {"key": np.array([""])}):
        np.savez(tmp_path / "clips.npz", **fields)
        with pytest.raises(ValueError, match="earlier version"):
            mel_bank(tmp_path)


def test_the_small_presets_keep_their_clips():
    assert count_clips(FIXED_PHRASINGS) == {"phrasing": 14_880, "bank": 6096}
    assert count_clips(replace(FIXED_PHRASINGS, phrasing_takes=0, bank_takes=1, bank_voices=1)).keys() == {"bank"}


def test_rows_for_natural_voices(bank):
    world = World(0, bank)
    assert rows_of(bank) == ["unseen_voice", "unseen_engine"]
    for engine, voices in (("kokoro", {"bm_george", "zm_yunxi"}), ("hibari", {"heart"})):
        clips = unseen_clips(bank, engine)
        assert {clip.voice for clip in clips} == voices and "beyond" not in {clip.utterance.kind for clip in clips}
        requests = unseen_requests(world, 6, engine, 9)
        assert all(len(request.audio) > 8000 + 4000 and request.task.kind in ("open_app", "alarm") for request in requests)
        assert all(request.state.look.seed >= 2**31 for request in requests)
    rates = evaluate_voices(Oracle(), "the old row", world, tasks=4)
    assert list(rates) == ["unseen_voice", "unseen_engine", ESPEAK_ROW]
    assert rates["unseen_voice"].rate == rates["unseen_engine"].rate == 1 and rates[ESPEAK_ROW] == "the old row"


def test_no_rows_without_natural_clips(bank):
    old = World(0, replace(bank, natural={}))
    assert evaluate_voices(Oracle(), "the old row", old, tasks=4) == {}
    with pytest.raises(ValueError, match="no held-out clips of kokoro"):
        unseen_requests(old, 1, "kokoro", 9)


def tokenizer():
    from autoglm_lab.model.tokenizer import train_tokenizer

    return train_tokenizer()


class Oracle:
    def answer_many(self, requests):
        from autoglm_lab.phone.actions import format_action
        from autoglm_lab.runtime.engine import Answer

        answers = [Answer.read(format_action(request.wanted), 0, {}) for request in requests]
        assert all(right(request, answer) for request, answer in zip(requests, answers, strict=True))
        return answers
