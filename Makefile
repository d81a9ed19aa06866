# make demo   sets everything up and runs the whole pipeline on the embedded store
# make test   sets up what the tests need and runs them in two processes (PYTEST_ARGS='-n 0': one)
# make test-browser  installs Chromium and opens the report of a run and the explorer in it
# make test-trainings  trains each of the paper's generators in every way there is, and evaluates them (minutes)
# make test-gpaw  installs GPAW, a DFT code, and relaxes with it (some minutes)
# make test-slurm  installs SLURM and runs campaigns through it, with both workflow managers
# make test-faults  kills workers, runners and databases, fills disks, and looks for what is lost
# make docs   builds the pages in docs/ as a site, and says where it is
# make bench  prints speeds, memory and quality
# make bench-cluster  the same of stores and workflow managers, with a MongoDB (an hour or more)

PYTHON ?= $(or $(shell command -v python3.11),$(shell command -v python3.12),python3.11)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_FOLDER := crystens-out
BENCHMARKS := startup representation screening m3gnet potentials hull energy_above_hull \
	duplicates tuning generator 'substitution -n 200 --crystals 50' memory explorer 'evaluation --samples 400 --stages 8 --relax 2' \
	'builder -n 2000 --store embedded' 'scale --samples 500 2000 --crystals --screens cgcnn hull' demo
CLUSTER_BENCHMARKS := builder queries 'scale --samples 1000 10000 --stages sample decode' backends
RUN_BENCHMARK = set -- $$each; echo "== $$*"; name=$$1; shift; $(BIN)/python benchmarks/$$name.py "$$@"
TWO_AT_A_TIME := $(if $(findstring no:xdist,$(PYTEST_ARGS)),,-n 2 --dist worksteal)

.PHONY: setup demo test test-browser test-trainings test-gpaw test-slurm test-faults lint docs bench bench-cluster clean help

help:
	@sed -n 's/^# //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		./scripts/ensure-packages.sh $(notdir $(PYTHON))-venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

demo: setup
	$(BIN)/crystens discover -n 240 --seed 0 -o $(DEMO_FOLDER)

test: setup
	tests/mongo_server/setup.sh
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) $(PYTEST_ARGS)

test-browser: setup
	@./scripts/ensure-packages.sh chromium
	CRYSTENS_FLOWS_BROWSER_TESTS=1 $(BIN)/python -m pytest tests/report/test_browser.py \
		tests/explore/test_explore_browser.py $(PYTEST_ARGS)

test-trainings: setup
	CRYSTENS_FLOWS_TRAINING_TESTS=1 $(BIN)/python -m pytest tests/test_small_workflows.py tests/generators \
		tests/jobs/test_train.py $(PYTEST_ARGS)

test-gpaw: setup
	@./scripts/ensure-packages.sh gcc libc6-dev libxc-dev libopenblas-dev
	@test -e "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
		./scripts/ensure-packages.sh $(notdir $(PYTHON))-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[gpaw]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/gpaw_engine $(PYTEST_ARGS)

test-slurm: setup
	@./scripts/ensure-packages.sh slurm-wlm munge
	tests/mongo_server/setup.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/slurm $(PYTEST_ARGS)

test-faults: setup
	@./scripts/ensure-packages.sh gcc libc6-dev
	tests/mongo_server/setup.sh
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults $(TWO_AT_A_TIME) $(PYTEST_ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup
	$(BIN)/sphinx-build -E -q -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

bench: setup
	@for each in $(BENCHMARKS); do $(RUN_BENCHMARK) || exit 1; done

bench-cluster: setup
	tests/mongo_server/setup.sh
	@for each in $(CLUSTER_BENCHMARKS); do $(RUN_BENCHMARK) || exit 1; done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist docs/_build tests/mongo_server/lib
