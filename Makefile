# demo, quickstart, test and check set up $(VENV) where it is missing; nothing outside the checkout is touched.
VENV ?= .venv
PYTHON := $(VENV)/bin/python
PYTEST_ARGS ?= -q
WORKERS ?= 2
QUICK ?=
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

# QUICK=1 shrinks the quickstart to a rehearsal of the same commands; its numbers mean nothing.
ifeq ($(QUICK),1)
DATA ?= data/rehearsal.h5
RUN ?= runs/rehearsal
GENERATE_ARGS ?= scenes=16 grasps.successes=3 grasps.max_attempts=16
TRAIN_ARGS ?= trainer.max_steps=40 scheduler.warmup_steps=4 trainer.val_check_interval=40 data.batch_size=4
TEST_ARGS ?= max_items=4 samples_per_item=2 top=null tuning.temperatures=[0.5] tuning.max_items=2 protocol=scene-lift evaluation=quickstart
else
DATA ?= data/quick.h5
RUN ?= runs/quickstart
GENERATE_ARGS ?=
TRAIN_ARGS ?= hardware.devices=2 data.batch_size=12
TEST_ARGS ?= max_items=40 samples_per_item=4 top=null tuning.max_items=12 tuning.temperatures=[0.1,0.3] protocol=scene-lift \
  evaluation=quickstart
endif

# What only torch's CUDA build needs, in the versions that torch itself names; a CPU build installs none of it.
CUDA := triton cuda-bindings cuda-pathfinder cuda-toolkit $(addprefix nvidia-,cublas cuda-cupti cuda-nvrtc cuda-runtime \
  cudnn-cu13 cufft cufile curand cusolver cusparse cusparselt-cu13 nccl-cu13 nvjitlink nvshmem-cu13 nvtx)
LOCK := $(VENV)/bin/uv pip compile -q pyproject.toml --extra train --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --no-header --constraint constraints.txt $(addprefix --no-emit-package ,torch $(CUDA))

.PHONY: help setup demo quickstart test test-all check format bench bench-gpu docs lock audit clean

help:
	@echo "make demo         set up, grasp on a cluttered table with the shipped model, test it in simulation: demo/grasps.png"
	@echo "make quickstart   set up, make a small data set, train, judge in simulation, write report.html (QUICK=1: rehearsal)"
	@echo "make test         set up, run the tests (test-all: with the slow ones and those of several processes)"
	@echo "make check        set up, lint, format, types, import layers"
	@echo "make format       apply the formatter"
	@echo "make bench        set up, put the project's targets of cost beside what benchmarks/results says"
	@echo "make bench-gpu    set up, measure in ten minutes what only a GPU shows: benchmarks/results/gpu"
	@echo "make docs         set up, build the documentation as a folder of pages: site/index.html"
	@echo "make lock         choose versions anew where pyproject.toml asks for it, with hashes (UPGRADE=1: the newest of all)"
	@echo "make audit        is what is installed what is locked, and is a weakness of it known?"

setup: $(VENV)/bin/lint-imports

$(VENV)/bin/lint-imports: $(VENV)/installed requirements-dev.lock
	$(PYTHON) -m pip install -q --require-hashes --no-deps -r requirements-dev.lock
	touch $@

# What running needs; checks and tests need more. Every file is checked against its hash but that of torch, which has other
# files for each way of computing: its version is pinned, its build (CPU or CUDA) is the one that your index offers.
$(VENV)/installed: requirements.lock constraints.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --require-hashes --no-deps -r requirements.lock
	$(PYTHON) -m pip install -q $$(grep '^torch==' constraints.txt)
	$(PYTHON) -m pip install -q --no-deps --no-build-isolation -e .
	$(PYTHON) -m pip check
	touch $@

# The shipped scene: grasps of its mug, each lifted out of the clutter in simulation.
demo: $(VENV)/installed
	$(PYTHON) scripts/predict.py model_zoo/example_scene.h5 --object 6 --output demo

# The store appears under its name when it is complete, so a finished one is not made again.
$(DATA): | $(VENV)/installed
	$(PYTHON) scripts/generate_dataset.py dataset=quick path=$(DATA) $(GENERATE_ARGS)

# A run that was stopped is continued; a finished one is only judged again.
quickstart: $(VENV)/installed $(DATA)
	$(PYTHON) train_lightning.py experiment=quickstart data.store=$(DATA) run_dir=$(RUN) $(TRAIN_ARGS)
	$(PYTHON) test_lightning.py checkpoint=$(RUN)/checkpoints/last.ckpt $(TEST_ARGS)

test: setup
	$(PYTHON) -m pytest -n $(WORKERS) $(PYTEST_ARGS)

test-all: setup
	$(PYTHON) -m pytest -n $(WORKERS) -m "not gpu" $(PYTEST_ARGS)

check: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: setup
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/installed
	$(PYTHON) -m benchmarks.targets

bench-gpu: setup
	$(PYTHON) -m benchmarks.gpu

$(VENV)/documented: $(VENV)/installed requirements-docs.lock
	$(PYTHON) -m pip install -q --require-hashes --no-deps --no-build-isolation -r requirements-docs.lock
	touch $@

# Nothing of it needs a network; a link that leads nowhere is an error.
docs: $(VENV)/documented
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

# Versions that are locked stay as far as pyproject.toml and constraints.txt allow it.
lock: setup
	@$(LOCK) $(if $(UPGRADE),--upgrade) -o requirements.lock
	@$(LOCK) $(if $(UPGRADE),--upgrade) --extra dev --constraint requirements.lock -o requirements-dev.lock
	@$(LOCK) --extra serve --constraint requirements-dev.lock -o docker/requirements.lock
	@$(LOCK) $(if $(UPGRADE),--upgrade) --extra docs --constraint requirements-dev.lock -o requirements-docs.lock

audit: setup
	$(PYTHON) -m pytest -q tests/test_lock.py
	$(PYTHON) .ci/audit.py

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
