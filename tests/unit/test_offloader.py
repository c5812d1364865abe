"""The offloader without a browser: the same chances for all, regrets without luck, a price that is planned for."""

import base64
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from autoglm_lab import widgets
from autoglm_lab.edge.offload.networks import network_world
from autoglm_lab.edge.offload.planning import tabulate, worth
from autoglm_lab.edge.offload.policies import always, greedy
from autoglm_lab.edge.offload.world import ACTIONS, EDGE, LOCAL, WAIT, Rewards, State
from autoglm_lab.widgets import offloader_view as view
from autoglm_lab.widgets.offloader_game import REQUESTS, Chances, Decision, Game, play

WORLD = network_world("worse")


@pytest.fixture(scope="module")
def policies():
    return view.players(WORLD, {})


@pytest.fixture
def widget():
    return widgets.offloader(WORLD, seed=3)


def says(widget, **content):
    widget._handle_custom_msg({"id": "7", **content}, [])
    assert widget.answered == "7"
    return widget.message


def at_random(seed, requests=200):
    """A game whose decisions are drawn."""
    game, rng = Game(WORLD, Chances.draw(WORLD, seed, requests)), np.random.default_rng(seed)
    while not game.is_over:
        yield game, int(rng.integers(3))


def test_every_slot_of_a_game_is_one_that_may_happen_in_the_world():
    for game, action in at_random(1):
        before, earned = game.state, game.total
        end, blocked = game._step(action)
        after = [
            each
            for each in WORLD.outcomes(before, action if before.age else WAIT)
            if each.state == game.state
            and each.reward == pytest.approx(game.total - earned)
            and set(each.ends) == {*([end.name] if end else []), *(["blocked"] if blocked is not None else [])}
        ]
        assert after and before.age, "a decision is asked for only where a request waits"
        game._pass_time()


@pytest.mark.parametrize("name", ["greedy", "optimum"])
def test_the_mean_reward_of_a_game_meets_the_exact_one(policies, name):
    """Over seeds, within three standard errors: chances, luck and blocking are those that dynamic programming sums over."""
    means = [play(WORLD, Chances.draw(WORLD, seed, 600), policies[name]).total / 600 for seed in range(24)]
    assert abs(np.mean(means) - worth(WORLD, policies[name])) < 3 * np.std(means, ddof=1) / np.sqrt(len(means))


def test_whoever_plays_meets_the_same_chances(policies):
    chances = Chances.draw(WORLD, 5)
    games = [play(WORLD, chances, policy) for policy in policies.values()]
    assert {len(game.ends) for game in games} == {REQUESTS} and {game.arrivals for game in games} == {REQUESTS}
    again = play(WORLD, Chances.draw(WORLD, 5), policies["optimum"])
    assert again.decisions == games[-1].decisions
    assert play(WORLD, Chances.draw(WORLD, 6), policies["optimum"]).decisions != again.decisions
    for game in games:
        for each in game.decisions:
            assert each.state.age > 0 and (each.end is not None or each.action == WAIT)
        assert game.totals[-1] == pytest.approx(game.total)


@pytest.mark.parametrize("luck", [0.0, 0.5, 1 - 1e-9])
def test_a_transfer_is_in_time_where_its_luck_is_below_the_chance(luck):
    chances = replace(Chances.draw(WORLD, 2), luck=np.full(REQUESTS, luck))
    ends = set()
    for each in play(WORLD, chances, tabulate(WORLD, always(EDGE))).decisions:
        chance = WORLD.ends_of(each.state, EDGE)[0][0][0]
        assert each.end.name == ("in time" if luck < chance else "late")
        ends.add(each.end.name)
    assert len(ends) == 2, "where there is no time left even luck 0 is of no use"


def test_regret_is_the_expected_loss_and_holds_no_luck(policies):
    chances = Chances.draw(WORLD, 4)
    best = view.Comparison(play(WORLD, chances, policies["optimum"]), policies)
    assert best.regrets(best.you.decisions) == [0.0] * len(best.you.decisions) and best.costliest() == []
    assert "None of them cost anything" in best.sentence()
    local = view.Comparison(play(WORLD, chances, tabulate(WORLD, always(LOCAL))), policies)
    unlucky = view.Comparison(
        play(WORLD, replace(chances, luck=np.ones(REQUESTS) - 1e-9), tabulate(WORLD, always(LOCAL))), policies
    )
    regrets = local.regrets(local.you.decisions)
    assert regrets == unlucky.regrets(unlucky.you.decisions), "luck of transfers is not a decision"
    assert min(regrets) == 0 < max(regrets)
    first = local.costliest()[0]
    assert regrets[first] == max(regrets)
    assert local.in_words(first).startswith(f"Request {local.you.decisions[first].request + 1}, computed here; best was to ")
    assert f"costs {max(regrets):.1f}" in local.sentence()


@pytest.mark.parametrize(("price", "rule"), [(8.0, greedy), (0.0, always(LOCAL))])
def test_regrets_add_up_to_the_distance_from_the_optimum(price, rule):
    """Mean regret a request is the difference of the exact rewards (the performance difference lemma), over many requests."""
    world, sums = replace(WORLD, rewards=Rewards(expired=-price, blocked=-price)), []
    policies, mine = view.players(world, {}), tabulate(world, rule)
    assert price or any(policies["optimum"][n] == WAIT for n, state in enumerate(world.states) if state.age), "here it pays to wait"
    for seed in range(12):
        game = play(world, Chances.draw(world, seed, 600), mine)
        sums.append(sum(view.Comparison(game, policies).regrets(game.decisions)) / 600)
    exact = worth(world, policies["optimum"]) - worth(world, mine)
    assert abs(np.mean(sums) - exact) < 3 * np.std(sums, ddof=1) / np.sqrt(len(sums)) and exact > 0.2


def test_a_game_begins_somewhere_in_the_long_run():
    """Not in the worst network: the first levels of many games are spread as those of a chain that has run for long."""
    firsts = np.array([Chances.draw(WORLD, seed, 1).bandwidth[0] for seed in range(600)])
    long = np.linalg.matrix_power(WORLD.slot_chain, 100_000)[0]
    shares = np.bincount(firsts, minlength=len(long)) / len(firsts)
    assert (abs(shares - long) < 4 * np.sqrt(long * (1 - long) / len(firsts)) + 1e-9).all() and len(long) == 4


def test_free_expiry_is_used_and_earns_less(policies):
    free, own, between = (view.Plan.at(WORLD, price, policies["optimum"]) for price in (0, 8, 4))
    assert own.policy.tolist() == policies["optimum"].tolist() and own.by_this_price == pytest.approx(own.by_own_price)
    assert free.by_this_price > own.by_this_price and free.by_own_price < own.by_own_price - 0.1
    lost = [plan.ends["expired"] + plan.ends["blocked"] for plan in (free, between, own)]
    assert lost == sorted(lost, reverse=True) and lost[0] > lost[2] + 0.01 and free.waiting > own.waiting
    assert sum(free.ends.values()) == pytest.approx(1)
    assert f"{free.ends['expired']:.1%} of the requests expire" in free.sentence()


def test_states_and_rules_in_words():
    words = {bar["name"]: bar["words"] for bar in view.bars(WORLD, State(0, 0, 1, 0, 2))}
    assert words["processor"] == "1 slot of work before yours" and words["radio"] == "free"
    assert words["this request"] == "in slot 2 of 3 until the deadline" and words["network"].endswith("3 slots or more")
    assert all(0 <= bar["share"] <= 1 for state in WORLD.states for bar in view.bars(WORLD, state))
    assert "in time within 3 slots: +10" in view.rules(WORLD)
    waits = Decision(6, State(0, 0, 0, 0, 1), WAIT, None, 7)
    assert view.outcome(waits, WORLD) == "Request 7, kept waiting: it waits on. Request 8 came and was turned away, -8."


def test_a_game_by_messages_of_the_page(widget):
    assert widget.game["request"] == 1 and [line["name"] for line in widget.game["lines"]] == ["you"] and not widget.game["regrets"]
    assert says(widget, kind="decide", action="local") == "" and widget.said.startswith("Request 1, computed here: ")
    assert says(widget, kind="decide", action="edge") == ""
    assert re.search(r"Request \d+, sent: (in time|too late), [+-]\d+", widget.said)
    assert says(widget, kind="compare") == "" and [line["name"] for line in widget.game["lines"]][1:] == [
        "greedy",
        "least latency",
        "optimum",
    ]
    assert all(len(line["totals"]) == 40 for line in widget.game["lines"][1:]) and len(widget.game["regrets"]) == 2
    while not widget.game["over"]:
        widget.decide("wait")
    assert widget.game["open"] and len(widget.game["costliest"]) == 3 and "All have ended. The same 40 requests" in widget.said
    assert widget.game["ended"] == 40 and widget.game["total"] == widget.game["lines"][0]["totals"][-1]
    assert "start over" in says(widget, kind="decide", action="wait")
    first = Chances.draw(WORLD, 3)
    assert says(widget, kind="again", fresh=False) == "" and widget.game["ended"] == 0 and not widget.game["open"]
    np.testing.assert_array_equal(widget._comparison.you.chances.luck, first.luck)
    assert says(widget, kind="again", fresh=True) == "" and (widget._comparison.you.chances.luck != first.luck).all()


def test_a_game_is_over_by_itself_in_the_last_decision(widget):
    while not widget.game["over"]:
        widget.decide(ACTIONS[int(widget._policies["optimum"][WORLD.number[widget._comparison.you.state]])])
    assert widget.game["open"] and set(widget.regrets) == {0.0} and widget.game["request"] == 0 and widget.game["bars"] == []
    assert widget.game["lines"][0]["totals"] == widget.game["lines"][-1]["totals"], "you were the optimum"


def test_what_the_page_asks_wrongly_changes_nothing(widget):
    before = widget.game, widget.plan
    assert "no action 'fly'" in says(widget, kind="decide", action="fly") and "asked for 'sing'" in says(widget, kind="sing")
    assert "from 0 to 8" in says(widget, kind="price", price=9) and "from 0 to 8" in says(widget, kind="price", price=float("nan"))
    assert (widget.game, widget.plan) == before
    assert says(widget, kind="price", price=0) == "" and widget.plan["price"] == 0 and widget.plan["byThis"] > before[1]["byThis"]
    assert widget.game == before[0], "the game keeps its prices"


def test_picture_and_sentence_hold_the_same_players(widget):
    widget.decide("edge")
    (_, _), (still, _) = widget.outputs()
    [encoded] = re.findall(r'src="data:image/png;base64,([^"]*)"', still["text/html"])
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).width > 500
    words = still["text/plain"]
    for name, game in widget._comparison.others.items():
        assert f"{name} {game.total:+.0f}" in words
    assert "Your 1 decisions gave up" in words and "Where expiry costs 8, the best plan earns" in words


def test_policies_of_the_caller_play_as_well():
    widget = widgets.offloader(WORLD, seed=1, policies={"always here": tabulate(WORLD, always(LOCAL))})
    widget.compare()
    assert [line["name"] for line in widget.game["lines"]] == ["you", "greedy", "least latency", "always here", "optimum"]
    for policy, reason in ((np.zeros(5, int), "768 states"), (np.zeros(768, int), "none is possible but to wait")):
        with pytest.raises(ValueError, match=reason):
            widgets.offloader(WORLD, policies={"odd": policy})
    with pytest.raises(ValueError, match="one at least"):
        Chances.draw(WORLD, 0, 0)


def test_a_world_with_a_higher_price_than_the_slider_has_starts_at_its_end():
    widget = widgets.offloader(replace(WORLD, rewards=Rewards(expired=-20.0)), seed=0)
    assert widget.plan["price"] == 8
