"""The agent itself, made small: every part of it is pruned, saved, opened again and asked."""

import json
from argparse import Namespace

import pytest
import torch

import autoglm_lab as lab
from autoglm_lab.cli import main
from autoglm_lab.cli.compress import checkpoint_folder
from autoglm_lab.compress.agent import load_agent, save_agent
from autoglm_lab.compress.dependency_graph import outputs, trace
from autoglm_lab.compress.recipe import Recipe, apply, named, names
from autoglm_lab.compress.structured import layer_macs, masked, prune_structured
from autoglm_lab.model.configuration import PhoneGLMConfig
from autoglm_lab.model.modeling import PhoneGLMForConditionalGeneration
from autoglm_lab.paths import data_dir
from autoglm_lab.phone.simulator import SimulatedPhone


@pytest.fixture(scope="module")
def small():
    """A PhoneGLM of few channels, so that the ink runs through it in seconds, and an example."""
    torch.manual_seed(0)
    config = PhoneGLMConfig(
        vocab_size=1200,
        hidden_size=32,
        intermediate_size=24,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        image_channels=(4, 4, 8, 8),
        audio_channels=8,
        audio_blocks=2,
    )
    model = PhoneGLMForConditionalGeneration(config).eval()
    example = {
        "input_ids": torch.randint(8, 900, (1, 5)),
        "pixel_values": torch.rand(1, 3, 224, 224),
        "input_features": torch.randn(1, 40, 80),
        "use_cache": False,
    }
    return model, example


def test_every_part_has_groups(small):
    model, example = small
    found = trace(model, example)
    layers = {layer for group in found for layer, _ in group.family}
    parts = (
        "image_encoder.stages.0.0",
        "image_encoder.stages.6.reach.0",
        "audio_encoder.blocks.0.up",
        "layers.1.self_attn.k_proj",
        "layers.3.mlp.gate_up_proj",
        "gated.0.image.o_proj",
        "gated.2.audio.v_proj",
    )
    for part in parts:
        assert part in layers, (part, sorted(layers))
    assert not any("embed_tokens" in layer or "norm" in layer for layer in layers), "the width of the shared space stays"


@pytest.mark.parametrize("ratio", [0.25, 0.45])
def test_a_smaller_agent_answers_as_the_masked_one(small, ratio):
    model, example = small
    done = prune_structured(model, example, ratio)
    assert done.saved["macs"] == pytest.approx(ratio, rel=0.05)
    with torch.no_grad():
        mine, right = outputs(done.model, example)[0], outputs(masked(model, done.removed), example)[0]
    torch.testing.assert_close(mine, right, rtol=0, atol=1e-5)
    assert done.model.generate(**{k: v for k, v in example.items() if k != "use_cache"}, max_new_tokens=3).shape[1] <= 8


def test_a_student_keeps_its_eyes_and_ears(small):
    model, example = small
    student, report = apply(model, Recipe("student", layers=(0, 2)), example)
    assert list(student.gated) == ["0", "1"]
    assert tuple(student.config.gated_layers) == (0, 1)
    assert torch.equal(student.gated["1"]["image"].q_proj.weight, model.gated["2"]["image"].q_proj.weight)
    assert list(model.gated) == ["0", "2"]
    assert report.macs < sum(p.numel() for p in model.parameters()) * 1000
    with pytest.raises(ValueError, match="neither see nor hear"):
        apply(model, Recipe("blind", layers=(3,)), example)


@pytest.mark.parametrize(
    ("layers", "moved"),
    [
        ((0, 1), {"0": "0", "1": "2"}),
        ((0, 2, 3), {"0": "0", "1": "2"}),
        ((0, 3), {"0": "0"}),
        ((1, 2), {"1": "2"}),
        ((1, 3), {"0": "2"}),
    ],
)
def test_what_sees_follows_the_last_layer_that_stays_before_it(small, layers, moved):
    model, example = small
    student, _ = apply(model, Recipe("student", layers=layers), example)
    assert {
        new: old
        for new in student.gated
        for old in model.gated
        if torch.equal(student.gated[new]["image"].q_proj.weight, model.gated[old]["image"].q_proj.weight)
    } == moved
    assert tuple(map(str, student.config.gated_layers)) == tuple(moved)
    assert torch.isfinite(outputs(student, example)[0]).all()


def test_a_saved_agent_is_opened_like_any_other(small, tmp_path):
    model, example = small
    processor = lab.load().processor
    recipe = Recipe("all", layers=(0, 2, 3), channels=0.2, bits=4, group_size=16)
    made, report = apply(model, recipe, example, min_share=0.9)  # a place for each cell weighs more in a tiny agent
    save_agent(made, processor, tmp_path / "agent", recipe, report)
    again = load_agent(tmp_path / "agent").model
    with torch.no_grad():
        torch.testing.assert_close(outputs(again, example)[0], outputs(made, example)[0], rtol=0, atol=0.1)
    assert Recipe.read(tmp_path / "agent" / "recipe.json") == recipe
    assert json.loads((tmp_path / "agent" / "report.json").read_text())["bytes"] == report.bytes


def test_named_recipes_are_recipes(capsys):
    assert names() == sorted(path.stem for path in (data_dir() / "recipes").iterdir())
    for name in names():
        assert named(name).name == name
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in names())
    assert main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["int4"]["bits"] == 4
    assert main(["compress", "--recipe", "tiny", "--out", "nowhere"]) == 2
    assert (
        "there is no recipe 'tiny'; there are answers40, channels45, channels60, fisher30, gradient30, int2"
        in capsys.readouterr().err
    )
    assert main(["compress", "--recipe", "none.json", "--out", "nowhere"]) == 2
    assert "no recipe file 'none.json'" in capsys.readouterr().err


def test_a_teacher_is_left_out_or_listened_to(capsys):
    command = ["compress", "--recipe", "student", "--out", "nowhere", "--steps", "3", "--alone", "--thoughts"]
    assert main([*command, "4"]) == 2
    assert "--thoughts are those of the teacher" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "nan"])
    assert "is no weight" in capsys.readouterr().err


def test_four_bits_are_enough_to_open_settings(tmp_path, capsys):
    out = tmp_path / "four"
    assert main(["compress", "--recipe", "int4", "--out", str(out), "--tasks", "8", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads((out / "report.json").read_text())
    assert report["n"] == 16 and report["success"] >= 0.75 and report["ci95"][0] < report["success"]
    assert report["answer_ms"] > 0 and report["whole_ms"] > 0
    whole = (data_dir() / "model" / "model.safetensors").stat().st_size
    assert report["bytes"] < 0.36 * whole, "18 % of 32 bits, embeddings and convolutions included"
    assert (out / "model.safetensors").stat().st_size == pytest.approx(report["bytes"], rel=0.02)
    screen = SimulatedPhone(7).screenshot()
    assert lab.load(out).answer("open Settings", screen).answer.action == lab.load().answer("open Settings", screen).answer.action


def test_channels_go_by_what_the_loss_would_miss_and_the_others_speak_for_them(small):
    model, example = small
    made, report = apply(
        model,
        Recipe("fisher", channels=0.4, importance="fisher", refit=True),
        example,
        loss=lambda m: outputs(m, example)[0].square().mean(),
        calibration=[example],
    )
    plain, _ = apply(
        model, Recipe("fisher", channels=0.4, importance="fisher"), example, loss=lambda m: outputs(m, example)[0].square().mean()
    )
    shapes = [{name: p.shape for name, p in network.named_parameters()} for network in (made, plain)]
    assert shapes[0] == shapes[1] and report.macs < sum(layer_macs(model, example).values())
    with torch.no_grad():
        right, *others = (outputs(network, example)[0] for network in (model, made, plain))
    assert (others[0] - right).norm() < (others[1] - right).norm()


def test_thin_matrices_fitted_to_what_flows_through_need_no_training(tmp_path, capsys):
    assert main(["compress", "--recipe", "rank40", "--out", str(tmp_path / "thin"), "--tasks", "16", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 32 and report["success"] >= 0.85
    assert report["parameters"] < 0.83 * sum(p.numel() for p in lab.load().model.parameters())
    assert "steps" not in report and report["forward_ms"] > 0


def test_checkpoints_of_another_model_or_recipe_are_not_taken_up(tmp_path):
    def unfinished(weights, recipe):
        (tmp_path / "model.safetensors").write_bytes(weights)
        return checkpoint_folder(Namespace(out=tmp_path / "small", model=tmp_path), recipe)

    first = unfinished(b"a", named("student"))
    assert first.parent == tmp_path.resolve() and first == unfinished(b"a", named("student"))
    assert len({first, unfinished(b"b", named("student")), unfinished(b"a", named("int2"))}) == 3
