# make setup | check | test | coverage | fix | demo | demo-text | docs | chaos | lock | sbom | bench-NAME | suite-NAME
# (tests/suites/)
# On a GPU, in an environment of its own: make setup-gpu | test-gpu | demo-gpu | bench-gpu | lock-gpu
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.complete
GENERATED := $(wildcard docs/reference/*.md) docs/house.md docs/concepts/loop.md docs/decisions/index.md

GPU_VENV := .venv-gpu
GPU_READY := $(GPU_VENV)/.complete

.PHONY: setup check check-papers test coverage fix demo demo-text docs chaos lock sbom
.PHONY: setup-gpu test-gpu demo-gpu bench-gpu lock-gpu
setup: $(READY)

$(READY): requirements/cpu.txt deploy/setup.sh pyproject.toml
	PYTHON=$(PYTHON) VENV=$(VENV) sh deploy/setup.sh

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory check-papers

# Without --quiet: mkdocs would then not count the warnings that --strict is about.
check-papers: $(READY)
	$(BIN)/cog --check --verbosity=0 -I . $(GENERATED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir .cache/site

test: $(READY)
	$(BIN)/python -m pytest tests --ignore=tests/gpu --numprocesses 2 --dist loadfile --no-loadscope-reorder

setup-gpu: $(GPU_READY)

$(GPU_READY): requirements/gpu.txt deploy/setup_gpu.sh pyproject.toml
	PYTHON=$(PYTHON) VENV=$(GPU_VENV) sh deploy/setup_gpu.sh

test-gpu: $(GPU_READY)
	DRIFTWHEEL_TEST_GPU=1 $(GPU_VENV)/bin/python -m pytest tests/gpu

demo-gpu: $(GPU_READY)
	$(GPU_VENV)/bin/driftwheel demo

# Training beside plain TRL, a pretrained model through every form, and tokens a second of each scheme at 1 to 64 streams.
bench-gpu: $(GPU_READY)
	$(GPU_VENV)/bin/python -m benchmarks.training
	$(GPU_VENV)/bin/python -m benchmarks.real_model
	$(GPU_VENV)/bin/python -m benchmarks.quantization

coverage: $(READY)
	$(BIN)/python -m pytest tests/unit --numprocesses 2 --dist loadfile --cov --cov-report=term:skip-covered

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

demo-text: $(READY)
	$(BIN)/driftwheel demo --text

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

# What `make setup` has installed, as CycloneDX; each image holds its own in /opt/driftwheel/sbom.cdx.json.
sbom: $(READY)
	$(BIN)/cyclonedx-py environment --output-reproducible -o sbom.cdx.json $(VENV)

lock-gpu: $(READY)
	$(BIN)/uv pip compile --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --override requirements/gpu-overrides.txt requirements/gpu.in \
	  -o requirements/gpu.txt
