# The two commands of a newcomer are `make lab` and `make test`. Works with GNU make 3.81 (macOS) and later.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
PINS := binder/requirements.txt binder/requirements-dev.txt binder/constraints.txt pyproject.toml .ci/setup.py

# The first Python 3.11 or newer; `make setup PYTHON=/path/to/python` overrules it.
PYTHON ?= $(shell for name in python3 python3.11 python3.12 python3.13 python3.14; do \
	if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then command -v "$$name"; break; fi; done)

# Notebooks are run one after the other, so that their times and memory are their own; 2 runs two at once.
NOTEBOOKS = $(wildcard notebooks/[0-9]*.ipynb notebooks/solutions/[0-9]*.ipynb)
NOTEBOOK_WORKERS ?= 0
UNIT_WORKERS ?= 2
# Jobs of `make figures` that run side by side as long as nothing is timed.
FIGURE_WORKERS ?= 2

STAGE = @printf '\n== %s\n'
PYTEST := $(BIN)/python -m pytest
DOIT := $(BIN)/python -m doit run -f tests/figures/dodo.py --dir . --continue
RECORD := $(BIN)/python -m tests.figures.record
ALLOW_ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)

.PHONY: help setup lab demo test check lint js types unit nbval readme figures figures-dry browser arm64 runtimes device-test notebooks clean
.NOTPARALLEL:

help:
	@echo 'make lab        open the course in JupyterLab (sets up .venv the first time)'
	@echo 'make demo       the agent in the terminal'
	@echo 'make test       every check: lint, types, unit tests, notebooks, browser'
	@echo 'make check      lint, types, and the unit tests that import what has changed (BASE=main: since that commit)'
	@echo 'make device-test  install the other runtimes (ONLY="mnn ncnn" for some), and check ARM64 and all of them'
	@echo 'make notebooks  build and execute the notebooks from notebooks/source (ONLY=00_start_here for one)'
	@echo 'make figures    measure anew what is stale (DRY=1 lists it, ONLY="report:int8 chapter" for some)'
	@echo 'make setup      only set up .venv'
	@echo 'make clean      remove caches and build/, keep .venv'

setup: $(STAMP)

$(STAMP): $(PINS)
	@if [ -z "$(PYTHON)" ]; then \
		echo "setup: Python 3.11 or newer is needed; python3 here is: $$(python3 --version 2>&1 || true)" >&2; \
		echo "setup: Debian, Ubuntu: sudo apt install python3 python3-venv    macOS: brew install python@3.12" >&2; \
		echo "setup: one that is not on the path: make setup PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@"$(PYTHON)" .ci/setup.py
	@touch $(STAMP)

lab: setup
	$(BIN)/jupyter lab $(ALLOW_ROOT) --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

demo: setup
	$(BIN)/autoglm-lab demo

test: lint js types unit nbval readme browser arm64 runtimes

# After a change, before `make test`: about a minute, most of it the tests.
check: lint types
	$(STAGE) 'unit tests of what has changed'
	$(BIN)/python -m tests.changed $(BASE)

lint: setup
	$(STAGE) 'ruff'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Formatter, linter and types of the pages and widgets, at one version each. Where npm cannot give it, it says so; that fails in CI only.
BIOME := npx --yes --prefer-offline @biomejs/biome@2.6.8
js: setup
	$(STAGE) 'biome and TypeScript, on JavaScript'
	@if $(BIOME) --version >/dev/null 2>&1; then $(BIOME) ci --colors=off --config-path=.ci autoglm_lab && $(BIN)/python -m tests.javascript; \
	else echo 'npm is not here, or has no network: not checked'; test -z "$$CI"; fi

types: setup
	$(STAGE) 'mypy, strict, on autoglm_lab'
	$(BIN)/mypy autoglm_lab

unit: setup
	$(STAGE) 'unit tests, the examples in docstrings, the shapes in signatures of the model'
	$(PYTEST) tests/unit autoglm_lab notebooks/build.py notebooks/readme.py --doctest-modules \
		--jaxtyping-packages=autoglm_lab.model.encoders,autoglm_lab.model.fusion,autoglm_lab.model.modeling,beartype.beartype -n $(UNIT_WORKERS)

nbval: setup
	$(STAGE) 'every notebook, run from top to bottom'
	@test -n "$(NOTEBOOKS)" || { echo 'no notebooks: make notebooks builds them' >&2; exit 1; }
	$(PYTEST) -p tests.notebooks.budget --nbval-lax --nbval-current-env --nbval-cell-timeout=120 \
		--nbval-sanitize-with tests/notebooks/sanitize.cfg \
		-n $(NOTEBOOK_WORKERS) --dist loadfile $(NOTEBOOKS)

readme: setup
	$(STAGE) 'the figures in README.md'
	$(BIN)/python -m notebooks.build --readme --check

# Every figure whose inputs have changed, measured anew from the checkpoint on. A run that was stopped goes on where it was.
# ONLY="report:int8 chapter" for some of them and what they need, with FORCE=1 although nothing has changed; DRY=1 only lists.
figures: setup
ifdef DRY
	@$(RECORD)
else ifdef ONLY
	$(if $(FORCE),$(RECORD) --forget $(ONLY))
	$(DOIT) $(ONLY)
else
	-$(DOIT) -n $(FIGURE_WORKERS) untimed
	$(DOIT) figures
endif

figures-dry: setup
	@$(RECORD)

arm64: setup
	$(STAGE) 'the device folder on ARM64, emulated'
	$(PYTEST) tests/devices/test_arm64.py

# Those that are installed; `make device-test` installs them first, ONLY="mnn ncnn" some of them.
runtimes: setup
	$(STAGE) 'other runtimes'
	$(PYTEST) tests/devices/test_runtimes.py

device-test: setup
	$(STAGE) 'environments of other runtimes'
	$(BIN)/autoglm-lab runtimes --install $(ONLY)
	$(MAKE) arm64 runtimes

browser: setup
	$(STAGE) 'notebooks in a real browser, offline'
	$(PYTEST) tests/browser

notebooks: setup
	$(BIN)/python -m notebooks.build $(ONLY)
	$(RECORD) --measured $(if $(ONLY),$(ONLY:%=chapter:%),chapter)

clean:
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find autoglm_lab notebooks tests -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
