"""Recovery: a damaged agent learns again, masks hold, a teacher is heard."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from autoglm_lab.compress.distillation import drop_layers
from autoglm_lab.compress.recipe import Recipe, apply
from autoglm_lab.compress.sparsity import magnitude_masks, prune, sparsity_of
from autoglm_lab.training.finetune import Recovery
from autoglm_lab.training.losses import TeacherOutputs, distance_of_thoughts, step_losses


@pytest.fixture
def world(few):
    """A few scenes, and an untrained small model."""
    return few


def small(data, **changes):
    return Recovery(data, **({"steps": 6, "pictures": 2, "samples": 2, "copies": 2, "warmup": 1, "learning_rate": 2e-3} | changes))


def test_the_loss_falls_and_masks_hold(world):
    data, model = world
    masks = magnitude_masks(model, 0.5)
    damaged, rows = prune(model, masks), []
    small(data, steps=25, learning_rate=5e-3, on_step=rows.append)(damaged, masks)
    assert rows[-1]["step"] == 25
    assert sum(row["answer"] for row in rows[-5:]) < 0.8 * sum(row["answer"] for row in rows[:5])
    zeros = sparsity_of(damaged)
    for name, keep in masks.keep.items():
        assert zeros[name] >= float((~keep).float().mean()) - 1e-6
    assert not damaged.training


def test_a_teacher_is_heard(world):
    data, model = world
    student, alone, rows, without = copy.deepcopy(model), copy.deepcopy(model), [], []
    small(data, teacher=model, on_step=rows.append)(student)
    small(data, on_step=without.append)(alone)
    assert all(row["soft"] > 0 for row in rows)
    assert not any(row["soft"] for row in without)
    assert rows[0]["answer"] == pytest.approx(without[0]["answer"]), "both begin alike"
    assert not torch.allclose(student.embed_tokens.weight, alone.embed_tokens.weight)


def test_a_student_comes_to_think_as_its_teacher(world):
    data, model = world
    rows, student = [], drop_layers(model, [0, 2])
    small(data, steps=30, learning_rate=5e-3, alpha=0.0, thoughts=10.0, teacher=model, student=True, on_step=rows.append)(student)
    assert sum(row["thoughts"] for row in rows[-5:]) < 0.8 * sum(row["thoughts"] for row in rows[:5])
    same: list[dict[str, float]] = []
    small(data, steps=1, teacher=model, thoughts=1.0, bfloat16=False, on_step=same.append)(copy.deepcopy(model))
    assert same[0]["thoughts"] == pytest.approx(0, abs=1e-9), "a copy thinks as the original does"


def test_a_student_is_compared_at_the_end_only():
    states = [torch.full((1, 2, 3), float(number)) for number in (1, 2, 3, 4)]
    batch = SimpleNamespace(attention_mask=torch.tensor([[1, 0]]), audio_present=torch.zeros(1))
    cells = torch.ones(1, 4, 3)
    theirs, senses = TeacherOutputs(cells, None, states, None), (cells, None, None)
    astray = torch.full((1, 2, 3), 9.0)
    assert float(distance_of_thoughts(senses, [astray, states[3]], theirs, batch)) == 0
    assert float(distance_of_thoughts(senses, [states[0], astray], theirs, batch)) > 0
    assert float(distance_of_thoughts(senses, [astray, *states[1:]], theirs, batch)) > 0, "with all layers, all count"
    padded = torch.cat((states[3][:, :1], astray[:, 1:]), 1)
    assert float(distance_of_thoughts(senses, [astray, padded], theirs, batch)) == 0, "padding is no thought"


def test_every_look_of_a_student_learns_where(world):
    data, model = world
    batch = data.batch(0, 1, 0, 3, 2, hard=True)
    last, every = (step_losses(model, batch, data.concepts, all_look=each).point.item() for each in (False, True))
    assert every > last > 0


def test_it_is_the_same_each_time(world):
    data, model = world
    made = []
    for _ in range(2):
        copied = copy.deepcopy(model)
        small(data, steps=2)(copied)
        made.append(copied)
    for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_killed_recovery_goes_on_where_it_was(world, tmp_path):
    data, model = world
    whole, broken, seen = copy.deepcopy(model), copy.deepcopy(model), []
    small(data, teacher=model)(whole)

    def kill(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small(data, teacher=model, folder=tmp_path, every=2, on_step=kill)(broken)
    small(data, teacher=model, folder=tmp_path, every=3, on_step=lambda row: seen.append(row["step"]))(
        again := copy.deepcopy(model)
    )
    assert seen == [5, 6], "steps 1 to 4 are done"
    for mine, wanted in zip(again.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted)
    other: list[float] = []
    small(data, folder=tmp_path, on_step=lambda row: other.append(row["step"]))(copy.deepcopy(model))
    assert other == [1, 2, 3, 4, 5, 6], "without the teacher it is another recovery"
    assert not list(tmp_path.glob("*.part"))


def test_a_recipe_uses_it(world):
    data, model = world
    example = {"input_ids": torch.randint(8, 900, (1, 5)), "pixel_values": torch.rand(1, 3, 224, 224), "use_cache": False}
    recipe = Recipe("both", rank=0.5, bits=4, train_rounding=True)
    made, report = apply(model, recipe, example, train=small(data, steps=2), min_share=0.9)  # a table of places is much of it
    assert report.bytes < sum(2 * p.numel() for p in model.parameters())
    assert torch.isfinite(made(**example).logits).all()


def test_another_model_is_refused(world):
    data, _ = world
    with pytest.raises(ValueError, match="only a PhoneGLM"):
        small(data)(nn.Linear(2, 2))


def strangers(tmp_path=None, **changes):
    """Lines through points, and how a network of anybody learns them."""
    x = torch.randn(8, 32, 6, generator=torch.Generator().manual_seed(0))
    batches = [(part, part.sum(-1, keepdim=True).tanh()) for part in x]

    def loss(model, batch):
        return nn.functional.mse_loss(model(batch[0]), batch[1])

    return batches, Recovery(**({"data": batches, "loss": loss, "steps": 80, "learning_rate": 1e-2, "warmup": 2} | changes))


def stranger():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 1))


def test_any_model_recovers_with_a_loss_of_its_own(tmp_path):
    rows: list[dict[str, float]] = []
    batches, recovery = strangers(on_step=rows.append)
    model = stranger()
    masks = magnitude_masks(model, 0.5)
    damaged = prune(model, masks)
    recovery(damaged, masks)
    assert rows[-1]["loss"] < 0.4 * rows[0]["loss"] and rows[-1]["step"] == 80 and not damaged.training
    assert all(not damaged.get_parameter(name)[~keep].any() for name, keep in masks.keep.items())
    made, report = apply(stranger(), Recipe("cut", channels=0.3, bits=4), (batches[0][0],), train=strangers()[1])
    assert report.parameters < sum(p.numel() for p in model.parameters()) and torch.isfinite(made(batches[0][0])).all()
    by_step = stranger()
    strangers(data=lambda step: batches[step % 8])[1](by_step)
    same = stranger()
    strangers()[1](same)
    assert torch.equal(by_step[0].weight, same[0].weight)


def test_a_strangers_recovery_goes_on_where_it_was(tmp_path):
    whole, broken = stranger(), stranger()
    strangers(steps=6)[1](whole)

    def kill(row):
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        strangers(steps=6, folder=tmp_path, every=2, on_step=kill)[1](broken)
    strangers(steps=6, folder=tmp_path)[1](again := stranger())
    torch.testing.assert_close(again[0].weight, whole[0].weight)


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:600], lambda content: b"PK\x03\x04 and no more"])
def test_a_damaged_checkpoint_is_named_before_anything_is_learned(damage, tmp_path):
    strangers(steps=6, folder=tmp_path)[1](stranger())
    [checkpoint] = tmp_path.glob("*.pt")
    checkpoint.write_bytes(content := damage(checkpoint.read_bytes()))
    model, rows = stranger(), []
    with pytest.raises(ValueError, match=rf"{checkpoint.name} is no checkpoint that can be read .*; delete .* to begin anew"):
        strangers(steps=6, folder=tmp_path, on_step=rows.append)[1](model)
    assert not rows and torch.equal(model[0].weight, stranger()[0].weight) and checkpoint.read_bytes() == content


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loss": lambda model, batch: torch.tensor(float("nan"))}, "one finite number"),
        ({"data": []}, "a sequence of batches"),
        ({"loss": lambda model, batch: model(batch[0])}, "one finite number"),
        ({"student": True}, "put a teacher into `loss`"),
    ],
)
def test_what_a_stranger_gives_is_checked(changes, reason):
    with pytest.raises(ValueError, match=reason):
        strangers(**changes)[1](stranger())


def test_encoders_can_stay_as_they_are(world):
    data, model = world
    student = copy.deepcopy(model)
    small(data, encoders=False, teacher=model, thoughts=1.0)(student)
    for name, before in model.state_dict().items():
        same = torch.equal(before, student.state_dict()[name])
        assert same if "encoder" in name else True, name
    assert not torch.equal(model.layers[0].mlp.down_proj.weight, student.layers[0].mlp.down_proj.weight)
    assert all(parameter.requires_grad for parameter in student.parameters()), "afterwards everything may learn again"
