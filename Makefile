# make setup | check | test | fix | demo | docs | lock | bench-banking77
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.complete

.PHONY: setup check test fix demo docs lock bench-banking77 bench-training
setup: $(READY)

$(READY): requirements/cpu.txt deploy/setup.sh pyproject.toml
	PYTHON=$(PYTHON) VENV=$(VENV) sh deploy/setup.sh

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/cog --check README.md

test: $(READY)
	$(BIN)/python -m pytest tests

fix: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/cog -r README.md

docs: $(READY)
	$(BIN)/cog -r README.md

demo: $(READY)
	$(BIN)/driftwheel demo

bench-banking77: $(READY)
	$(BIN)/python -m benchmarks.banking77

bench-training: $(READY)
	$(BIN)/python -m benchmarks.training

lock:
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --no-header --no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio \
	  --no-emit-package torchcodec --override requirements/overrides.txt requirements/cpu.in -o requirements/cpu.txt
