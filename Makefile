# make setup | check | test | test-gpu | fix | demo | docs | chaos | lock | bench-NAME | suite-NAME (tests/suites/)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.complete
# mkdocs would not count the warnings that --strict is about with --quiet.
GENERATED := $(wildcard docs/reference/*.md) docs/house.md docs/concepts/loop.md docs/decisions/index.md

.PHONY: setup check test test-gpu fix demo docs chaos lock
setup: $(READY)

$(READY): requirements/cpu.txt deploy/setup.sh pyproject.toml
	PYTHON=$(PYTHON) VENV=$(VENV) sh deploy/setup.sh

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check --verbosity=0 -I . $(GENERATED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir .cache/site

test: $(READY)
	$(BIN)/python -m pytest tests --ignore=tests/gpu --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-gpu: $(READY)
	DRIFTWHEEL_TEST_GPU=1 $(BIN)/python -m pytest tests/gpu

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m docs.pictures
	$(BIN)/cog -r --verbosity=0 -I . $(GENERATED)

docs: $(READY)
	$(BIN)/python -m docs.pictures
	$(BIN)/cog -r --verbosity=0 -I . $(GENERATED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

demo: $(READY)
	$(BIN)/driftwheel demo

chaos: $(READY)
	$(BIN)/python -m tests.suites.chaos

suite-%: $(READY)
	$(BIN)/python -m tests.suites.$*

bench-%: $(READY)
	$(BIN)/python -m benchmarks.$*

lock:
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --no-header --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
	  --no-emit-package torchcodec --override requirements/overrides.txt requirements/cpu.in -o requirements/cpu.txt
