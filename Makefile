# make demo   sets everything up and runs the whole pipeline on the embedded store
# make test   sets up what the tests need and runs them

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_FOLDER := crystens-out
SETUP_SYSTEM := ./scripts/ensure-packages.sh

.PHONY: setup demo test lint bench clean help

help:
	@sed -n 's/^# //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(SETUP_SYSTEM) python3.11-venv
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

demo: setup
	$(BIN)/crystens discover -n 240 --seed 0 -o $(DEMO_FOLDER)

test: setup tests/mongo_server/lib/.installed
	$(BIN)/python -m pytest $(PYTEST_ARGS)

tests/mongo_server/lib/.installed: tests/mongo_server/pom.xml tests/mongo_server/setup.sh
	tests/mongo_server/setup.sh
	@touch $@

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	@for script in representation generator screening memory startup; do \
		echo "== $$script"; $(BIN)/python benchmarks/$$script.py || exit 1; \
	done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist tests/mongo_server/lib
