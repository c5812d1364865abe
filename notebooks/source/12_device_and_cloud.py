# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
#   lab:
#     goal: decide for each request where it is computed, lose no answer when the network goes, and prepare what comes next
# ---

# %% [markdown]
# # 12 Device and cloud
#
# After this chapter you can
#
# - say for a given network whether a request should be computed on the phone, behind the network, or later, and how far a rule is from
#   the best that is possible,
# - see through a learner that was compared with nothing, and a reward that pays for the wrong thing,
# - build one engine of two, so that every request has exactly one end, whatever the network does,
# - decide when it pays to prepare an answer that nobody has asked for yet.
#
# Networks and people are **simulated** here, with parameters that were measured; engines, servers and cables that are cut are **real**.

# %%
import autoglm_lab as lab
from autoglm_lab.edge.offload.networks import network_world

world = network_world("worse")
print(f"an answer on the phone takes {world.service} slots of {world.slot_s:g} s under the three loads,")
print(
    f"a request of {world.kbit:.0f} kbit {world.radio_slots} slots at {world.link.mbit} Mbit/s, and {world.away} more to come back;"
)
print(f"after {world.deadline * world.slot_s:.1f} s nobody needs it any more. {len(world.states)} states in all.")

# %% [markdown]
# ## Here, there, or later?
#
# A request waits. The phone can answer it, which takes as long as its processor is busy with other things. It can send the screen to a
# server, which takes as long as the network is bad. Or it can wait a moment for either to get better. The time of an answer is the agent's
# own, measured, times a factor for a phone with a large model; the network is a chain of four levels that was fitted to the uplink of a
# phone in a car.
#
# A world is one function: what may happen next, and how probable it is.

# %%
from autoglm_lab.edge.offload.world import EDGE, LOCAL, WAIT, State

state = State(load=2, bandwidth=1, local=0, radio=0, age=1)  # a busy phone, a poor network
for action, name in ((LOCAL, "here"), (EDGE, "there"), (WAIT, "later")):
    ends = world.ends_of(state, action)[0]
    print(f"{name:6}", ", ".join(f"{chance:.0%} {end or 'still waiting'} ({reward:+.0f})" for chance, reward, end in ends))

# %% [markdown]
# ## Predict
#
# The articles let a DQN learn this from rewards: +10 for an answer in time, -5 for an overloaded phone, -8 for a transfer that fails. On
# this bad network, put in order what you expect to earn most per request: *always here*, *greedy* (the most expected reward now), *least
# latency* (wherever the answer is expected first), *a DQN*. Which is best?

# %%
my_guess = None  # one of the names, in quotes

# %% [markdown]
# 768 states are few enough to compute what a policy is worth **exactly**: the share of time it spends in each state, from one linear
# system. No simulation, no noise. And the best policy can be computed, too: ask in each state which action is best if the policy decides
# from the next slot on, change the policy there, and repeat until nothing changes.
#
# ## Exercise 1: one decision
#
# `outcomes` gives for each action a list of (probability, reward, next state), `values` says what each state is worth from then on. Which
# action is best?


# %% tags=["exercise"]
def best_action(outcomes, values):
    """The name of an action."""
    # <solution>
    worth = {action: sum(p * (reward + values[state]) for p, reward, state in each) for action, each in outcomes.items()}
    return max(worth, key=worth.get)
    # </solution>
    # <stub> return None  # weigh what comes now and what it leads to


# %%
lab.check("12.best_action", best_action)

# %% [markdown]
# The package's version does this for all states at once, and repeats it to the optimum (policy iteration; Howard 1960):

# %%
import inspect

from autoglm_lab.edge.offload import planning

print(inspect.getsource(planning.rollout))

# %%
from autoglm_lab.edge.offload.experiment import fixed_policies
from autoglm_lab.edge.offload.planning import worth

policies = fixed_policies(world)
assert len(world.states) == 768
rewards = {name: worth(world, policy) for name, policy in policies.items()}
for name, reward in sorted(rewards.items(), key=lambda item: item[1]):
    print(f"{name:30} {reward:6.2f} a request")

# %% [markdown]
# ## A learner
#
# A DQN knows nothing of probabilities. It tries actions, remembers what came of them, and fits a network to *reward plus the value of what
# comes next*. Ours is a hundred lines of numpy; it practises in sixteen copies of this world.

# %%
from autoglm_lab.edge.offload.q_learning import Settings, deep_q, network_policy
from autoglm_lab.edge.offload.simulation import Visible, full_features
from autoglm_lab.widgets.charts import bars, guessed

settings = Settings()
practice = Visible(world, settings.copies, seed=0)
with lab.widgets.progress("learning", 6):
    network = deep_q(practice, settings, seed=0)
dqn_policy = network_policy(world, network, full_features(world))
rewards["DQN, this one"] = worth(world, dqn_policy)

# %%
names = ("always local", "greedy", "least latency", "DQN, this one", "one rollout step over greedy", "optimum")
best = max(("always local", "greedy", "least latency", "DQN, this one"), key=rewards.__getitem__)
bars(
    "Reward of a request on the bad network",
    {"reward": {name: rewards[name] for name in names}},
    "",
    f"{best!r} earns most of the four, {rewards[best]:.2f}; the optimum {rewards['optimum']:.2f}; {guessed(my_guess)}.",
    digits=2,
)

# %% [markdown]
# One run of a learner proves nothing: another seed learns something else. *Measured before*, ten seeds on both networks, each judged
# exactly and at its end, not at its best:

# %%
import json

from autoglm_lab.paths import data_dir

report = json.loads((data_dir() / "reports" / "edge" / "offload.json").read_text("utf-8"))
for name, figures in report["worlds"].items():
    print(f"the {name} network: optimum {figures['fixed']['optimum']:.2f}, least latency {figures['fixed']['least latency']:.2f}")
    for learner, each in figures["learners"].items():
        print(f"    {learner:34} {each['mean']:.2f} ({each['low']:.2f} to {each['high']:.2f})")

# %% [markdown]
# ## Reconcile
#
# - On the **kind** network there is nothing to learn: a rule of one line is within a third of a per cent of the optimum.
# - On the **bad** one the DQN beats every rule, and comes within a few per cent of the optimum. It takes a hundred thousand samples for it.
# - **One step of rollout** over the greedy rule gets nearer than the DQN without learning anything: who has a model should plan with it.
# - A plain **table** beats the network, too: 768 states are few, and each is visited often.
# - With the **articles' three numbers** (load, bandwidth, queue) the same network does worse than the one-line rule: it cannot see how long
#   a request has waited, nor that the radio is busy.
# - Without a look ahead (discount 0) it earns less: here actions have consequences.

# %%
kind, worse = (report["worlds"][name] for name in ("kind", "worse"))
assert kind["learners"]["DQN"]["mean"] > 0.97 * kind["fixed"]["optimum"]
assert kind["fixed"]["optimum"] - kind["fixed"]["least latency"] < 0.0034 * kind["fixed"]["optimum"]
assert worse["learners"]["DQN"]["low"] > max(worse["fixed"][name] for name in ("greedy", "tuned threshold", "least latency"))
assert worse["fixed"]["one rollout step over greedy"] > worse["learners"]["DQN"]["high"]
assert worse["learners"]["table of action values"]["low"] > worse["learners"]["DQN"]["high"]
assert worse["learners"]["DQN, the articles' three numbers"]["high"] < worse["fixed"]["least latency"]
assert 100_000 < settings.steps * settings.copies < 150_000
assert worse["learners"]["DQN, discount 0"]["high"] < worse["learners"]["DQN"]["low"]

# %% [markdown]
# ## A reward that pays for the wrong thing
#
# The articles price an overload and a failed transfer. A request that waits until it is too late costs them nothing. What does the best
# policy make of that?

# %%
from dataclasses import replace

from autoglm_lab.edge.offload.planning import optimum, shares_of_ends
from autoglm_lab.edge.offload.world import ARTICLES

theirs = replace(world, rewards=ARTICLES)
hacked = optimum(theirs, policies["greedy"])
for name, policy in (("honest", policies["optimum"]), ("hacked", hacked)):
    ends = shares_of_ends(world, policy)
    never = ends.get("expired", 0) + ends.get("blocked", 0)
    theirs_count, ours = worth(theirs, policy), worth(world, policy)
    print(f"{name}: {theirs_count:.2f} by the articles' count, {ours:.2f} if waiting has a price;")
    print(f"    in time {ends['in time']:.1%}, never tried {never:.1%}")

# %%
assert worth(theirs, hacked) > worth(theirs, policies["optimum"]) and worth(world, hacked) < worth(world, policies["optimum"])
assert shares_of_ends(world, hacked)["in time"] < shares_of_ends(world, policies["optimum"])["in time"]

# %% [markdown]
# The reward went up and the service went down. Nothing was learned wrongly: this **is** the best policy for these rewards.
#
# And the honest one? It is not as honest as it looks. It ends a fifth of the requests as *overload*, by giving them to a phone that is full:
# that costs 5, and to be late costs 8. Price one way out, and the next cheapest is taken.

# %%
honest = shares_of_ends(world, policies["optimum"])
print({end: f"{share:.1%}" for end, share in honest.items()})
assert 0.25 > honest["overload"] > 0.15 > honest.get("late", 0) + honest.get("expired", 0)

# %% [markdown]
# ## You are the offloader
#
# Forty requests on the bad network: `L` here, `E` there, `W` later. Then the greedy rule, the DQN and the optimum play the same forty. Slide
# the price of a request that expires, and see the line of those who wait.

# %%
lab.widgets.offloader(world, policies={"DQN": dqn_policy})

# %% [markdown]
# ## What the phone cannot see
#
# So far the policy was told the bandwidth. A phone knows it only when it sends something. *Measured before*, the same world with the
# bandwidth hidden: believing the level seen last, or weighing all levels by how probable they have become since (a **belief**).

# %%
rows = worse["hidden"]
for name, each in rows.items():
    print(f"{name:32} {each['mean']:5.2f}")
print(f"{'all is seen: the optimum':32} {worse['fixed']['optimum']:5.2f}")
assert rows["QMDP"]["low"] > max(each["high"] for name, each in rows.items() if name != "QMDP")

# %% [markdown]
# A plan that looks ahead and keeps a belief gets most of it back (QMDP); the greedy rules do not even with a belief, and the DQN, which has
# to find out by itself what silence means, lies between.
#
# ## And a real network?
#
# A chain is a model. The plans were tried on the recorded traces of two networks, the one they were fitted to and the other (*measured
# before*; the traces are not ours to ship, `read_trace` reads yours):

# %%
traces = json.loads((data_dir() / "reports" / "edge" / "traces.json").read_text("utf-8"))["plans"]
for name, rows in traces.items():
    print(name)
    for policy, each in rows.items():
        real = each["on the trace"]
        print(
            f"    {policy:36} promised {each['by the chain']:.2f}, earned {real['mean']:.2f} ({real['low']:.2f} to {real['high']:.2f})"
        )

# %%
for name, rows in traces.items():
    own = rows[f"planned on {name}"]
    assert rows["least latency"]["on the trace"]["low"] > own["on the trace"]["high"]
    assert own["on the trace"]["mean"] < rows["planned on it, six levels"]["on the trace"]["mean"]

# %% [markdown]
# The best plan loses to the rule of one line. In the chain a good level lasts and a transfer just makes it; on the street rates wobble within
# a level, and *just* is not enough. A finer chain, of six levels, brings some of it back. **A plan is as good as its model**: an optimum
# is one of a world that somebody wrote down.
#
# And worlds **drift**. What was planned or learned on the kind network, on the day on which it turns into the bad one (*measured before*,
# exactly):

# %%
drift = report["drift"]
for name, reward in drift.items():
    spread = (
        f"{reward['mean']:5.2f} ({reward['low']:.2f} to {reward['high']:.2f})" if isinstance(reward, dict) else f"{reward:5.2f}"
    )
    print(f"{name:30} {spread}")
assert (
    drift["DQN of the kind world"]["high"] < drift["least latency"] and drift["optimum of the kind world"] < drift["least latency"]
)

# %% [markdown]
# The optimum of yesterday is worth less than the rule of one line, which looks at the network of today; and ten learners that were equally
# good on the kind network are not equally bad on the other.
#
# Read a trace of your own: one column, the milliseconds at which a packet passed, or two, seconds and Mbit/s. Here is one that the chain
# itself has drawn, written down and read again:

# %%
import tempfile
from pathlib import Path

from autoglm_lab.edge.trace import read_trace

rates = world.link.sample(300, seed=1)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "mine.txt"
    path.write_text("\n".join(f"{second} {rate}" for second, rate in enumerate([rates[0], *rates])))
    mine = read_trace(path)
waits = sorted(mine.seconds_to_send(second, world.kbit * 125) for second in range(300))
print(f"a screenshot takes {waits[150]:.1f} s in the median and {waits[285]:.1f} s at worst but for a twentieth")

# %% [markdown]
# ## Two engines as one
#
# "Online: the cloud; offline: the device", say the articles. But *online* is no yes or no. A cable is cut in the middle of an answer, a hotel
# answers with a page to log in, a server says nothing for a minute. Then two things must not happen: that a request has **no end**, and that
# its action is performed **twice**.
#
# ## Predict
#
# Of forty requests over a cable that fails in every second one, in a way drawn by chance, how many are answered if the cloud alone is
# asked, and how many if the device takes over?

# %%
my_counts = None  # for example (10, 40)

# %% [markdown]
# The decision is made without threads, clocks or network: **events in, commands out**. So every order of events can be tried; a test plays
# thousands of schedules and asks for exactly one end in each, before its deadline.

# %%
from autoglm_lab.edge.hybrid.coordinator import FAIL_OVER, Coordinator

decision = Coordinator(FAIL_OVER, began=0.0)
print(decision.begin())
print(decision.failure("cloud", 0.4, "the cable was cut"))
print(decision.reply("device", 0.6, "do(action=...)"))
print(decision.reply("cloud", 0.9, "too late"), "- what comes after the end is dropped")

# %% [markdown]
# And now for real: a server with this agent, a link in front of it that fails on demand, and an engine for the device.

# %%
from contextlib import contextmanager

from autoglm_lab.edge.hybrid.coordinator import CLOUD_ONLY
from autoglm_lab.edge.hybrid.engine import HybridEngine, NoAnswerError
from autoglm_lab.edge.hybrid.faulty_link import Fault, Link
from autoglm_lab.export.kept import kept_bundle
from autoglm_lab.runtime.onnx_engine import OnnxEngine
from autoglm_lab.serve import RemoteEngine, running

with lab.widgets.progress("exporting, the first time", 30):
    whole = kept_bundle()
device = OnnxEngine(whole, threads=1)


# %%
@contextmanager
def hybrid(policy, timeout_s=1.0):
    """An engine of two over a link to a server of its own."""
    with running(OnnxEngine(whole, threads=1)) as url, Link(int(url.split(":")[2].split("/")[0])) as link:
        cloud = RemoteEngine(f"http://127.0.0.1:{link.port}/v1", timeout_s=timeout_s, retries=0)
        with HybridEngine(device, cloud, policy, on_trip=trips.append) as engine:
            yield engine, link


# %%
import numpy as np

screen = lab.SimulatedPhone(seed=5).screenshot()
kinds = ("refuse", "cut", "portal", "busy", "broken", "silent")


def ask_forty(policy):
    """Answers and errors of forty requests; every second time the link fails."""
    answers, errors, rng = [], [], np.random.default_rng(0)
    with hybrid(policy) as (engine, link), lab.widgets.progress(policy.name, 12):
        for number in range(40):
            link.fault = Fault(str(rng.choice(kinds))) if number % 2 else Fault()
            try:
                answers.append(engine.answer("open Settings", screen).answer.action)
            except NoAnswerError as error:
                errors.append(str(error))
    return answers, errors


# %%
trips = []
counts = {}
for policy in (CLOUD_ONLY, FAIL_OVER):
    answers, errors = ask_forty(policy)
    counts[policy.name] = len(answers)
    print(f"{policy.name}: {len(answers)} answers, {len(errors)} errors" + (f", such as: {errors[0][:90]}" if errors else ""))
    assert len(answers) + len(errors) == 40

# %%
routes = {route: sum(trip.route == route for trip in trips[40:]) for route in ("cloud", "device")}
bars(
    "Answers to forty requests over a cable that fails",
    {"answers": {name: float(count) for name, count in counts.items()}},
    "",
    f"The cloud alone answers {counts['cloud only']}, with fail-over all {counts['fail-over']}: {routes['cloud']} by the cloud and "
    f"{routes['device']} by the device; {guessed(my_counts)}.",
    digits=0,
)
assert counts["fail-over"] == 40 > counts["cloud only"]

# %% [markdown]
# Fail-over waits until something has failed; from a server that says nothing it learns that only when the time is over. A **hedged** request
# (Dean and Barroso 2013) asks the other engine as well once the first has taken longer than usual:

# %%
from autoglm_lab.edge.hybrid.coordinator import Policy

waits = {}
for policy in (FAIL_OVER, Policy("hedge", hedge_after_s=0.2)):
    trips = []
    with hybrid(policy) as (engine, link):
        for kind in ("none", "silent", "none", "silent"):
            link.fault = Fault(kind)
            print(kind, engine.answer("open Settings", screen).answer.action)
    waits[policy.name] = sorted(trip.seconds for trip in trips)
    print(f"{policy.name:10} {', '.join(f'{1000 * seconds:.0f} ms' for seconds in waits[policy.name])}")
assert waits["hedge"][-1] < waits["fail-over"][-1]

# %% [markdown]
# With `private=True` a request with a picture or a sound never leaves the device, whatever the network does. A **breaker** leaves a cloud
# alone that failed three times in a row. And what has to arrive in the end, though there is no network now, goes into an **outbox** that
# outlives the program.
#
# One outbox and one engine prove little. *Measured before*, ten thousand schedules drawn by chance: in each a request to two engines that
# answer, fail or stay silent at any moment, also at that of the deadline; and five requests in an outbox, over a link that loses and
# repeats, from a program that crashes. Then the same where requests have no **id**, so that the receiver does not know a copy:

# %%
schedules = json.loads((data_dir() / "reports" / "edge" / "hybrid.json").read_text("utf-8"))
for row in schedules.values():
    print(
        f"{row['n']:,} requests: {row['n_answers']:,} answers, {row['n_errors']:,} errors, {row['n_endless']} without an end, "
        f"{row['n_late']} late, {row['n_twice']} answered twice, {row['n_lost']} lost"
    )
    print(
        f"    {row['n_actions']:,} actions of an outbox: {row['n_actions_lost']} lost, {row['n_actions_twice']:,} performed again"
    )
with_ids, without_ids = schedules["schedules"], schedules["schedules_without_ids"]
assert with_ids["n"] >= 10_000 and with_ids["n_unsound"] == 0 < without_ids["n_actions_twice"]

# %% [markdown]
# Many of these schedules are too harsh for an answer; an error in time is an end, too. And to send again is not harmless: it is the id
# that makes it so.
#
# ## Cut the cable
#
# Ask, and press `X` at any millisecond of the answer.

# %%
cable = lab.widgets.cable(device, OnnxEngine(whole, threads=1))
cable.set(fault="cut at", cut_at_ms=200)
cable.ask()
cable

# %% [markdown]
# ## Exercise 2: one end
#
# `asked` gives the second at which each request was asked. `events` are (second, request, engine, answer), in any order, with None for an
# engine that failed. Which answer does each request get? The first that came within `deadline` seconds; None for a request without one.


# %% tags=["exercise"]
def first_answers(asked, events, deadline):
    """A dict from request to answer."""
    # <solution>
    taken = dict.fromkeys(asked)
    for second, request, _, answer in sorted(events, key=lambda event: event[0]):
        if request in taken and taken[request] is None and answer is not None and second <= asked[request] + deadline:
            taken[request] = answer
    return taken
    # </solution>
    # <stub> return None  # in the order of their seconds


# %%
lab.check("12.first_answers", first_answers)

# %% [markdown]
# ## Ask again when in doubt
#
# A **cascade** lets the device answer and asks the cloud again when the answer is in doubt. Which signal knows? *Measured before*, on a device
# model that is wrong often (a layer left out, untrained) and the whole agent behind it; limits are fitted on one half of the requests and
# judged on the other. *AUROC* is the chance that a wrong answer is in more doubt than a right one: 0.5 is a coin.

# %%
cascade = json.loads((data_dir() / "reports" / "edge" / "cascade.json").read_text("utf-8"))
print(f"the device alone {cascade['small']:.0%} right, the cloud alone {cascade['large']:.0%} ({cascade['n']} requests)")
for name, signal in cascade["signals"].items():
    each, (right, share) = signal["auroc"], signal["shares"]["0.35"]
    print(
        f"{name:26} AUROC {each['mean']:.2f} ({each['low']:.2f} to {each['high']:.2f})   {share:4.0%} asked again: {right:.0%} right"
    )

# %%
signals = cascade["signals"]
assert signals["mean log-probability"]["auroc"]["low"] > signals["chance"]["auroc"]["high"]
assert signals["length of the answer"]["auroc"]["high"] < signals["mean log-probability"]["auroc"]["low"]
assert any(abs(signal["shares"]["0.35"][1] - 0.35) > 0.02 for signal in signals.values())
assert signals["kind of task"]["auroc"]["mean"] > signals["mean log-probability"]["auroc"]["mean"]

# %% [markdown]
# The model's own probabilities know something. To know the **kind of task** and how often this model failed at it knows more, and costs
# nothing: compare a clever signal with a table before you believe in it. And look at the second column: a limit that was fitted to ask
# 35 % again asks more or fewer elsewhere. Here *elsewhere* is the other half of the same requests. Now others, on icons that no training
# saw, with the same limits:

# %%
shifted = cascade["shifted"]
print(f"the device alone {shifted['small']:.0%} right, the cloud alone {shifted['large']:.0%} ({shifted['n']} requests)")
for name, signal in signals.items():
    right, share = signal["shifted"]["0.35"]
    print(f"{name:26} {share:4.0%} asked again instead of 35%: {right:.0%} right")
by_chance = signals["chance"]["shifted"]["0.35"]
assert all(signals[name]["shifted"]["0.35"][1] > 0.7 for name in ("least token probability", "mean log-probability"))
assert signals["kind of task"]["shifted"]["0.35"][0] < by_chance[0]

# %% [markdown]
# Probabilities notice that something is strange, and send most of it to the cloud: right, and twice the price. The table of kinds knows
# nothing of icons: it does no better than chance. **Thresholds do not travel**; watch the share that is asked again, every day.
#
# ## What is kept on the phone
#
# Requests that wait, answers, what a user said: they lie in a file that somebody can copy. A **vault** is an SQLite file whose records are
# sealed one by one; its key is made from a passphrase, or lies in the system's keyring, never in the file.

# %%
from autoglm_lab.edge.hybrid.outbox import Outbox, new_id
from autoglm_lab.edge.vault import Passphrase, Vault

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "phone.vault"
    with Vault.open(path, Passphrase("correct horse battery staple")) as vault:
        box = Outbox(vault)
        box.add(new_id(), b"tell Mum that I am late")
    print("in the clear in the file:", b"Mum" in path.read_bytes())
    try:
        Vault.open(path, Passphrase("12345678"))
    except ValueError as error:
        print("refused:", error)
    with Vault.open(path, Passphrase("correct horse battery staple")) as vault:
        print("still waits:", vault.get("outbox", Outbox(vault).pending()[0]))

# %% [markdown]
# ## What comes next?
#
# The next answer could be prepared before it is asked for: the prompt read, the next screen looked at. A hit saves most of the time to the
# first token. A miss costs work, on a processor that somebody else needs. The articles prepare above a confidence of 0.8.
#
# ## Predict
#
# Suppose that a miss costs as much as a hit saves. Above which probability does it pay to prepare?

# %%
my_gate = None  # between 0 and 1

# %% [markdown]
# It pays if what is won on average is more than what is lost: $p \cdot saving > (1 - p) \cdot cost$, so above the gate
# $p^* = cost / (cost + saving)$. Whose guesses are good enough? Invented people with habits use the simulated phone; each predictor sees
# event after event, in order. *Measured before*, on people whom training never saw:

# %%
intent = json.loads((data_dir() / "reports" / "edge" / "intent.json").read_text("utf-8"))


def percent(interval):
    """A share, or a dash where there was nothing to be right in."""
    return "   -" if interval is None else f"{interval['mean']:4.0%}"


print(f"{'':24} all steps: right, above 0.8, right there | first step of a task: right, right above 0.8")
for name, blocks in intent["scores"].items():
    each, first = blocks["new"]["all"], blocks["new"]["first"]
    shares = (each["top1"], each["coverage"], each["precision"], first["top1"], first["precision"])
    print(f"{name:24}", *(f"{percent(share):>12}" for share in shares))

# %% [markdown]
# Look at the last two columns. Within a task the next step is nearly forced, and a guess above 0.8 is right nearly always; but such a step
# follows at once, and leaves little time to prepare. At the first step of a new task, where somebody has to be waited for, fewer than
# half of the guesses are right, and of those above 0.8 a fifth to nine tenths: the longer the context, the surer and the worse. *One
# precision for all* hides that. And what a person did before says more than what all others did, even to a network (GRU).

# %%
from itertools import pairwise

scores = intent["scores"]
own, gru = scores["Markov-3, own"]["new"], scores["GRU, all"]["new"]
assert own["all"]["top1"]["low"] > gru["all"]["top1"]["high"]
assert own["first"]["precision"]["high"] < own["all"]["precision"]["low"]
assert all(blocks["new"]["first"]["top1"]["high"] < 0.5 for blocks in scores.values())
firsts = [blocks["new"]["first"]["precision"] for blocks in scores.values()]
above = [precision["mean"] for precision in firsts if precision]
assert min(above) < 0.25 and max(above) > 0.9
lengths = [scores[f"Markov-{order}, own"]["new"]["first"] for order in (1, 2, 3)]
assert all(short["precision"]["mean"] > long["precision"]["mean"] for short, long in pairwise(lengths))

# %% [markdown]
# So count **value**, milliseconds won and lost for each event, and not hits:

# %%
for row in intent["value"]["Markov-3, own"]["new"]:
    each = row["all"]
    print(f"a miss costs {row['ratio']:.2f} of what a hit saves, p* = {row['gate']:.2f}")
    policies_shown = {"gate 0.8": "raw 0.8", "p*": "calibrated p*", "always": "always", "who knows the future": "event oracle"}
    print("   ", ", ".join(f"{label} {each[key]['mean']:.1f} ms" for label, key in policies_shown.items()))
    assert each["calibrated - raw 0.8"]["low"] > 0

# %% [markdown]
# What do a hit and a miss cost on the real engine? And what is left of it once half of a person's habits have changed, while the predictor
# goes on with what it has learned (*measured before*)?

# %%
costs = intent["costs"]
saving, work, delay = (costs[name]["mean"] for name in ("saving", "work", "delay"))
print(f"a hit saves {saving:.1f} ms; a miss is {work:.1f} ms of work, and delays what was really asked by {delay:.1f} ms")
print(f"p* = {costs['gates']['work']:.2f} if wasted work counts in full, {costs['gates']['delay']:.2f} if only the delay does")
for name in ("Markov-3, own", "GRU, all"):
    before, after = scores[name]["new"]["all"], scores[name]["drift"]["all"]
    right = f"right {percent(before['top1'])}, after the change {percent(after['top1'])}"
    print(f"{name:14} {right}; off in its confidence {percent(before['ece'])}, {percent(after['ece'])}")
for row in intent["value"]["Markov-3, own"]["drift"]:
    gain = row["all"]["calibrated - raw 0.8"]
    print(
        f"after it, cost / saving {row['ratio']:.2f}: p* gains {gain['mean']:.2f} ms a step over 0.8 ({gain['low']:.2f} to {gain['high']:.2f})"
    )
    assert gain["high"] > 0
assert scores["Markov-3, own"]["drift"]["all"]["top1"]["high"] < own["all"]["top1"]["low"]

# %% [markdown]
# Own habits are worth most, and lose most when they change; then the predictor is also surer than it is right. At equal costs its
# calibrated gate is then worth no more than 0.8.
#
# Drag the gate, and make misses dearer: the best gate moves.

# %%
lab.widgets.ghost_finger()

# %% [markdown]
# ## Exercise 3: what to prepare
#
# `guesses` are (screen, probability, does it only read?). Give the screens that are prepared: worth more on average than they cost, the surest
# first, at most two, and never one that does something.


# %% tags=["exercise"]
def to_prepare(guesses, saving, cost):
    """Names of at most two screens."""
    # <solution>
    gate = cost / (cost + saving)
    sure = [(probability, name) for name, probability, only_reads in guesses if only_reads and probability > gate]
    return [name for _, name in sorted(sure, reverse=True)[:2]]
    # </solution>
    # <stub> return None  # p * saving against (1 - p) * cost


# %%
lab.check("12.to_prepare", to_prepare)

# %% [markdown]
# On the real engine: a screen that was foreseen is looked at and its prompt read beforehand; the answer is the same, its first token comes at
# once. If the real screen differs, what was prepared is dropped.

# %%
import time

from autoglm_lab.edge.intent.foresight import Request, foresee
from autoglm_lab.edge.intent.precompute import Precomputer
from autoglm_lab.phone.actions import parse

phone, task = lab.SimulatedPhone(seed=5), "open Settings"
launch = parse('do(action="Launch", app="Settings")')
with Precomputer(device) as precomputer:
    precomputer.expect([foresee(task, phone, launch)])  # the request after this action, on a copy of the phone
    precomputer.wait()
    changed = phone.perform(launch)
    real = Request.of(task, phone, [(launch.name, changed)])
    for how in ("prepared", "plain"):
        began = time.perf_counter()
        stream = precomputer.answer(real)
        first = next(iter(stream))
        print(f"{how:9} first token after {1000 * (time.perf_counter() - began):5.1f} ms: {first}{''.join(stream)}")
    print(dict(precomputer.counts))
assert precomputer.counts == {"ready": 1, "plain": 1}

# %% [markdown]
# ## What became of the claims

# %%
import csv

with (data_dir() / "claims.csv").open(encoding="utf-8", newline="") as file:
    claims = [row for row in csv.DictReader(file) if row["verdict"] and row["part"] in ("F1", "F2", "F3")]
for row in claims:
    print(f"{row['key']} {row['claimed']}\n    {row['verdict']}: {row['reason']}\n")

# %% [markdown]
# ## What was simulated, what was real
#
# - **Real:** the engines, the server, the link and its faults, the vault, the prepared answer.
# - **Measured, then scaled:** the times of an answer, by one factor for a phone with a large model.
# - **Simulated:** networks, loads and arrivals; the chains were fitted to recordings. People: invented, with habits chosen by hand.
# - **Not here:** what a radio takes from the battery, and a network with other people in it.
#
# ## To take away
#
# 1. Compute the optimum of a small world before you train a learner: then you know whether there is anything to learn.
# 2. Compare a learner with rules of one line, over seeds, at its end. And try the plan where its model is wrong.
# 3. Price what hurts, or the best policy will use what is free.
# 4. An answer is data until somebody acts: one end for each request, whatever the network does.
# 5. Guess above cost / (cost + saving), with calibrated guesses, and only what can be thrown away.
