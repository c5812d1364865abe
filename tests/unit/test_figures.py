"""No committed figure is stale, every one has a job that measures it, and `make figures` does what is due and no more."""

import json
import re
import shlex
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from doit.cmd_base import ModuleTaskLoader
from doit.doit_cmd import DoitMain

from autoglm_lab.cli import parser
from autoglm_lab.compress.recipe import Recipe
from autoglm_lab.evaluation.report import Report
from tests.figures import dodo
from tests.figures.jobs import Command, Job, Plan
from tests.figures.plan import AGENTS, CHAPTERS, PLAN, committed
from tests.figures.record import BEGUN, COMMITTED, MADE, ROOT, Record, read, table

# Measured before an input of today was there, and too long to measure in passing. It shrinks only: `make figures` empties it.
AWAITED = {"results"}


def roots(stale):
    """The stale jobs that are so because of an input of their own."""
    return {name for name, reasons in stale.items() if not all(reason.endswith("is stale") for reason in reasons)}


def test_no_figure_is_stale():
    stale = Record(PLAN).stale()
    due = roots(stale) - AWAITED
    told = table(PLAN, {name: reasons for name, reasons in stale.items() if name in due})
    assert not due, f'{told}\nmeasure them: make figures ONLY="{" ".join(sorted(due))}"'
    assert roots(stale) >= AWAITED, f"measured meanwhile, no longer awaited: {sorted(AWAITED - roots(stale))}"


def test_every_figure_has_a_job_and_an_entry():
    assert {figure.partition("#")[0] for figure in PLAN.writer} == committed(ROOT), (
        "tests/figures/plan.py says how each is measured"
    )
    assert set(read(ROOT / COMMITTED)) == set(PLAN.writer)


def test_every_input_is_there():
    record = Record(PLAN)
    assert [(name, entry) for name in PLAN.jobs for entry, value in record.now(name).items() if not value] == []


def test_agents_are_trained_as_their_reports_say():
    for agent in AGENTS:
        for path in (
            f"{agent.report}/{agent.name}.json" * bool(agent.report),
            f"{agent.onnx_report}/{agent.name}.json" * agent.onnx,
        ):
            if path:
                report = Report.from_json((ROOT / path).read_text("utf-8"))
                told = f"--steps {report.steps} --rate {report.rate:g}" if report.steps else ""
                told += " --alone" * report.alone + ("" if report.thoughts is None else f" --thoughts {report.thoughts:g}")
                assert sorted(f"{told} {report.flags}".split()) == sorted(agent.training.split()), path
                assert report.name == (agent.recipe or {"whole": Recipe().name}.get(agent.name, agent.name))


def test_commands_are_those_of_the_command_line():
    for job in PLAN.jobs.values():
        for command in job.commands:
            for part in command.text.split(" && "):
                words = [word for word in shlex.split(part) if not re.match(r"[A-Z_]+=", word)]
                if words[0] == "autoglm-lab":
                    parser().parse_args(words[1:])  # SystemExit names what it does not know
                elif words[:2] == ["python", "-m"]:
                    assert find_spec(words[2]), command


def test_a_chapter_that_reads_figures_depends_on_them():
    for chapter, shown in CHAPTERS.items():
        source = (ROOT / "notebooks" / "source" / f"{chapter}.py").read_text("utf-8")
        assert bool(shown) == bool(re.search(r'read_reports\(|data_dir\(\) / "(reports|mini|model)"', source)), chapter


SHOW_BUNDLES = {f"chapter:{name}" for name, shown in CHAPTERS.items() if any("/onnx/" in figure for figure in shown)}
SHOW_ALL = {"claims", "readme", "chapter:04_distillation_and_low_rank", *SHOW_BUNDLES}
PAGES = {"card", "claims", "readme", "edge:power", "edge:offload", "edge:traces"}  # which show or compute from figures of others
UNTRAINED = {"mini", "pruning", "edge:sync", "edge:hybrid"}  # which no checkpoint changes


@pytest.mark.parametrize(
    ("changed", "due", "later"),
    [
        ("data/recipes/int8.json", {"report:int8", "onnx:int8"}, SHOW_ALL),
        ("data/recipes/phone.json", {"onnx:phone", "page:phone"}, {"claims", "edge:power", "readme"} | SHOW_BUNDLES),
        ("data/reports/page/phone.json", {"claims", "chapter:10_on_device"}, {"readme"}),
        ("notebooks/source/07_fast_decoding.py", {"chapter:07_fast_decoding", "time:07_fast_decoding"}, set()),
        ("data/model/model.safetensors", {job.name for job in PLAN.jobs.values() if job.writes} - PAGES - UNTRAINED, PAGES),
    ],
)
def test_a_changed_byte_makes_exactly_its_dependants_stale(changed, due, later, tmp_path):
    record = Record(PLAN, _copied(tmp_path))
    for name in PLAN.jobs:  # as if all had been measured
        if PLAN.jobs[name].writes:
            record.measured(name)
    assert record.stale() == {}
    path = tmp_path / changed
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    stale = record.stale()
    assert roots(stale) == due
    assert set(stale) == due | later


def _copied(folder):
    """The checkout as links, without what was measured when."""
    for place in ("data", "notebooks", "tests"):
        shutil.copytree(
            ROOT / place,
            folder / place,
            copy_function=lambda file, link: Path(link).symlink_to(file),
            ignore=shutil.ignore_patterns("__pycache__", ".*"),
        )
    (folder / "README.md").symlink_to(ROOT / "README.md")
    (folder / COMMITTED).unlink()
    return folder


TOY = Plan(
    [
        Job("sum", (Command("cat figures/*.txt > sum.txt"),), ("figures/a.txt", "figures/b.txt"), ("sum.txt",)),
        Job("figure:a", (Command("echo a >> log; cp build/figures/agent figures/a.txt"),), (), ("figures/a.txt",), uses=("agent",)),
        Job("figure:b", (Command("echo b >> log; cp recipe.txt figures/b.txt"),), ("recipe.txt",), ("figures/b.txt",), timed=True),
        Job(
            "agent",
            (Command("echo agent >> log; cat model.txt >> build/figures/agent; test ! -e full"),),
            ("model.txt",),
            makes="build/figures/agent",
        ),
    ]
)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A checkout whose figures are copies."""
    monkeypatch.chdir(tmp_path)
    for name in ("model", "recipe"):
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "figures").mkdir()
    return tmp_path


def figures(root, *names):
    """Run doit; its exit status and the jobs that ran, in order."""
    (root / "log").unlink(missing_ok=True)
    config = {**dodo.DOIT_CONFIG, "verbosity": 0}
    module = {"DOIT_CONFIG": config, "task_all": lambda: dodo.tasks(TOY, Record(TOY, root))}
    status = DoitMain(ModuleTaskLoader(module)).run(["run", *names])
    return status, (root / "log").read_text().split() if (root / "log").exists() else []


def test_what_is_due_is_done_once(toy):
    status, ran = figures(toy, "figures")
    assert status == 0 and sorted(ran) == ["a", "agent", "b"] and ran.index("agent") < ran.index("a")
    assert (toy / "sum.txt").read_text() == "modelrecipe"
    assert figures(toy, "figures") == (0, [])
    (toy / "recipe.txt").write_text("another")
    assert list(Record(TOY, toy).stale()) == ["figure:b", "sum"]
    assert figures(toy, "figures") == (0, ["b"])
    assert (toy / "sum.txt").read_text() == "modelanother"


def test_a_fresh_clone_makes_nothing_that_no_stale_figure_needs(toy):
    figures(toy, "figures")
    shutil.rmtree(toy / "build")
    assert figures(toy, "figures") == (0, [])
    (toy / "model.txt").write_text("new")
    assert figures(toy, "figures") == (0, ["agent", "a"])
    assert (toy / "figures" / "a.txt").read_text() == "new"


def test_what_was_stopped_goes_on_unless_its_inputs_changed(toy):
    (toy / "full").touch()
    status, ran = figures(toy, "figure:a")
    assert status != 0 and ran == ["agent"]
    assert read(toy / BEGUN).keys() == {"agent"} and not (toy / MADE).exists() and not (toy / COMMITTED).exists()
    figures(toy, "figure:a")
    assert (toy / "build/figures/agent").read_text() == "modelmodel", "it found what it had made"
    (toy / "model.txt").write_text("new")
    (toy / "full").unlink()
    assert figures(toy, "figure:a") == (0, ["agent", "a"])
    assert (toy / "figures" / "a.txt").read_text() == "new"
    assert read(toy / BEGUN) == {}


def test_what_is_timed_is_not_among_what_runs_side_by_side(toy):
    assert TOY.untimed() == ["agent", "figure:a"]
    assert figures(toy, "-n", "2", "untimed") == (0, ["agent", "a"])
    waiting = {name for name in PLAN.untimed() for needed in PLAN.needs[name] if PLAN.jobs[needed].timed}
    assert waiting == set() and not any(PLAN.jobs[name].timed for name in PLAN.untimed())
    times = ("report:", "onnx:", "race:", "page:", "serve:", "chapter:", "time:", "runtimes")
    assert all(job.timed for job in PLAN.jobs.values() if job.name.startswith(times))


def test_a_part_and_a_forced_one_run(toy):
    assert figures(toy, "figures/b.txt") == (0, ["b"])
    record = Record(TOY, toy)
    assert list(record.stale()) == ["figure:a", "sum"]
    record.forget("figure:b")
    assert figures(toy, "figure:b") == (0, ["b"])
    assert figures(toy, "figures") == (0, ["agent", "a"])
    record.forget("agent")
    assert list(record.stale()) == ["figure:a", "sum"], "what uses it"
    assert TOY.named(["figure", "sum.txt"]) == ["figure:a", "figure:b", "sum"]
    with pytest.raises(ValueError, match="no job or figure 'figure:c'"):
        TOY.named(["figure:c"])


def test_output_that_breaks_off_leaves_the_figure_as_it_was(tmp_path):
    Command("""echo '{"a": 1}'""", "a.json").run(tmp_path)
    with pytest.raises(json.JSONDecodeError):
        Command("""echo '{"a": '""", "a.json").run(tmp_path)
    assert (tmp_path / "a.json").read_text() == '{"a": 1}\n'


def test_a_plan_has_one_writer_for_each_figure_and_no_circles():
    with pytest.raises(ValueError, match=r"a\.txt is written by one and by two"):
        Plan([Job("one", (), writes=("a.txt",)), Job("two", (), writes=("a.txt",))])
    with pytest.raises(ValueError, match="a job needs itself: one <- two <- one"):
        Plan([Job("one", (), ("b",), ("a",)), Job("two", (), ("a",), ("b",))])
    with pytest.raises(ValueError, match="one needs 'two', which is no job"):
        Plan([Job("one", (), writes=("a",), uses=("two",))])
    with pytest.raises(ValueError, match="one has to write figures, or to make something in build/figures"):
        Plan([Job("one", (), makes="data/model")])
