"""Structured pruning: the ink finds what belongs together, and the smaller network answers as the masked one."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from autoglm_lab.compress import ink
from autoglm_lab.compress.checkpoint import load, save
from autoglm_lab.compress.dependency_graph import Group, outputs, trace
from autoglm_lab.compress.importance import below_threshold, fisher_importance, group_importance, weight_scores
from autoglm_lab.compress.ink import one_row, stained_attention
from autoglm_lab.compress.structured import READ, Budget, answer_prices, choose, layer_macs, masked, prune_structured, remove
from tests.unit.pruned_models import MODELS, ResNetLike, make


def families(groups):
    return Counter(group.family for group in groups)


def test_key_value_groups_and_fused_projections_are_found():
    groups = trace(*make("Glm"))
    attention = next(g for g in groups if "self_attn" in g.family[0][0])
    layer = "model.layers.0.self_attn."
    assert {key: len(channels) for key, channels in attention.parts.items()} == {
        (layer + "q_proj", "out"): 32,
        (layer + "k_proj", "out"): 16,
        (layer + "v_proj", "out"): 16,
        (layer + "o_proj", "in"): 32,
    }
    neuron = next(g for g in groups if "gate_up_proj" in g.family[0][0])
    mlp = "model.layers.0.mlp."
    assert neuron.parts == {(mlp + "gate_up_proj", "out"): (0, 48), (mlp + "down_proj", "in"): (0,)}
    assert sorted(families(groups).values()) == [2, 2, 48, 48]


def test_residual_partners_and_batch_norms_are_found():
    groups = trace(*make("ResNet-like"))
    assert {tuple(layer for layer, _ in family): count for family, count in families(groups).items()} == {
        ("stem", "stem_norm", "one.a", "one.b", "one.b_norm", "down"): 8,
        ("one.a", "one.a_norm", "one.b"): 8,
        ("down", "two.a", "two.b", "two.b_norm", "depthwise", "head"): 12,
        ("two.a", "two.a_norm", "two.b"): 12,
    }
    assert any(group.parts.get(("head", "in")) == tuple(range(16, 32)) for group in groups)


def test_a_group_says_what_it_holds():
    assert str(Group({("a", "out"): (0, 1, 2, 7), ("b", "in"): (3,)})) == "a out 0-2,7, b in 3"


def test_what_reaches_the_output_is_no_group():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    groups = trace(model, (torch.randn(1, 4),))
    assert [dict(g.parts) for g in groups] == [{("0", "out"): (i,), ("2", "in"): (i,)} for i in range(6)]
    assert trace(nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2)), (torch.randn(1, 4),)) == []


class InPlace(nn.Module):
    """A residual network of convolutions; what can be written in place is, if it is asked for."""

    def __init__(self, in_place):
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.norm, self.act = nn.Conv2d(3, 72, 3), nn.BatchNorm2d(72), nn.ReLU(inplace=in_place)
        self.a, self.b, self.head = nn.Conv2d(72, 8, 1), nn.Conv2d(8, 72, 1), nn.Linear(72, 4)
        self.in_place = in_place

    def forward(self, x):
        x = self.act(self.norm(self.stem(x)))
        if self.in_place:
            x += F.relu(self.b(F.relu(self.a(x), True)), inplace=True)
            x[..., 0] = 0
            x.mul_(2)
        else:
            x = 2 * torch.cat((torch.zeros_like(x[..., :1]), (x + F.relu(self.b(F.relu(self.a(x)))))[..., 1:]), -1)
        return self.head(x.mean((2, 3)))


def test_what_is_written_in_place_is_followed():
    picture = torch.randn(1, 3, 8, 8)
    plain, written = (InPlace(in_place).eval() for in_place in (False, True))
    assert torch.equal(plain(picture), written(picture))
    groups = sorted(map(str, trace(written, (picture,))))
    assert groups == sorted(map(str, trace(plain, (picture,)))) and len(groups) == 80


@pytest.mark.parametrize("name", ["Glm", "ResNet-like", "Llama", "ViT"])
def test_the_groups_are_the_same_however_many_channels_are_inked_at_once(name, monkeypatch):
    model, example = make(name)
    found = []
    for values in (1, 2**11, 2**30):
        monkeypatch.setattr(ink, "VALUES_AT_ONCE", values)
        found.append(sorted(map(str, trace(model, example))))
    assert found[0] == found[1] == found[2]


def test_rows_that_are_the_same_are_computed_once_and_no_others_are():
    one = torch.randn(1, 5, 6)
    same, other = one.expand(3, 5, 6), torch.randn(3, 5, 6)
    for name, args, options, rows in (
        ("mul", (same, 2), {}, 3),
        ("mul", (same, same), {}, 3),
        ("add", (one, same), {}, 3),
        ("add", (same, torch.ones(6)), {}, 3),
        ("mul", (same, other), {}, 0),
        ("add", (torch.ones(6), 1), {}, 0),
        ("mean", (same, -1), {"keepdim": True}, 3),
        ("mean", (same, 0), {}, 0),
        ("mean", (same,), {}, 0),
        ("sum", (same, 0), {}, 0),
        ("add", (same,), {"other": other}, 0),
        ("conv1d", (same, torch.randn(4, 5, 1)), {}, 3),
        ("batch_norm", (same[..., 0], other[0, :, 0]), {}, 0),
    ):
        found, short = one_row(name, args, options)
        assert found == rows, (name, args)
        assert found == 0 or len(short[0]) == 1


@pytest.mark.parametrize("ratio", [0.25, 0.5])
@pytest.mark.parametrize("name", MODELS)
def test_the_ratio_is_reached_and_the_outputs_are_those_of_the_masked_model(name, ratio):
    model, example = make(name)
    before = copy.deepcopy(model.state_dict())
    groups = trace(model, example)
    for measure in ("macs", "parameters", "channels"):
        done = prune_structured(model, example, ratio, of=measure, groups=groups)
        assert done.saved[measure] == pytest.approx(ratio, rel=0.05)
        mask = masked(model, done.removed)
        with torch.no_grad():
            for mine, right in zip(outputs(done.model, example), outputs(mask, example), strict=True):
                torch.testing.assert_close(mine, right, rtol=0, atol=1e-5)
            assert not torch.allclose(outputs(mask, example)[0], outputs(model, example)[0]), "the mask does something"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), "the input model is left alone"


@pytest.mark.parametrize("name", MODELS)
def test_a_pruned_model_survives_save_and_load(name, tmp_path):
    model, example = make(name)
    done = prune_structured(model, example, 0.3)
    save(done.model, tmp_path / "pruned")
    fresh, _ = make(name)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    again = load(fresh, tmp_path / "pruned").eval()
    with torch.no_grad():
        for mine, right in zip(outputs(again, example), outputs(done.model, example), strict=True):
            torch.testing.assert_close(mine, right, rtol=0, atol=0)
    assert sum(p.numel() for p in again.parameters()) == done.after.parameters


def test_a_pruned_model_learns():
    model, example = make("Llama")
    small = prune_structured(model, example, 0.4).model.train()
    optimizer = torch.optim.AdamW(small.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = small(input_ids=example["input_ids"], labels=example["input_ids"]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_importance_is_what_a_hand_computes():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    x, y = torch.randn(8, 3), torch.randn(8, 2)
    groups = trace(model, (x,))

    def loss(m):
        return F.mse_loss(m(x), y)

    first, second = model[0].weight, model[2].weight
    gradient, other = torch.autograd.grad(loss(model), (first, second))
    by_hand = {
        "l1": [torch.cat([first[i], second[:, i]]).abs().mean() for i in range(4)],
        "taylor": [torch.cat([first[i] * gradient[i], second[:, i] * other[:, i]]).abs().mean() for i in range(4)],
        "gradient": [torch.cat([gradient[i], other[:, i]]).square().mean() for i in range(4)],
    }
    for kind, values in by_hand.items():
        wanted = torch.stack(values).detach()
        mine = torch.tensor(group_importance(groups, weight_scores(model, kind, loss)))
        torch.testing.assert_close(mine, wanted / wanted.mean())
    assert first.grad is None


def test_fisher_importance_is_the_loss_of_each_example_when_a_group_is_turned_down():
    torch.manual_seed(3)
    model, x = ResNetLike().eval(), torch.randn(5, 3, 16, 16)
    wanted = torch.randn_like(model(x))
    groups = trace(model, (x,))
    mine = fisher_importance(model, groups, lambda m: F.mse_loss(m(x), wanted))

    def turned_down(group, by):
        softer = copy.deepcopy(model).double()
        with torch.no_grad():
            for (layer, side), channels in group.parts.items():
                if side == "in":
                    softer.get_submodule(layer).weight[:, channels] *= 1 - by
            return (softer(x.double()) - wanted).square().flatten(1).mean(1) / len(x)

    step = 1e-6
    for place in range(0, len(groups), 3):
        slopes = (turned_down(groups[place], -step) - turned_down(groups[place], step)) / (2 * step)
        assert mine[place] == pytest.approx(float(slopes.square().sum()), rel=1e-3, abs=1e-12)
    assert all(p.grad is None for p in model.parameters())


def test_fisher_importance_pays_for_what_is_saved_and_needs_a_loss():
    model, example = make("ResNet-like")
    wanted = torch.randn_like(outputs(model, example)[0])
    done = prune_structured(model, example, 0.4, importance="fisher", loss=lambda m: F.mse_loss(outputs(m, example)[0], wanted))
    assert done.saved["macs"] == pytest.approx(0.4, rel=0.05)
    with pytest.raises(ValueError, match="needs a loss"):
        prune_structured(model, example, 0.4, importance="fisher")


def test_prices_say_what_a_channel_is_worth():
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    example = {"input": torch.randn(16, 8)}
    wanted = outputs(model, example)[0].detach() + 1
    given = {"importance": "fisher", "loss": lambda m: F.mse_loss(outputs(m, example)[0], wanted)}
    plain = prune_structured(model, example, 0.3, **given)
    alike = prune_structured(model, example, 0.3, **given, prices={k: float(v) for k, v in layer_macs(model, example).items()})
    assert plain.removed == alike.removed, "multiply-accumulates are the prices unless others are given"
    prices = answer_prices(model, example, 10, "2")
    macs = layer_macs(model, example)
    assert prices == {"0": macs["0"], "2": macs["2"], "4": macs["4"]}, "the layer itself is no part of its stack"
    stacked = nn.Sequential(model)
    assert answer_prices(stacked, example, 10, "0")["0.2"] == macs["2"] + 10 * READ * 32 * 32


def left_at_prices(seed):
    """Outputs of the middle layer that are left at the plain prices, and where that layer is dear."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4))
    example = {"input": torch.randn(16, 8)}
    wanted = outputs(model, example)[0].detach() + 1
    given = {"importance": "fisher", "loss": lambda m: F.mse_loss(outputs(m, example)[0], wanted)}
    pruned = (prune_structured(model, example, 0.3, **given, prices=prices) for prices in (None, {"0": 1.0, "2": 1e6, "4": 1e6}))
    return [done.model[2].out_features for done in pruned]


def test_what_is_dear_goes_first():
    """Never later than at the plain prices, and sometimes earlier: with some weights the channels to go are the same either way."""
    left = [left_at_prices(seed) for seed in range(6)]
    assert all(dear <= plain for plain, dear in left) and sum(dear < plain for plain, dear in left) >= 2, left


def test_fisher_importance_wants_a_row_for_each_example():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Flatten(0), nn.Unflatten(0, (-1, 12)), nn.Linear(12, 2))
    groups = [Group({(layer, "in"): (0,)}) for layer in ("2", "5")]
    with pytest.raises(ValueError, match="'5' 3"):
        fisher_importance(model, groups, lambda m: m(torch.randn(6, 4)).mean())


def test_the_dead_channel_goes_first():
    torch.manual_seed(2)
    model = ResNetLike().eval()
    with torch.no_grad():
        model.one.a.weight[5] = 0
        model.one.b.weight[:, 5] = 0
    example = (torch.randn(1, 3, 16, 16),)
    groups = trace(model, example)
    scores = group_importance(groups, weight_scores(model, "l1"))
    least = groups[min(range(len(groups)), key=lambda i: scores[i])]
    assert least.parts["one.a", "out"] == (5,)
    assert least in below_threshold(groups, scores, 0.01)
    assert all(scores[groups.index(g)] > 0 for g in groups if g is not least)


def test_a_threshold_never_takes_the_most_important():
    groups = [Group({("a", "out"): (i,), ("b", "in"): (i,)}) for i in range(4)]
    assert below_threshold(groups, [0.1, 0.5, 1.0, 0.2], 0.3) == [groups[0], groups[3]]
    assert groups[2] not in below_threshold(groups, [0.1, 0.5, 1.0, 0.2], 1.0)


def test_the_ledger_counts_as_the_network_does():
    model, example = make("ResNet-like")
    groups = trace(model, example)
    for measure, name in (("macs", "macs"), ("parameters", "parameters")):
        budget = Budget.of(model, example, measure, groups)
        done = prune_structured(model, example, 0.5, of=measure, groups=groups)
        for group in done.removed:
            budget.take(group)
        assert 1 - budget.left / budget.total == pytest.approx(done.saved[name], abs=0.02)


@pytest.mark.parametrize("ratio", [0, 1, -0.2, 1.5])
def test_a_ratio_outside_is_refused(ratio):
    model, example = make("ResNet-like")
    with pytest.raises(ValueError, match="between 0 and 1"):
        prune_structured(model, example, ratio)


def test_bad_input_is_named():
    model, example = make("ResNet-like")
    with pytest.raises(ValueError, match="at most"):
        prune_structured(model, example, 0.5, least=0.9)
    with pytest.raises(ValueError, match="needs a loss"):
        prune_structured(model, example, 0.3, importance="taylor")
    with pytest.raises(ValueError, match="unknown"):
        prune_structured(model, example, 0.3, importance="luck")
    with pytest.raises(ValueError, match="there are 'macs'"):
        prune_structured(model, example, 0.3, of="weight")
    with pytest.raises(ValueError, match="no group of channels"):
        prune_structured(nn.Linear(3, 2), (torch.randn(1, 3),), 0.3)
    with pytest.raises(ValueError, match="no linear"):
        trace(nn.ReLU(), (torch.randn(1, 3),))
    with pytest.raises(ValueError, match="NaN"):
        trace(nn.Linear(3, 2), (torch.full((1, 3), torch.nan),))
    model.one.a.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"'one.a.weight' holds values that are not finite"):
        prune_structured(model, example, 0.3, groups=trace(*make("ResNet-like")))


def test_a_group_keeps_its_last_head():
    model, example = make("Glm")
    groups = [g for g in trace(model, example) if "self_attn" in g.family[0][0]]
    with pytest.raises(ValueError, match="at most"):
        prune_structured(model, example, 0.6, groups=groups)
    with pytest.raises(ValueError, match=r"self_attn.* would lose its last channel"):
        remove(model, groups)


def test_a_layer_that_uses_its_channels_in_secret_is_named():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.scale, self.b = nn.Linear(4, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, 2)

        def forward(self, x):
            return self.b(self.a(x) * self.scale)

    with pytest.raises(ValueError, match=r"'a' is left whole .* at `return self.b\(self.a\(x\) \* self.scale\)`"):
        prune_structured(Scaled(), (torch.randn(1, 4),), 0.33)


def test_choose_prefers_what_counts_least():
    groups = [Group({("a", "out"): (i,), ("b", "in"): (i,)}) for i in range(4)]
    budget = Budget(
        {"a": 4.0, "b": 4.0},
        {("a", "out"): 4, ("a", "in"): 2, ("b", "in"): 4, ("b", "out"): 2, ("a", "through"): 4, ("b", "through"): 2},
        False,
    )
    assert choose(groups, [3.0, 0.5, 2.0, 1.0], budget, 0.5, 0.1) == [groups[1], groups[3]]


def test_ink_goes_through_attention_as_its_sums_would_carry_it():
    generator = torch.Generator().manual_seed(0)
    for stained in ("query", "key", "value", "nothing"):
        parts = {
            "query": torch.randn(3, 4, 5, 8, generator=generator),
            "key": torch.randn(3, 2, 6, 8, generator=generator),
            "value": torch.randn(3, 2, 6, 7, generator=generator),
        }
        if stained in parts:
            parts[stained][1, 1, 2, 3] = torch.nan
        repeated = (parts["key"].repeat_interleave(2, 1), parts["value"].repeat_interleave(2, 1))
        with sdpa_kernel(SDPBackend.MATH):
            summed = scaled_dot_product_attention(parts["query"], *repeated)
        assert torch.equal(stained_attention(**parts).isnan(), summed.isnan()), stained
    same = torch.randn(1, 2, 3, 4).expand(6, -1, -1, -1)
    assert stained_attention(same, same, same).shape == (6, 2, 3, 4)


class Aside(nn.Module):
    """A module that is given no channel of the layer before it, and reads them all the same, from a place that both know."""

    def __init__(self, shelf):
        super().__init__()
        self.shelf, self.narrow = shelf, nn.Linear(150, 4)

    def forward(self, x):
        return x + self.narrow(self.shelf["wide"])


class Writer(nn.Module):
    def __init__(self):
        super().__init__()
        self.shelf = {}
        self.wide, self.aside = nn.Linear(4, 150), Aside(self.shelf)

    def forward(self, x):
        self.shelf["wide"] = self.wide(x).relu()
        return self.aside(x)


def test_ink_is_followed_where_no_input_carries_it():
    groups = trace(Writer(), (torch.randn(2, 4),))
    assert len(groups) == 150, "also those of the second and third run, in which modules without ink answer from memory"
    assert all(group.parts["wide", "out"] == group.parts["aside.narrow", "in"] for group in groups)


def test_channels_can_go_in_packs():
    model, example = make("Glm")
    ones, packs = (prune_structured(model, example, 0.3, multiple=multiple) for multiple in (1, 8))
    widths = [layer.mlp.down_proj.in_features for layer in packs.model.model.layers]
    assert all(width % 8 == 0 for width in widths) and sum(widths) < 96
    assert any(layer.mlp.down_proj.in_features % 8 for layer in ones.model.model.layers), "or nothing is shown"
    for pruned in (ones, packs):
        assert pruned.saved["macs"] == pytest.approx(0.3, rel=0.05)
