"""Every committed figure, how it is measured and from what: the plan of `make figures`.

A script counts as an input in two places, where it is what is measured: the tests whose outcomes `conformance.json` counts, and the
architectures of the table of pruning tools. A chapter depends on its source and on the figures that it shows, not on the package.
Success depends on the world it is measured in (icons, fonts, recorded voices), times do not: any screen will do. Versions of other
packages are no inputs either; who moves a pin runs what it moves with FORCE=1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.figures.jobs import FOLDER, Command, Job, Plan

SCENES, MINI_RUN = f"{FOLDER}/scenes", f"{FOLDER}/mini"
CHECKPOINT = tuple(f"data/model/{name}" for name in ("model.safetensors", "config.json", "processor_config.json", "tokenizer.json"))
WORLD = (
    "data/fonts/*.otf",
    "data/icons/*.png",
    "data/icons/index.json",
    "data/speech/espeak-*.opus",
    "data/speech/flite-*.opus",
    "data/speech/index.json",
)
RESULTS, CARD, CLAIMS, RUNTIMES = (
    "data/model/results.json",
    "data/model/README.md",
    "data/claims.csv",
    "data/reports/peers/runtimes.json",
)
STUDENT = "--steps 3600 --rate 0.0008 --fixed-encoders --pictures 8 --requests 6"
TASKS, SEED = 500, 0


@dataclass(frozen=True)
class Agent:
    """A compressed agent: a recipe, the options of its recovery, and where its reports go."""

    name: str
    training: str = ""  # as `autoglm-lab compress` takes it; a test compares it with the report
    recipe: str = ""  # where it differs from the name
    report: str = "data/reports"  # of the agent in PyTorch; none where empty
    onnx: bool = False  # and one in ONNX Runtime
    onnx_report: str = "data/reports/onnx"

    @property
    def recipe_file(self) -> str:
        """Where its recipe lies; nowhere for the whole agent."""
        return "" if self.name == "whole" else f"data/recipes/{self.recipe or self.name}.json"


AGENTS = (
    Agent("whole", onnx=True),
    Agent("sparse80", "--steps 1000 --rate 0.001 --thoughts 4"),
    Agent("channels45", "--steps 900 --rate 0.0005 --thoughts 4", onnx=True),
    Agent("answers40", "--steps 1000 --rate 0.0005 --thoughts 4", report="", onnx=True),
    Agent("channels60", "--steps 500 --rate 0.0005 --thoughts 4"),
    Agent("gradient30", "--steps 700 --rate 0.0006 --thoughts 4"),
    Agent("fisher30", "--steps 400 --rate 0.0004 --thoughts 4", onnx=True),
    Agent("student", f"{STUDENT} --thoughts 4", onnx=True),
    Agent("student_alone", f"{STUDENT} --alone", recipe="student", report="data/reports/compared"),
    Agent("rank40", onnx=True),
    Agent("rank40_trained", "--steps 500 --rate 0.001", recipe="rank40", report="data/reports/compared"),
    Agent("int8", onnx=True),
    Agent("int8_static", onnx=True),
    Agent("int4", onnx=True),
    Agent("int2_rounded", recipe="int2", report="data/reports/compared"),
    Agent("int2", "--steps 400 --rate 0.0005 --thoughts 4"),
    Agent("small", "--steps 900 --rate 0.0005 --thoughts 4", report="", onnx=True),
    Agent("phone", "--steps 1000 --rate 0.001 --thoughts 4", report="", onnx=True),
    Agent("skip_last", report="", onnx=True, onnx_report="data/reports/edge"),  # a layer left out without training: how it fails
)
# A bundle against others: rounds, and whom.
RACES = {"whole": (5, "generate,compile,openvino,mnn,executorch,litert,ncnn,llamacpp"), "int8_static": (20, "generate,llamacpp")}
PAGES, SERVED = ("int8_static", "phone"), ("int8_static", "whole")
SUITES = tuple(
    f"tests/unit/test_{name}.py" for name in ("adb", "serve_api", "serve_batching", "serve_clients", "serve_conformance")
)
PRUNED = ("tests/beside/pruning_peers.py", "tests/unit/pruned_models.py", "tests/unit/strange_models.py")
CONFORMANCE, PRUNING = "data/reports/serve/conformance.json", "data/reports/peers/pruning.csv"
CHIPS = ("data/chips/newer_cores.json", "data/chips/older_cores.json")  # written by hand
MINI = tuple(f"data/mini/{name}" for name in ("results.json", "training.csv", "training.json"))
BY_AGENT = tuple(f"{agent.report}/{agent.name}.json" for agent in AGENTS if agent.report)
SHIPPED = tuple(path for path in BY_AGENT if "/compared/" not in path)
BY_BUNDLE = tuple(f"data/reports/onnx/{agent.name}.json" for agent in AGENTS if agent.onnx and agent.onnx_report.endswith("onnx"))
EDGE = ("skip_last", "memory", "exchange", "power", "offload", "traces", "intent", "sync", "privacy", "cascade", "hybrid")
SKIPPED, MEMORY, EXCHANGE, POWER, OFFLOAD = (f"data/reports/edge/{name}.json" for name in EDGE[:5])
TRACES, INTENT, SYNC, PRIVACY, CASCADE, HYBRID = (f"data/reports/edge/{name}.json" for name in EDGE[5:])
LOADS = tuple(f"data/reports/serve/{name}.json" for name in SERVED)
BROWSER = tuple(f"data/reports/page/{name}.json" for name in PAGES)
CHAPTERS: dict[str, tuple[str, ...]] = {  # and the figures that each shows
    "00_start_here": (),
    "01_architecture": (),
    "02_gated_cross_attention": ("data/model/training.csv", *MINI),
    "03_pruning": (*SHIPPED, *BY_BUNDLE, PRUNING),
    "04_distillation_and_low_rank": BY_AGENT,
    "05_quantization": BY_BUNDLE,
    "06_quantization_aware_training": (
        "data/reports/compared/int2_rounded.json",
        "data/reports/int2.json",
        "data/reports/whole.json",
        *BY_BUNDLE,
    ),
    "07_fast_decoding": (),
    "08_export": (),
    "09_serving": (*LOADS, CONFORMANCE),
    "10_on_device": (*BROWSER, *BY_BUNDLE, RUNTIMES),
    "11_phone_budget": (*BY_BUNDLE, *CHIPS, SKIPPED, MEMORY, EXCHANGE, POWER),
    "12_device_and_cloud": (OFFLOAD, TRACES, CASCADE, INTENT, HYBRID),
    "13_many_devices": (SYNC, TRACES, PRIVACY),
    "14_claimed_and_measured": (
        *BY_AGENT,
        *BY_BUNDLE,
        *(f"data/reports/race/{name}.json" for name in RACES),
        MEMORY,
        EXCHANGE,
        POWER,
        OFFLOAD,
        TRACES,
        INTENT,
        SYNC,
        PRIVACY,
    ),
}


def agent_jobs(agent: Agent) -> list[Job]:
    """Make an agent and measure it in PyTorch; the whole one is what an empty recipe makes."""
    name, model = agent.name, f"{FOLDER}/models/{agent.name}"
    recipe = f"{FOLDER}/whole.json" if name == "whole" else agent.recipe or name
    options = f"{agent.training} --data {SCENES}" if agent.training else ""
    first = (Command(f"python -m tests.figures.measure plain {recipe}"),) if name == "whole" else ()
    make = Command(" ".join(f"autoglm-lab compress --recipe {recipe} {options} --out {model}".split()))
    inputs = (*CHECKPOINT, *WORLD, *(agent.recipe_file,) * bool(agent.recipe_file))
    jobs = [Job(f"model:{name}", (*first, make), inputs, makes=model, uses=("scenes",) * bool(agent.training))]
    if agent.report:
        rate, report = f"{FOLDER}/rates/{name}.json", f"{agent.report}/{name}.json"
        jobs += [
            Job(
                f"rate:{name}",
                (Command(f"python -m tests.figures.measure rate {model} {rate}"),),
                makes=rate,
                uses=(f"model:{name}",),
            ),
            Job(
                f"report:{name}",
                (Command(f"python -m tests.figures.measure time {model} {rate} {report}"),),
                writes=(report,),
                uses=(f"model:{name}", f"rate:{name}"),
                timed=True,
            ),
        ]
    return jobs


def bundle_job(name: str, flags: str = "") -> Job:
    """Export an agent; `flags` are those of `autoglm-lab export`, and part of the folder's name."""
    folder = f"{FOLDER}/bundles/{name}{flags.removeprefix('-')}"
    command = Command(f"autoglm-lab export --model {FOLDER}/models/{name} {flags + ' ' * bool(flags)}--out {folder}")
    return Job(f"bundle:{name}{flags.removeprefix('-')}", (command,), makes=folder, uses=(f"model:{name}",))


def runtime_jobs(agent: Agent) -> list[Job]:
    """Measure an agent in ONNX Runtime, its times in turns with the whole agent's."""
    name = agent.name
    rate, report = f"{FOLDER}/onnx-rates/{name}.json", f"{agent.onnx_report}/{name}.json"
    bundle, whole = (f"{FOLDER}/bundles/{which}" for which in (name, "whole"))
    bundles = tuple(dict.fromkeys((f"bundle:{name}", "bundle:whole")))
    return [
        Job(
            f"onnx-rate:{name}",
            (Command(f"python -m tests.figures.measure rate {bundle} {rate} --of {FOLDER}/models/{name}"),),
            makes=rate,
            uses=(f"bundle:{name}", f"model:{name}"),
        ),
        Job(
            f"onnx:{name}",
            (Command(f"python -m tests.figures.measure time {bundle} {rate} {report} --beside {whole}"),),
            writes=(report,),
            uses=(*bundles, f"onnx-rate:{name}"),
            timed=True,
        ),
    ]


def speed_jobs() -> list[Job]:
    """Races, pages, loads and other runtimes: nothing but time, and whether answers are the same."""
    jobs = []
    for name, (rounds, against) in RACES.items():
        command = f"autoglm-lab bench --bundle {FOLDER}/bundles/{name}-one-call --against {against} --rounds {rounds} --json"
        figure = f"data/reports/race/{name}.json"
        jobs.append(
            Job(f"race:{name}", (Command(command, figure),), writes=(figure,), uses=(f"bundle:{name}-one-call",), timed=True)
        )
    for name in PAGES:
        figure = f"data/reports/page/{name}.json"
        command = Command(f"python -m tests.browser.page_times {FOLDER}/bundles/{name}", figure)
        jobs.append(Job(f"page:{name}", (command,), writes=(figure,), uses=(f"bundle:{name}",), timed=True))
    for name in SERVED:
        figure = f"data/reports/serve/{name}.json"
        command = Command(f"python -m tests.figures.measure load {FOLDER}/bundles/{name}-rows", figure)
        jobs.append(Job(f"serve:{name}", (command,), writes=(figure,), uses=(f"bundle:{name}-rows",), timed=True))
    beside = "data/reports/serve/transformers_serve.json"
    command = Command(f"python -m tests.beside.transformers_serve {FOLDER}/bundles/whole-rows", beside)
    jobs.append(Job("serve:transformers", (command,), writes=(beside,), uses=("bundle:whole-rows",), timed=True))
    survey = Command("autoglm-lab runtimes --json", RUNTIMES, 1)
    jobs.append(Job("runtimes", (survey,), (*CHECKPOINT, *WORLD), (RUNTIMES,), timed=True))
    return jobs


def other_jobs() -> list[Job]:
    """The shipped model's success and card, the small preset, what tests count, pictures."""
    evaluate = f"autoglm-lab evaluate --seed {SEED} --tasks {TASKS} --json"
    write_card = "from pathlib import Path; from autoglm_lab.benchmarks.card import write_card; write_card(Path('data/model'))"
    prepare = f"from pathlib import Path; from autoglm_lab.training.pipeline import prepare; prepare('full', Path('{SCENES}'))"
    copy = Command(f"cp {MINI_RUN}/model/training.csv {MINI_RUN}/model/training.json data/mini/")
    peer, public = f"{FOLDER}/torch-pruning", f"{FOLDER}/Open-AutoGLM"
    demo = "autoglm-lab demo --seed 7 --think --task 'message Mum happy birthday' --out"
    film, page = "notebooks/images/agent.png", "notebooks/images/phone_page.png"
    screenshot = "pytest -q tests/browser/test_phone_page.py -k a_task_is_done_on_the_page"
    return [
        Job("scenes", (Command(f'python -c "{prepare}"'),), WORLD, makes=SCENES),
        Job("results", (Command(evaluate, RESULTS, 1),), (*CHECKPOINT, *WORLD, "data/phrasings/*.yaml"), (RESULTS,)),
        Job(
            "card",
            (Command(f'python -c "{write_card}"'),),
            (RESULTS, "data/model/config.json", "data/model/training.json"),
            (CARD,),
        ),
        Job("mini-model", (Command(f"autoglm-lab train --preset mini --out {MINI_RUN}"),), WORLD, makes=MINI_RUN, timed=True),
        Job(
            "mini",
            (copy, Command(f"{evaluate} --preset mini --model {MINI_RUN}/model", MINI[0], 1)),
            (),
            MINI,
            uses=("mini-model",),
        ),
        Job(
            "conformance",
            (
                Command(f"test -d {public} || git clone -q --depth 1 https://github.com/zai-org/Open-AutoGLM {public}"),
                Command(f"OPEN_AUTOGLM_DIR={public} python -m tests.beside.conformance"),
            ),
            (*CHECKPOINT, *SUITES),
            (CONFORMANCE,),
            timed=True,
        ),  # its time limits hold on an idle machine
        Job(
            "pruning",
            (
                Command(f"test -d {peer} || python -m pip install -q --no-deps --target {peer} torch-pruning==1.6.1"),
                Command(f"PYTHONPATH={peer}:. python tests/beside/pruning_peers.py"),
            ),
            PRUNED,
            (PRUNING,),
            timed=True,
        ),
        Job(
            "picture:agent",
            (Command(f"{demo} {FOLDER}/demo"), Command(f"cp {FOLDER}/demo/filmstrip.png {film}")),
            (*CHECKPOINT, *WORLD),
            (film,),
        ),
        Job(
            "picture:page",
            (Command(screenshot), Command(f"cp build/screenshots/phone_page.png {page}")),
            CHECKPOINT,
            (page,),
            timed=True,
        ),
    ]


def edge_jobs() -> list[Job]:
    """A phone's budget: memory and exchange of the whole agent, its clock on the simulated phone."""
    whole, other = (f"{FOLDER}/bundles/{name}" for name in ("whole", "skip_last"))
    memory = Command(f"python -m autoglm_lab.benchmarks.loading {whole}", MEMORY, 1)
    exchange = Command(f"python -m autoglm_lab.benchmarks.exchanging {whole} {other}", EXCHANGE, 1)
    variants = ("whole", "int8_static", "phone", "small", "student")
    return [
        Job("edge:memory", (memory,), writes=(MEMORY,), uses=("bundle:whole",), timed=True),
        Job("edge:exchange", (exchange,), writes=(EXCHANGE,), uses=("bundle:whole", "bundle:skip_last"), timed=True),
        Job(
            "edge:power",
            (Command("python -m tests.figures.measure power", POWER, 1),),
            (*(f"data/reports/onnx/{name}.json" for name in variants), SKIPPED),
            (POWER,),
        ),
        Job(
            "edge:offload",
            (Command("python -m tests.figures.measure offload", OFFLOAD, 1),),
            ("data/reports/onnx/whole.json",),
            (OFFLOAD,),
        ),
        # the traces themselves are others': build/traces wants two of them
        Job(
            "edge:traces",
            (Command(f"python -m tests.figures.measure traces {FOLDER}/../traces", TRACES, 1),),
            ("data/reports/onnx/whole.json",),
            (TRACES,),
        ),
        Job(
            "edge:cascade",
            (Command(f"python -m tests.figures.measure cascade {other} {whole} --count 800", CASCADE, 1),),
            writes=(CASCADE,),
            uses=("bundle:whole", "bundle:skip_last"),
        ),
        Job("edge:sync", (Command("python -m tests.figures.measure sync", SYNC, 1),), writes=(SYNC,)),
        Job("edge:hybrid", (Command("python -m tests.figures.measure hybrid", HYBRID, 1),), writes=(HYBRID,)),
        Job(
            "edge:privacy",
            (Command(f"python -m tests.figures.measure privacy {whole}", PRIVACY, 1),),
            writes=(PRIVACY,),
            uses=("bundle:whole",),
            timed=True,
        ),
        Job(
            "edge:intent",
            (Command(f"python -m tests.figures.measure intent {whole}", INTENT, 1),),
            writes=(INTENT,),
            uses=("bundle:whole",),
            timed=True,
        ),
    ]


def page_jobs() -> list[Job]:
    """The table of claims, chapters, their times, and the README: what shows the figures of others."""
    races = tuple(f"data/reports/race/{name}.json" for name in RACES)
    served = (*LOADS, "data/reports/serve/transformers_serve.json")
    readme = Command("python -m notebooks.build --readme")
    jobs = [
        Job(
            "claims",
            (Command("python -m autoglm_lab.benchmarks.claims"),),
            (*BY_AGENT, *BY_BUNDLE, *races, *BROWSER, *served, MEMORY, EXCHANGE, POWER, OFFLOAD, TRACES, INTENT, SYNC, PRIVACY),
            (CLAIMS,),
        )
    ]
    for chapter, shown in CHAPTERS.items():
        source, notebook = f"notebooks/source/{chapter}.py", f"notebooks/{chapter}.ipynb"
        build = Command(f"python -m notebooks.build {chapter}")
        jobs.append(Job(f"chapter:{chapter}", (build,), (*CHECKPOINT, source, *shown), (notebook,), timed=True))
        times = (Command(f"make nbval NOTEBOOKS={notebook}"), readme)
        jobs.append(
            Job(
                f"time:{chapter}",
                times,
                (*CHECKPOINT, source),
                (f"README.md#{chapter}",),
                after=(f"chapter:{chapter}",),
                timed=True,
            )
        )
    return [*jobs, Job("readme", (readme,), (RESULTS, CLAIMS, RUNTIMES), ("README.md",))]


def plan() -> Plan:
    """All jobs."""
    made = [job for agent in AGENTS for job in agent_jobs(agent)]
    bundled = [job for agent in AGENTS if agent.onnx for job in (bundle_job(agent.name), *runtime_jobs(agent))]
    flagged = [*(bundle_job(name, "--one-call") for name in RACES), *(bundle_job(name, "--rows") for name in SERVED)]
    return Plan([*other_jobs(), *made, *bundled, *flagged, *speed_jobs(), *edge_jobs(), *page_jobs()])


def committed(root: Path) -> set[str]:
    """The files of a checkout that hold figures which are measured from the checkpoint on, however they came there."""
    patterns = ("data/reports/**/*.*", "data/mini/*", "notebooks/[0-9]*.ipynb", "notebooks/images/*")
    found = {path.relative_to(root).as_posix() for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return found | {RESULTS, CARD, CLAIMS, "README.md"}


PLAN = plan()
